"""Weights from a safetensors file into a network."""

import math
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from retop.errors import WeightsError

# Files of at most so many bytes are read at once; mapping a file costs 20 microseconds for each tensor.
_SMALL_BYTES = 4 * 2**20
# Inception's and GoogLeNet's auxiliary classifiers, which only their original training used.
_AUXILIARY_PREFIXES = ("AuxLogits.", "aux1.", "aux2.")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Args:
        path: the file.

    Returns:
        Its tensors by name, on the CPU.

    Raises:
        WeightsError: the file is missing, unreadable or not safetensors.
    """
    try:
        if path.stat().st_size <= _SMALL_BYTES:
            return safetensors.torch.load(path.read_bytes())
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors: {error}. Give another file or folder with --weights "
            f"(weights=...), or fetch this one again"
        ) from error


def load_weights(network: nn.Module, path: Path, classifiers: Callable[[], Collection[str]]) -> None:
    """Load weights into a network without classifier, in the network's own dtype.

    Args:
        network: receives the weights.
        path: a safetensors file in timm's naming.
        classifiers: gives the names that belong to the classifier; those are dropped. Asked only where the file has
            more than the network, as the answer costs building it twice.

    Raises:
        WeightsError: the file cannot be read; tensors are missing, left over, misshaped or not finite.
    """
    tensors = read_tensors(path)
    wanted = network.state_dict()
    if not set(wanted) <= set(tensors):
        tensors = _translate(tensors, network)
    left_over = {name for name in tensors if name not in wanted and not name.startswith(_AUXILIARY_PREFIXES)}
    unknown = left_over - set(classifiers()) if left_over else left_over
    kept = {name: tensor for name, tensor in tensors.items() if name in wanted or name in unknown}
    if problems := _compare(wanted, kept):
        raise WeightsError(
            f"{path} does not hold weights of this network ({type(network).__name__}): {'; '.join(problems)}. "
            f"Give the weights of this very architecture (--weights, weights=...), with the model_args that it was "
            f"trained with in config.json"
        )
    # All names and shapes are known to fit; `load_state_dict` would look at every module again, in as long as the rest.
    with torch.no_grad():
        for name, tensor in kept.items():
            wanted[name].copy_(tensor)


def _translate(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    # timm keeps a translator for weights in their authors' naming in the architecture's own module.
    home = sys.modules[type(network).__module__]
    translate = getattr(home, "checkpoint_filter_fn", None) or getattr(home, "_filter_fn", None)
    if translate is None:
        return tensors
    try:
        return dict(translate(dict(tensors), network))
    except (KeyError, AttributeError, RuntimeError, TypeError, ValueError, IndexError, AssertionError):
        return tensors


def _compare(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    extra = [name for name in found if name not in wanted]
    common = [name for name in wanted if name in found]
    misshaped = [
        f"{name} is {list(found[name].shape)}, expected {list(wanted[name].shape)}"
        for name in common
        if found[name].shape != wanted[name].shape
    ]
    broken = [name for name in common if not _is_finite(found[name])]
    kinds = {"missing": missing, "not part of it": extra, "of another shape": misshaped, "not finite": broken}
    return [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in kinds.items()
        if names
    ]


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return bool(torch.isfinite(tensor).all())
    # One pass without a copy, in which a NaN carries over; of 8 bits torch can tell nothing.
    extremes = torch.aminmax(tensor.float() if tensor.element_size() == 1 else tensor)
    return all(math.isfinite(float(value)) for value in extremes)
