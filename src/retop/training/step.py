"""One step of training: the loss of a batch and its gradients."""

# N batch, K classes

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from retop.device import free_memory, full_float32, is_out_of_memory
from retop.errors import DivergedError, MemoryRunError
from retop.events import Listener, Notice
from retop.recipe import StageRecipe
from retop.training.inputs import Tensors
from retop.training.network import trained_parameters
from retop.training.runtime import Runtime
from retop.training.state import FitState

PARTS_AND_STATISTICS = (
    "its batch norms learn, and normalise each part by itself as they do smaller batches (--set batch_norm=frozen "
    "makes parts equal to the whole)"
)


class Stepper(Protocol):
    """An optimiser, or what wraps one."""

    def step(self) -> Any:
        """Change the weights by their gradients."""
        ...


Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class HalfStepError(Exception):
    """The optimiser ran out of memory: some weights may have moved and others not."""


@dataclass(frozen=True)
class Batch:
    """A batch on the CPU. With mixup every image belongs by `share` to itself, and by the rest to its partner."""

    inputs: Tensors
    labels_n: torch.Tensor
    partner_n: torch.Tensor | None = None
    share: float = 1.0

    def part(self, rows: slice, runtime: Runtime) -> tuple[Tensors, torch.Tensor, torch.Tensor]:
        """Images of the batch on the device, their labels, and the labels of their partners; nothing else is moved."""
        inputs = runtime.placed(tuple(tensor[rows] for tensor in self.inputs))
        labels_n = self.labels_n[rows].to(runtime.device)
        if self.partner_n is None:
            return inputs, labels_n, labels_n
        partner_n = self.partner_n[rows]
        others = runtime.placed(tuple(tensor[partner_n] for tensor in self.inputs))
        mixed = tuple(
            self.share * own.float() + (1 - self.share) * other.float()
            for own, other in zip(inputs, others, strict=True)
        )
        return mixed, labels_n, self.labels_n[partner_n].to(runtime.device)


def mix(inputs: Tensors, labels_n: torch.Tensor, alpha: float, generator: np.random.Generator) -> Batch:
    """Give every image a partner in its batch (mixup, Zhang et al. 2018, arXiv:1710.09412), on activations."""
    if alpha == 0:
        return Batch(inputs, labels_n)
    share = float(generator.beta(alpha, alpha))
    return Batch(inputs, labels_n, torch.from_numpy(generator.permutation(len(labels_n))), share)


