"""Memory that a network takes, found without computing anything: it runs on tensors without content."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryMeter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all tensors that live at once.

    Args:
        apart: tensors that are not counted, nor views of them; they must outlive the meter.

    Attributes:
        live_bytes: now.
        peak_bytes: at the largest moment.
    """

    def __init__(self, apart: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = self.peak_bytes = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in apart}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it makes."""
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return output

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        # Storages are shared by views and kept by autograd; the last of them to go ends it.
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live_bytes -= size


Shapes = Sequence[tuple[tuple[int, ...], torch.dtype]]


def peak_bytes(module: nn.Module, inputs: Shapes, *, train: bool) -> int:
    """Bytes of the tensors that live at the largest moment of one pass, parameters aside.

    What kernels take for themselves, and what the allocator wastes, comes on top.

    Args:
        module: left as it is, in the mode in which it is; what requires gradients in it gets them if asked for.
        inputs: shape [N, ...] and number format of each input.
        train: with a backward pass after it.

    Raises:
        Exception: whatever the module raises.
    """
    try:
        return _measure(module, inputs, train, nullcontext(), lambda tensor: tensor.to("meta"), "meta")
    except (RuntimeError, TypeError):
        # Slower, but it also takes in tensors that the network holds without saying so.
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        device = str(next(module.parameters()).device)
        return _measure(module, inputs, train, mode, mode.from_tensor, device)


def _measure(
    module: nn.Module,
    inputs: Shapes,
    train: bool,
    mode: AbstractContextManager[object],
    emptied: Callable[[Tensor], Tensor],
    device: str,
) -> int:
    named = {
        name: emptied(tensor.detach()).requires_grad_(train and tensor.requires_grad)
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    with mode, MemoryMeter(named.values()) as meter, torch.set_grad_enabled(train):
        given = [torch.empty(shape, dtype=dtype, device=device) for shape, dtype in inputs]
        given = [tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor for tensor in given]
        output = torch.func.functional_call(module, named, tuple(given))
        if train:
            output.sum().backward()
    return int(meter.peak_bytes)
