"""The training loop. One page, in execution order."""

# N batch, K classes

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from retop.device import free_memory, full_float32, in_parts_that_fit
from retop.errors import DivergedError, MemoryRunError
from retop.events import Listener, Notice, ignore
from retop.recipe import StageRecipe
from retop.records import EpochRecord
from retop.training.checkpoints import Checkpoints
from retop.training.inputs import Inputs, Tensors
from retop.training.optimiser import build_optimiser, learning_rate_at, set_learning_rate
from retop.training.order import Rows, balanced_order, derive_seed, epoch_order
from retop.training.runtime import Runtime
from retop.training.state import FitState, Progress, not_finite

Labels = npt.NDArray[np.int64]
Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
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
        learning_rate: peak step size at the end; lower than what was asked for if it diverged once.
        stopped_early: whether patience ended it.
    """

    history: tuple[EpochRecord, ...]
    best: EpochRecord
    learning_rate: float
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
    checkpoints: Checkpoints | None = None,
    listener: Listener = ignore,
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
        checkpoints: where the state is kept; None keeps nothing.
        listener: receives warnings.

    Returns:
        History and best epoch.

    Raises:
        DivergedError: loss, gradient or weights are not finite, again after the step size was lowered.
        StoppedError: somebody asked to stop; the state is saved.
    """
    checkpoints = checkpoints or Checkpoints()
    optimiser = build_optimiser(network, recipe, learning_rate, weight_decay)
    name = f"stage {stage}, step size {learning_rate!r}, penalty {weight_decay!r}"
    state = FitState(name, network, optimiser, runtime.device, Progress(learning_rate))
    objective = partial(training_loss, recipe=recipe, class_weights_k=train.class_weights_k)
    module, stepper = runtime.fabric.setup(network, optimiser)
    if not checkpoints.resume(state):
        _end_epoch(state, _measure(network, train_sample, validation, runtime, stage, epoch=0), on_epoch)
    while state.progress.epoch <= recipe.epochs and not _is_out_of_patience(state.progress, recipe):
        epoch = state.progress.epoch
        order = train.order(seed, stage, epoch)
        views = train.inputs.views(seed, stage, epoch)[order]
        state.begin_epoch(derive_seed("dropout", seed, stage, epoch), derive_seed("mixup", seed, stage, epoch))
        try:
            enter_training()
            steps_per_epoch = math.ceil(len(order) / recipe.batch_size)
            for rows, crossings in train.inputs.batches(order, views, recipe.batch_size, state.progress.batch):
                progress = state.progress
                done = (epoch - 1) * steps_per_epoch + progress.batch + 1
                rate = learning_rate_at(done, steps_per_epoch * recipe.epochs, progress.learning_rate, recipe)
                set_learning_rate(optimiser, rate)
                labels_n = torch.from_numpy(train.labels_n[rows]).to(runtime.device)
                batch = _mix(on_device(crossings, runtime), labels_n, recipe.mixup, state.mixing)
                loss, right = _backward(module, batch, objective, runtime, state, listener)
                norm = float(nn.utils.clip_grad_norm_(trained_parameters(network), recipe.clip_norm or math.inf))
                check_finite(network, loss, norm, f"stage {stage}, epoch {epoch}, step {progress.batch + 1}", rate)
                stepper.step()
                progress.batch += 1
                progress.loss_sum += loss * len(rows)
                progress.right += right
                progress.largest_norm = max(progress.largest_norm, norm)
                checkpoints.keep(state, epoch_over=False)
            record = _measure(
                network, train_sample, validation, runtime, stage, epoch,
                learning_rate=learning_rate_at(
                    epoch * steps_per_epoch, steps_per_epoch * recipe.epochs, state.progress.learning_rate, recipe
                ),
                train_loss=state.progress.loss_sum / len(order),
                train_accuracy=None if recipe.mixup else state.progress.right / len(order),
                gradient_norm=state.progress.largest_norm,
                seconds_before=state.seconds,
            )  # fmt: skip
        except DivergedError as error:
            if state.progress.rolled_back:
                raise DivergedError(f"{error} ({learning_rate:.3g} and a tenth of it were tried)") from error
            listener(Notice("warning", f"{error} Going on from epoch {epoch - 1} with a tenth of it."))
            state.roll_back()
            continue
        _end_epoch(state, record, on_epoch)
        checkpoints.keep(state, epoch_over=True)
    progress = state.progress
    network.load_state_dict(state.best, strict=False)
    network.eval()
    return Fitted(
        progress.history, progress.best, progress.learning_rate, stopped_early=len(progress.history) <= recipe.epochs
    )