def training_loss(
    logits_nk: torch.Tensor, labels_n: torch.Tensor, recipe: StageRecipe, class_weights_k: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean cross-entropy of a batch, each image weighted by its class.

    The sum is divided by the number of images, not by the sum of their weights as torch does, so that the parts of a
    batch add up to the whole.
    """
    if class_weights_k is None:
        return functional.cross_entropy(logits_nk, labels_n, label_smoothing=recipe.label_smoothing)
    losses_n = functional.cross_entropy(logits_nk, labels_n, label_smoothing=recipe.label_smoothing, reduction="none")
    return (losses_n * class_weights_k.to(logits_nk.device)[labels_n]).mean()


def backward(
    module: nn.Module, batch: Batch, objective: Objective, runtime: Runtime, state: FitState, listener: Listener
) -> tuple[float, float]:
    """Gradients of the mean loss of a batch; in several parts where there is no memory for the whole.

    Returns:
        The loss, and the number of images that were answered rightly.
    """
    num_images = len(batch.labels_n)
    generators, statistics = state.generators(), [(buffer, buffer.clone()) for buffer in _learned_in_passing(module)]
    while True:
        size = state.progress.micro_batch or num_images
        try:
            state.optimiser.zero_grad()
            parts = [_accumulate(module, batch, low, size, objective, runtime) for low in range(0, num_images, size)]
            return sum(loss for loss, _ in parts), sum(right for _, right in parts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise MemoryRunError(
                    f"{state.name}: the device has no memory for a single image ({error}). Thaw fewer layers (--thaw), "
                    f"take a smaller network, or train elsewhere (--device)"
                ) from error
        # Only here does nothing hold on to the pass that failed.
        state.progress.micro_batch = -(-min(size, num_images) // 2)
        free_memory(runtime.device)
        state.set_generators(generators)
        for buffer, before in statistics:
            buffer.copy_(before)
        listener(
            Notice(
                "warning",
                f"the device has no memory for {min(size, num_images)} images at once; batches go through the network "
                f"in parts of {state.progress.micro_batch} from here on, with one step for each batch as before"
                + (f"; {PARTS_AND_STATISTICS}" if statistics else ""),
            )
        )


def _learned_in_passing(module: nn.Module) -> Iterator[torch.Tensor]:
    """Running statistics that a forward pass changes, one that fails half-way as well."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.training:
            yield from layer.buffers(recurse=False)


def _accumulate(
    module: nn.Module, batch: Batch, low: int, size: int, objective: Objective, runtime: Runtime
) -> tuple[float, float]:
    inputs, labels_n, other_n = batch.part(slice(low, low + size), runtime)
    with runtime.autocast():
        logits_nk = module(*inputs).float()
    loss = batch.share * objective(logits_nk, labels_n)
    loss = loss + (1 - batch.share) * objective(logits_nk, other_n)
    loss = loss * (len(labels_n) / len(batch.labels_n))
    with full_float32(runtime.device):
        runtime.fabric.backward(loss)
    return float(loss.detach()), float((logits_nk.argmax(1) == labels_n).sum())


def take_step(network: nn.Module, stepper: Stepper, loss: float, recipe: StageRecipe, where: str, rate: float) -> float:
    """Change the weights by their gradients, unless that would ruin them.

    Args:
        network: with its gradients; they are clipped.
        stepper: the optimiser.
        loss: of the batch.
        recipe: of the stage.
        where: stage, epoch and step.
        rate: step size.

    Returns:
        The norm of the gradient before it was clipped.

    Raises:
        DivergedError: something is not finite; no weight has changed.
        HalfStepError: there is no memory for the optimiser.
    """
    try:
        norm = float(nn.utils.clip_grad_norm_(trained_parameters(network), recipe.clip_norm or math.inf))
        check_finite(network, loss, norm, where, rate)
        stepper.step()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # Tried again it would move twice what has moved already; nobody knows which weights those are.
        raise HalfStepError(f"{where}: the device has no memory for the optimiser ({error})") from None
    return norm


def go_back_for_memory(state: FitState, batch_size: int, why: HalfStepError, listener: Listener) -> None:
    """Go back to the last finished epoch, and leave more memory to the optimiser from there on.

    Args:
        state: after the step that failed.
        batch_size: of a whole batch.
        why: it failed.
        listener: receives a warning.

    Raises:
        MemoryRunError: images go through the network one by one already.
    """
    size = state.progress.micro_batch or batch_size
    if size == 1:
        raise MemoryRunError(
            f"{why}. Thaw fewer layers (--thaw), take a smaller network, or train elsewhere (--device)"
        ) from why
    state.optimiser.zero_grad()
    state.roll_back()
    state.progress.micro_batch = -(-size // 2)
    free_memory(state.device)
    listener(
        Notice(
            "warning",
            f"{why}. Going on from epoch {state.progress.epoch - 1}; batches go through the network in parts of "
            f"{state.progress.micro_batch} from here on, with one step for each batch as before",
        )
    )


def check_finite(network: nn.Module, loss: float, norm: float, where: str, rate: float) -> None:
    """Make sure that a step would not ruin the weights.

    Args:
        network: with its gradients.
        loss: of the batch.
        norm: of the gradient.
        where: stage, epoch and step.
        rate: step size.

    Raises:
        DivergedError: something is not finite; it is named.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = "the loss"
    if math.isfinite(loss):
        broken = (
            name
            for name, parameter in network.named_parameters()
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
        )
        what = f"the gradient of {next(broken, 'all weights together')}"
    raise DivergedError(
        f"{where}: {what} is not finite at step size {rate:.3g}. A smaller one may do: "
        f"--set {where[:7].replace(' ', '')}.learning_rate={rate / 10:.2g}"
    )
