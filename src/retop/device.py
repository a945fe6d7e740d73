"""The devices of this machine, and float32 that is float32 on all of them."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from retop.errors import UsageError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(device: str = "auto") -> str:
    """A device that is there.

    Args:
        device: ``auto`` takes CUDA, then Apple's MPS, then the CPU; or ``cpu``, ``cuda``, ``mps``.

    Returns:
        ``cpu``, ``cuda`` or ``mps``.

    Raises:
        UsageError: the device is not there.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present.get(device, False):
        there = [name for name, found in present.items() if found]
        raise UsageError(
            f"device {device!r} is not available here; there is {', '.join(there)} (--device auto|{'|'.join(there)}, "
            f"device='auto')"
        )
    return device


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Float32 arithmetic without TensorFloat-32, which CUDA uses for convolutions unless it is told not to.

    The flags belong to the process; they are put back afterwards.

    Args:
        device: where the arithmetic happens; anything but CUDA has no such flags.

    Source:
        PyTorch, "CUDA semantics": TF32 keeps 10 of float32's 23 bits of the mantissa.
    """
    if device.type != "cuda":
        yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that work on a device draws from.

    `torch.manual_seed` also notes a stack trace for every kind of device that is not in use, which takes longer than a
    step of a small head.

    Args:
        seed: at least 0.
        device: where the work is done.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def in_parts_that_fit(
    run: Callable[..., torch.Tensor | tuple[torch.Tensor, ...]], inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    """Run something without gradients on a batch; in halves, and halves of them, where the device lacks memory.

    Args:
        run: a batch to a tensor or a tuple of tensors, image by image.
        inputs: tensors [N, ...].

    Returns:
        The results for the whole batch.

    Raises:
        torch.OutOfMemoryError: there is no memory even for one image.
    """
    try:
        result = run(*inputs)
        return result if isinstance(result, tuple) else (result,)
    except torch.OutOfMemoryError:
        if len(inputs[0]) == 1:
            raise
    free_memory(inputs[0].device)
    middle = len(inputs[0]) // 2
    halves = [
        in_parts_that_fit(run, tuple(tensor[part] for tensor in inputs))
        for part in (slice(middle), slice(middle, None))
    ]
    return tuple(torch.cat(both) for both in zip(*halves, strict=True))


def free_memory(device: torch.device) -> None:
    """Give back to the device what nothing holds any more.

    Args:
        device: the CPU keeps nothing back.
    """
    gc.collect()
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()
