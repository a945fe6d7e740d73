"""Counting floating-point operations without computing anything."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of convolutions and matrix products; a multiply-add counts as two."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry

        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self._formulas = flop_registry

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count it."""
        if func is torch.ops.aten.native_batch_norm.default and args[0].device.type == "meta":
            # What torch does here on meta tensors takes most of the time of describing a network.
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        output = func(*args, **(kwargs or {}))
        if formula := self._formulas.get(func._overloadpacket):
            self.flops += int(formula(*args, **(kwargs or {}), out_val=output))
        return output


class WithoutContent(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside it, tensors are made on the meta device and filling them costs nothing."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, unless it only fills a tensor that has no content."""
        in_place = func._schema.name.endswith("_")
        if in_place and args and isinstance(args[0], Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = torch.device("meta")

    def __enter__(self) -> Any:
        """Also make meta the current device."""
        self._device.__enter__()
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *problem: Any) -> None:
        """Back to the device before."""
        super().__exit__(*problem)  # type: ignore[no-untyped-call]
        self._device.__exit__(*problem)


def run_without_content(
    module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, begin: Callable[[], None] = lambda: None
) -> None:
    """Run a module on tensors without content: shapes and types come out, nothing is computed.

    Args:
        module: left as it is.
        shape: of its input.
        dtype: of its input.
        begin: called before the run, again if the run has to be started anew.

    Raises:
        Exception: whatever the module raises.
    """
    begin()
    try:
        _run_on_meta(module, torch.zeros(shape, dtype=dtype, device="meta"))
    except (RuntimeError, TypeError):
        # Slower, but it also takes in tensors that the network holds without saying so. What is really wrong with
        # the module is raised again here.
        begin()
        device = next(module.parameters()).device
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            module(torch.zeros(shape, dtype=dtype, device=device))


def _run_on_meta(module: nn.Module, inputs: Tensor) -> None:
    state = {name: tensor.detach().to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    with torch.no_grad():
        torch.func.functional_call(module, state, (inputs,))
