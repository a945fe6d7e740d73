"""The training loop. One page, in execution order."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from retop.errors import DivergedError
from retop.events import Listener, Notice, ignore
from retop.recipe import StageRecipe
from retop.records import EpochRecord
from retop.training.checkpoints import Checkpoints
from retop.training.measuring import measure_epoch
from retop.training.network import LabelledInputs, LateNetwork
from retop.training.optimiser import build_optimiser, learning_rate_at, set_learning_rate
from retop.training.order import derive_seed
from retop.training.runtime import Runtime
from retop.training.state import ROLL_BACK_FACTOR, FitState, Progress
from retop.training.step import HalfStepError, backward, go_back_for_memory, mix, take_step, training_loss


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
        on_epoch: receives each epoch's record, those of an interrupted fit first.
        checkpoints: where the state is kept; None keeps nothing.
        listener: receives warnings.

    Returns:
        History and best epoch.

    Raises:
        DivergedError: loss, gradient or weights are not finite, again after the step size was lowered.
        MemoryRunError: there is no memory for a step, even with one image at a time.
        StoppedError: somebody asked to stop; the state is saved.
    """
    checkpoints = checkpoints or Checkpoints()
    optimiser = build_optimiser(network, recipe, learning_rate, weight_decay)
    name = f"stage {stage}, step size {learning_rate!r}, penalty {weight_decay!r}"
    state = FitState(name, network, optimiser, runtime.device, Progress(learning_rate, runtime.images_at_once))
    objective = partial(training_loss, recipe=recipe, class_weights_k=train.class_weights_k)
    module, stepper = runtime.fabric.setup(network, optimiser)
    if checkpoints.resume(state):
        for record in state.progress.history:
            on_epoch(record)
    else:
        record = measure_epoch(
            network, train_sample, validation, runtime, stage, epoch=0, leave_if_asked=checkpoints.leave_if_asked
        )
        _end_epoch(state, record, on_epoch)
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
                batch = mix(crossings, torch.from_numpy(train.labels_n[rows]), recipe.mixup, state.mixing)
                loss, right = backward(module, batch, objective, runtime, state, listener)
                where = f"stage {stage}, epoch {epoch}, step {progress.batch + 1}"
                norm = take_step(network, stepper, loss, recipe, where, rate)
                progress.batch += 1
                progress.loss_sum += loss * len(rows)
                progress.right += right
                progress.largest_norm = max(progress.largest_norm, norm)
                checkpoints.keep(state, epoch_over=False)
            record = measure_epoch(
                network, train_sample, validation, runtime, stage, epoch,
                learning_rate=learning_rate_at(
                    epoch * steps_per_epoch, steps_per_epoch * recipe.epochs, state.progress.learning_rate, recipe
                ),
                train_loss=state.progress.loss_sum / len(order),
                train_accuracy=None if recipe.mixup else state.progress.right / len(order),
                gradient_norm=state.progress.largest_norm,
                seconds_before=state.seconds,
                leave_if_asked=partial(checkpoints.leave_if_asked, state),
            )  # fmt: skip
        except DivergedError as error:
            if state.progress.rolled_back:
                raise DivergedError(f"{error} ({learning_rate:.3g} and a tenth of it were tried)") from error
            state.roll_back(ROLL_BACK_FACTOR)
            lower = state.progress.learning_rate
            listener(Notice("warning", f"{error}. Going on from epoch {epoch - 1} at step size {lower:.3g}"))
            continue
        except HalfStepError as error:
            go_back_for_memory(state, min(recipe.batch_size, len(order)), error, listener)
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
    return (record.validation_accuracy, -record.comparable_loss) > (other.validation_accuracy, -other.comparable_loss)


def _is_out_of_patience(progress: Progress, recipe: StageRecipe) -> bool:
    return recipe.patience is not None and progress.epoch - 1 - progress.best.epoch >= recipe.patience


def _end_epoch(state: FitState, record: EpochRecord, on_epoch: Callable[[EpochRecord], None]) -> None:
    history = state.progress.history
    state.end_epoch(record, better=not history or is_better(record, state.progress.best))
    on_epoch(record)
