"""The training loop. One page, in execution order."""

# N batch, K classes

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from retop.device import full_float32
from retop.errors import DivergedError
from retop.recipe import StageRecipe
from retop.records import EpochRecord
from retop.training.inputs import Inputs, Tensors
from retop.training.optimiser import build_optimiser, learning_rate_at, set_learning_rate
from retop.training.order import Rows, balanced_order, derive_seed, epoch_order
from retop.training.runtime import Runtime

Labels = npt.NDArray[np.int64]
State = dict[str, torch.Tensor]
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class LabelledInputs:
    """Inputs and labels of one split.

    Attributes:
        inputs: N images.
        labels_n: [N] class numbers.
        rows: the images that are used.
        class_weights_k: [K] weight of each class in the loss of training; None for all alike.
        balanced: whether an epoch draws the classes in equal shares.
    """

    inputs: Inputs
    labels_n: Labels
    rows: Rows
    class_weights_k: torch.Tensor | None = None
    balanced: bool = False

    def order(self, seed: int, stage: int, epoch: int) -> Rows:
        """The rows of one epoch in their order."""
        if self.balanced:
            return self.rows[balanced_order(seed, stage, epoch, self.labels_n[self.rows])]
        return self.rows[epoch_order(seed, stage, epoch, len(self.rows))]


@dataclass(frozen=True)
class Fitted:
    """What the loop hands back; the network holds the weights of the best epoch.

    Attributes:
        history: one record per epoch, epoch 0 (before the first step) included.
        best: the record of the epoch that was kept.
        stopped_early: whether patience ended it.
    """

    history: tuple[EpochRecord, ...]
    best: EpochRecord
    stopped_early: bool


