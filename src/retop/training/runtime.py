"""Device and arithmetic of a run."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import nn

from retop.activations.fill import FrozenComputation
from retop.activations.key import weights_digest
from retop.device import DeviceName, PrecisionName, choose_device, full_float32, in_parts_that_fit


@dataclass(frozen=True)
class Runtime:
    """Where a run computes, and in which number formats.

    Attributes:
        fabric: places modules and scales precision.
        dtype: arithmetic of the frozen prefix and of training.
        stored: number format of activations on disk.
        images_at_once: that go through a network; None for whole batches.
    """

    fabric: Fabric
    dtype: torch.dtype
    stored: torch.dtype
    images_at_once: int | None = None

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return self.fabric.device

    @property
    def folds(self) -> bool:
        """Whether frozen batch norms are folded into convolutions; ``fp32`` asks for the network's own rounding."""
        return self.stored != torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """Arithmetic of training as a context: mixed with bfloat16, or float32 without TensorFloat-32."""
        if self.dtype == torch.bfloat16:
            return torch.autocast(self.device.type, torch.bfloat16)
        return full_float32(self.device)

    def frozen(self, module: nn.Module, code: str) -> FrozenComputation:
        """A module as a frozen computation on this device.

        Args:
            module: in evaluation mode; one or several tensors in, a tensor or a tuple out.
            code: text that names the computation.
        """
        self.place(module)
        return FrozenComputation(
            run=self._without_gradients(module),
            graph=code,
            weights=weights_digest(module),
            device=self.device,
            dtype=self.dtype,
            stored=self.stored,
        )

    def place(self, module: nn.Module) -> None:
        """Move a module to the device, its convolutions channels last."""
        module.to(self.device)
        module.to(memory_format=torch.channels_last)

    def placed(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Tensors where networks are, in the arithmetic of training; whole numbers stay as they are."""
        return tuple(
            tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype) for tensor in tensors
        )

    def _without_gradients(self, module: nn.Module) -> Callable[..., tuple[torch.Tensor, ...]]:
        def run(*inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            with torch.inference_mode(), self.autocast():
                return module(*self.placed(inputs))  # type: ignore[no-any-return]

        return lambda *inputs: in_parts_that_fit(run, inputs, self.device, self.images_at_once)


def choose_runtime(device: DeviceName = "auto", precision: PrecisionName = "auto") -> Runtime:
    """The device and number formats of a run.

    Args:
        device: ``auto`` takes CUDA, then Apple's MPS, then the CPU.
        precision: ``auto`` computes in bfloat16 where the hardware does so natively, else in float32 with
            activations stored as bfloat16; ``fp32`` is float32 throughout; ``bf16`` asks for bfloat16 anyway.

    Returns:
        The runtime.

    Raises:
        UsageError: the device is not there.
    """
    chosen = choose_device(device)
    logging.getLogger("lightning_fabric.utilities.rank_zero").addFilter(_is_no_advice)
    bfloat16 = precision == "bf16" or (precision == "auto" and has_native_bfloat16(chosen))
    return Runtime(
        fabric=Fabric(accelerator=chosen, devices=1),
        dtype=torch.bfloat16 if bfloat16 else torch.float32,
        stored=torch.float32 if precision == "fp32" else torch.bfloat16,
    )


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Lightning advises TensorFloat-32 on every GPU that has it, which is decided here."""
    return "set_float32_matmul_precision" not in record.getMessage()


def has_native_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False