def is_better(record: EpochRecord, other: EpochRecord) -> bool:
    """Whether an epoch is better on validation: higher accuracy, or the same with a lower loss."""
    return (record.validation_accuracy, -record.validation_loss) > (other.validation_accuracy, -other.validation_loss)


def _is_out_of_patience(progress: Progress, recipe: StageRecipe) -> bool:
    return recipe.patience is not None and progress.epoch - 1 - progress.best.epoch >= recipe.patience


def _end_epoch(state: FitState, record: EpochRecord, on_epoch: Callable[[EpochRecord], None]) -> None:
    history = state.progress.history
    state.end_epoch(record, better=not history or is_better(record, state.progress.best))
    on_epoch(record)


def evaluate_inputs(network: LateNetwork, data: LabelledInputs, runtime: Runtime) -> tuple[float, float]:
    """Mean loss (nats) and accuracy under evaluation conditions: view 0, no dropout."""
    network.eval()
    views = np.zeros(len(data.rows), dtype=np.int64)
    loss_sum = right = 0.0

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        with runtime.autocast():
            return network(*inputs).float()  # type: ignore[no-any-return]

    with torch.inference_mode():
        for rows, crossings in data.inputs.batches(data.rows, views, EVALUATION_BATCH):
            labels_n = torch.from_numpy(data.labels_n[rows]).to(runtime.device)
            (logits_nk,) = in_parts_that_fit(run, on_device(crossings, runtime))
            loss_sum += float(functional.cross_entropy(logits_nk, labels_n, reduction="sum"))
            right += float((logits_nk.argmax(1) == labels_n).sum())
    return loss_sum / len(data.rows), right / len(data.rows)


def trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a stage changes."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


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
    seconds_before: float = 0.0,
) -> EpochRecord:
    began = time.perf_counter()
    loss, accuracy = evaluate_inputs(network, validation, runtime)
    sample = evaluate_inputs(network, train_sample, runtime) if train_sample else (None, None)
    broken = next(iter(not_finite(network)), None)
    if broken is not None or not math.isfinite(loss):
        way_out = (
            f"A smaller step size may do: --set stage{stage}.learning_rate={learning_rate / 10:.2g}"
            if epoch
            else "The weights or the images give no finite logits before the first step; check --weights"
        )
        what = "the validation loss is" if broken is None else f"the weights {broken} are"
        raise DivergedError(f"stage {stage}, epoch {epoch}: {what} not finite. {way_out}")
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
        seconds=seconds_before + time.perf_counter() - began,
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


@dataclass(frozen=True)
class _Batch:
    """A batch whose images belong to `labels_n` by `share`, and to `other_n` by the rest."""

    inputs: Tensors
    labels_n: torch.Tensor
    other_n: torch.Tensor
    share: float


def _backward(
    module: nn.Module, batch: _Batch, objective: Objective, runtime: Runtime, state: FitState, listener: Listener
) -> tuple[float, float]:
    """Gradients of the mean loss of a batch; in several parts where the device has no memory for the whole.

    Returns:
        The loss, and the number of images that were answered rightly.
    """
    num_images = len(batch.labels_n)
    generators = state.generators()
    while True:
        size = state.progress.micro_batch or num_images
        try:
            state.optimiser.zero_grad()
            parts = [_accumulate(module, batch, low, size, objective, runtime) for low in range(0, num_images, size)]
            return sum(loss for loss, _ in parts), sum(right for _, right in parts)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise MemoryRunError(
                    f"{state.name}: the device has no memory for a single image ({error}). Thaw fewer layers (--thaw), "
                    f"take a smaller network, or train elsewhere (--device cpu)"
                ) from error
        # Only here does nothing hold on to the pass that failed.
        state.progress.micro_batch = -(-min(size, num_images) // 2)
        free_memory(runtime.device)
        state.set_generators(generators)
        listener(
            Notice(
                "warning",
                f"the device has no memory for {min(size, num_images)} images at once; batches go through the network "
                f"in parts of {state.progress.micro_batch} from here on, with one step for each batch as before",
            )
        )


def _accumulate(
    module: nn.Module, batch: _Batch, low: int, size: int, objective: Objective, runtime: Runtime
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


def _mix(inputs: Tensors, labels_n: torch.Tensor, alpha: float, generator: np.random.Generator) -> _Batch:
    """Mix every image with another of its batch (mixup, Zhang et al. 2018, arXiv:1710.09412), on activations."""
    if alpha == 0:
        return _Batch(inputs, labels_n, labels_n, 1.0)
    share = float(generator.beta(alpha, alpha))
    other = torch.from_numpy(generator.permutation(len(labels_n))).to(labels_n.device)
    mixed = tuple(share * tensor.float() + (1 - share) * tensor[other].float() for tensor in inputs)
    return _Batch(mixed, labels_n, labels_n[other], share)
