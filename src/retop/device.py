"""The devices of this machine, and float32 that is float32 on all of them."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from retop.errors import MemoryRunError, UsageError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "fp32", "bf16"]
# In errors of torch's allocator, of the C++ library, and of the system, which also refuses maps and stacks of threads.
NO_MEMORY = ("DefaultCPUAllocator", "bad_alloc", "Cannot allocate memory", "can't start new thread")


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory: a device's own, Python's, or what torch says of a CPU."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)


@contextmanager
def naming_memory(what: str) -> Iterator[None]:
    """Turn every form of "no memory" into an error of ours.

    Args:
        what: ran out of it.

    Raises:
        MemoryRunError: the body did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MemoryRunError(
            f"{what} ran out of memory ({reason[:300]}). Give it more, thaw fewer layers (--thaw), take a smaller "
            f"network, or train elsewhere (--device)"
        ) from error


def in_parts_that_fit(
    run: Callable[..., torch.Tensor | tuple[torch.Tensor, ...]],
    inputs: tuple[torch.Tensor, ...],
    device: torch.device,
    at_once: int | None = None,
) -> tuple[torch.Tensor, ...]:
    """Run something without gradients on a batch; in halves, and halves of them, where there is no memory.

    Args:
        run: a batch to a tensor or a tuple of tensors, image by image.
        inputs: tensors [N, ...]; where they lie elsewhere, `run` moves what it gets of them.
        device: where it runs.
        at_once: images that it may have at once; None for all.

    Returns:
        The results for the whole batch.

    Raises:
        torch.OutOfMemoryError: a device has no memory even for one image.
        MemoryError: neither has the CPU; or a RuntimeError that says so (`is_out_of_memory`).
    """
    size = min(len(inputs[0]), at_once or len(inputs[0]))
    if size == len(inputs[0]):
        try:
            result = run(*inputs)
            return result if isinstance(result, tuple) else (result,)
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        free_memory(device)
        size = -(-size // 2)
    parts = [
        in_parts_that_fit(run, tuple(tensor[low : low + size] for tensor in inputs), device, at_once)
        for low in range(0, len(inputs[0]), size)
    ]
    return tuple(torch.cat(results) for results in zip(*parts, strict=True))


def free_memory(device: torch.device) -> None:
    """Give back to the device what nothing holds any more.

    Args:
        device: the CPU keeps nothing back.
    """
    gc.collect()
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()
