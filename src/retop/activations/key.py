"""The key of a store entry: everything that determines its content, and nothing else."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from retop.data.views import PIXELS_VERSION
from retop.recipe import ViewsRecipe
from retop.records import Preprocessing
from retop.schema import to_plain
from retop.version import __version__

FORMAT_VERSION = 1


@dataclass(frozen=True)
class EntryKey:
    """Identity of the activations of one view of one list of images.

    Two keys are equal exactly if the activations must be; whatever a clock, a path or a directory order
    decides is not in it.

    How many images go through the network at once, which follows from the memory that is left, is not in it either:
    like the number of threads it may change how sums are rounded (largest difference 2e-6 of the largest value, over
    five networks in parts of 16, 8, 4 and 1 images instead of 32, float32). With it in the key, the seeds and the
    probe of a backbone would not share what was computed once, just where memory is scarce.
    """

    images: str
    """Fingerprint of the ordered list of image contents."""

    preprocessing: Preprocessing
    """How images become input."""

    view: int
    """Number of the view; 0 is the evaluation crop."""

    augmentation: str
    """Preset and seed of the augmentation; empty for view 0, which has none, so that all presets share it."""

    graph: str
    """SHA-256 of the computation's text."""

    weights: str
    """SHA-256 of all parameters and buffers that take part."""

    arithmetic: str
    """Device and number format of the computation."""

    stored: str
    """Number format on disk."""

    parent: str
    """Digest of the entry whose rows were the input; empty where images were."""

    versions: str
    """Libraries whose release can change a number."""

    format: int = FORMAT_VERSION
    """Version of the entry's form on disk."""

    def digest(self) -> str:
        """The key as 64 hexadecimal digits, the entry's folder name."""
        return hashlib.sha256(json.dumps(to_plain(self), sort_keys=True).encode()).hexdigest()


def augmentation_key(recipe: ViewsRecipe, view: int) -> str:
    """The part of the key that names a view's augmentation."""
    return "" if view == 0 else f"{recipe.preset} {recipe.seed}"


def library_versions() -> str:
    """Versions of what decodes, resamples and computes."""
    libraries = (f"{name} {version(name)}" for name in ("torch", "timm", "pillow", "numpy"))
    return " ".join([f"retop {__version__} pixels {PIXELS_VERSION}", *libraries])


def arithmetic_key(device: torch.device, dtype: torch.dtype) -> str:
    """The part of the key that names device and number format."""
    kind = platform.processor() or platform.machine()
    if device.type == "cpu":
        kind = torch.backends.cpu.get_cpu_capability()
    elif device.type == "cuda":
        kind = torch.cuda.get_device_name(device)
    # On CUDA float32 could also be TensorFloat-32; frozen parts are computed without it.
    exact = " without TF32" if device.type == "cuda" and dtype == torch.float32 else ""
    return f"{device.type} {kind} {str(dtype).removeprefix('torch.')}{exact}"


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over names, shapes, formats and values of a module's parameters and buffers."""
    return tensors_digest(module.state_dict())


def tensors_digest(tensors: Mapping[str, Any]) -> str:
    """SHA-256 over named tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
