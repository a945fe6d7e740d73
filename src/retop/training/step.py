"""One step of training: the loss of a batch and its gradients."""

# N batch, K classes

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
from retop.training.runtime import Runtime
from retop.training.state import FitState

PARTS_AND_STATISTICS = (
    "its batch norms learn, and normalise each part by itself as they do smaller batches (--set batch_norm=frozen "
    "makes parts equal to the whole)"
)

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """A batch whose images belong to `labels_n` by `share`, and to `other_n` by the rest."""

    inputs: Tensors
    labels_n: torch.Tensor
    other_n: torch.Tensor
    share: float


def mix(inputs: Tensors, labels_n: torch.Tensor, alpha: float, generator: np.random.Generator) -> Batch:
    """Mix every image with another of its batch (mixup, Zhang et al. 2018, arXiv:1710.09412), on activations."""
    if alpha == 0:
        return Batch(inputs, labels_n, labels_n, 1.0)
    share = float(generator.beta(alpha, alpha))
    other = torch.from_numpy(generator.permutation(len(labels_n))).to(labels_n.device)
    mixed = tuple(share * tensor.float() + (1 - share) * tensor[other].float() for tensor in inputs)
    return Batch(mixed, labels_n, labels_n[other], share)


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
    part = slice(low, low + size)
    labels_n = batch.labels_n[part]
    with runtime.autocast():
        logits_nk = module(*(tensor[part] for tensor in batch.inputs)).float()
    loss = batch.share * objective(logits_nk, labels_n)
    loss = loss + (1 - batch.share) * objective(logits_nk, batch.other_n[part])
    loss = loss * (len(labels_n) / len(batch.labels_n))
    with full_float32(runtime.device):
        runtime.fabric.backward(loss)
    return float(loss.detach()), float((logits_nk.argmax(1) == labels_n).sum())


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
