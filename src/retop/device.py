"""The devices of this machine, and float32 that is float32 on all of them."""

from collections.abc import Iterator
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