class LateNetwork(nn.Module):
    """What a stage runs: the suffix of the backbone, and the head.

    Args:
        suffix: crossings to features; the identity where features are the input.
        head: features to logits.
    """

    def __init__(self, suffix: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.suffix = suffix
        self.head = head

    def forward(self, *crossings: torch.Tensor) -> torch.Tensor:
        """Logits [N, K] of a batch of crossings."""
        return self.head(self.suffix(*crossings))  # type: ignore[no-any-return]


def fit(
    network: LateNetwork,
    enter_training: Callable[[], None],
    train: LabelledInputs,
    train_sample: LabelledInputs | None,
    validation: LabelledInputs,
    recipe: StageRecipe,
    *,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    stage: int,
    runtime: Runtime,
    on_epoch: Callable[[EpochRecord], None],
) -> Fitted:
    """Train one stage and keep its best epoch.

    Args:
        network: trained in place; only parameters that require gradients change.
        enter_training: puts the network's modules into their training modes.
        train: what is learned from.
        train_sample: images of train that are also evaluated after every epoch; None leaves that out.
        validation: chooses the best epoch: highest accuracy, then lowest loss, then earliest.
        recipe: of the stage.
        learning_rate: peak step size.
        weight_decay: penalty on weights.
        seed: of the run.
        stage: 1 or 2.
        runtime: device and arithmetic.
        on_epoch: receives each epoch's record.

    Returns:
        History and best epoch.

    Raises:
        DivergedError: loss or gradient is no longer finite.
    """
    optimiser = build_optimiser(network, recipe, learning_rate, weight_decay)
    module, optimiser = runtime.fabric.setup(network, optimiser)
    steps_per_epoch = math.ceil(len(train.rows) / recipe.batch_size)
    history = [_measure(network, train_sample, validation, runtime, stage, epoch=0)]
    best, best_state = history[0], trained_state(network)
    on_epoch(best)
    for epoch in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        order = train.order(seed, stage, epoch)
        views = train.inputs.views(seed, stage, epoch)[order]
        torch.manual_seed(derive_seed("dropout", seed, stage, epoch))
        mixing = np.random.default_rng(derive_seed("mixup", seed, stage, epoch))
        enter_training()
        loss_sum = right = 0.0
        largest_norm = 0.0
        for step, (rows, crossings) in enumerate(train.inputs.batches(order, views, recipe.batch_size)):
            done = (epoch - 1) * steps_per_epoch + step + 1
            rate = learning_rate_at(done, steps_per_epoch * recipe.epochs, learning_rate, recipe)
            set_learning_rate(optimiser, rate)
            labels_n = torch.from_numpy(train.labels_n[rows]).to(runtime.device)
            inputs, other_n, share = _mix(on_device(crossings, runtime), labels_n, recipe.mixup, mixing)
            with runtime.autocast():
                logits_nk = module(*inputs).float()
            loss = share * training_loss(logits_nk, labels_n, recipe, train.class_weights_k)
            loss = loss + (1 - share) * training_loss(logits_nk, other_n, recipe, train.class_weights_k)
            optimiser.zero_grad()
            with full_float32(runtime.device):
                runtime.fabric.backward(loss)
            loss_value = float(loss.detach())
            norm = float(nn.utils.clip_grad_norm_(trained_parameters(network), recipe.clip_norm or math.inf))
            if not math.isfinite(loss_value) or not math.isfinite(norm):
                raise DivergedError(
                    f"stage {stage}, epoch {epoch}, step {step + 1}: the "
                    f"{'loss' if not math.isfinite(loss_value) else 'gradient'} is not finite at learning rate "
                    f"{rate:.3g}. Use a smaller one: --set stage{stage}.learning_rate={learning_rate / 10:.2g}"
                )
            optimiser.step()
            largest_norm = max(largest_norm, norm)
            loss_sum += loss_value * len(rows)
            right += float((logits_nk.argmax(1) == labels_n).sum())
        record = _measure(
            network, train_sample, validation, runtime, stage, epoch,
            learning_rate=rate,
            train_loss=loss_sum / len(order),
            train_accuracy=None if recipe.mixup else right / len(order),
            gradient_norm=largest_norm,
            started=started,
        )  # fmt: skip
        history.append(record)
        on_epoch(record)
        if is_better(record, best):
            best, best_state = record, trained_state(network)
        elif recipe.patience is not None and epoch - best.epoch >= recipe.patience:
            break
    network.load_state_dict(best_state, strict=False)
    network.eval()
    return Fitted(tuple(history), best, stopped_early=len(history) <= recipe.epochs)


def is_better(record: EpochRecord, other: EpochRecord) -> bool:
    """Whether an epoch is better on validation: higher accuracy, or the same with a lower loss."""
    return (record.validation_accuracy, -record.validation_loss) > (other.validation_accuracy, -other.validation_loss)


def evaluate_inputs(network: LateNetwork, data: LabelledInputs, runtime: Runtime) -> tuple[float, float]:
    """Mean loss (nats) and accuracy under evaluation conditions: view 0, no dropout."""
    network.eval()
    views = np.zeros(len(data.rows), dtype=np.int64)
    loss_sum = right = 0.0
    with torch.inference_mode():
        for rows, crossings in data.inputs.batches(data.rows, views, EVALUATION_BATCH):
            labels_n = torch.from_numpy(data.labels_n[rows]).to(runtime.device)
            with runtime.autocast():
                logits_nk = network(*on_device(crossings, runtime)).float()
            loss_sum += float(functional.cross_entropy(logits_nk, labels_n, reduction="sum"))
            right += float((logits_nk.argmax(1) == labels_n).sum())
    return loss_sum / len(data.rows), right / len(data.rows)


def trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a stage changes."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _measure(
    network: LateNetwork,
    train_sample: LabelledInputs | None,
    validation: LabelledInputs,
    runtime: Runtime,
    stage: int,
    epoch: int,
    *,
    learning_rate: float = 0.0,
    train_loss: float | None = None,
    train_accuracy: float | None = None,
    gradient_norm: float | None = None,
    started: float | None = None,
) -> EpochRecord:
    began = started or time.perf_counter()
    loss, accuracy = evaluate_inputs(network, validation, runtime)
    sample = evaluate_inputs(network, train_sample, runtime) if train_sample else (None, None)
    if not math.isfinite(loss):
        way_out = (
            f"Use a smaller step size: --set stage{stage}.learning_rate={learning_rate / 10:.2g}"
            if epoch
            else "The weights or the images give no finite logits before the first step; check --weights"
        )
        raise DivergedError(f"stage {stage}, epoch {epoch}: the validation loss is not finite. {way_out}")
    return EpochRecord(
        stage=2 if stage == 2 else 1,
        epoch=epoch,
        learning_rate=learning_rate,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        train_eval_loss=sample[0],
        train_eval_accuracy=sample[1],
        validation_loss=loss,
        validation_accuracy=accuracy,
        gradient_norm=gradient_norm,
        seconds=time.perf_counter() - began,
    )


def on_device(crossings: Tensors, runtime: Runtime) -> Tensors:
    """Crossings where the network is, in its arithmetic; whole numbers stay as they are."""
    return tuple(
        tensor.to(runtime.device, runtime.dtype if tensor.is_floating_point() else tensor.dtype) for tensor in crossings
    )


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


def _mix(
    inputs: Tensors, labels_n: torch.Tensor, alpha: float, generator: np.random.Generator
) -> tuple[Tensors, torch.Tensor, float]:
    """Mix every image with another of its batch (mixup, Zhang et al. 2018, arXiv:1710.09412), on activations."""
    if alpha == 0:
        return inputs, labels_n, 1.0
    share = float(generator.beta(alpha, alpha))
    other = torch.from_numpy(generator.permutation(len(labels_n))).to(labels_n.device)
    return (
        tuple(share * tensor.float() + (1 - share) * tensor[other].float() for tensor in inputs),
        labels_n[other],
        share,
    )


def trained_state(network: nn.Module) -> State:
    """A copy of everything that training can change: trained parameters, and buffers."""
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in network.named_buffers()}
    return {name: value.clone() for name, value in network.state_dict().items() if name in trained | buffers}
