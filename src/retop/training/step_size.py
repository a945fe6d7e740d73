"""The range test: a step size found on the stage's own data instead of guessed.

Source:
    Smith, Cyclical Learning Rates for Training Neural Networks, 2017 (arXiv:1506.01186). Where we differ: the
    choice keeps a fixed distance below the edge at which the loss has risen, because that edge exists also for a
    network that is good already and whose loss hardly falls; gradients are not clipped, because clipping hides the
    edge; and the choice never exceeds a ceiling.
"""

# N batch, K classes

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from retop.backbones.head import LinearHead
from retop.device import free_memory, full_float32, is_out_of_memory, seed_generators
from retop.recipe import StageRecipe
from retop.training.network import LabelledInputs, LateNetwork
from retop.training.optimiser import build_optimiser, set_learning_rate
from retop.training.order import Rows, derive_seed, epoch_order
from retop.training.runtime import Runtime
from retop.training.state import trained_state
from retop.training.step import training_loss

Series = npt.NDArray[np.float64]

NUM_STEPS = 40
RISE = 0.3
SMALLEST_SCALE = 0.5
DISTANCE = 40.0
HEAD_CEILING = 5.0


@dataclass(frozen=True)
class StepSizeRange:
    """Step sizes that are tried, and the largest that is ever chosen."""

    lowest: float
    highest: float
    ceiling: float


SGD_HEAD = StepSizeRange(1e-4, 1.0, 0.1)
SGD_LATE = StepSizeRange(1e-4, 1.0, 0.01)
ADAM_HEAD = StepSizeRange(1e-5, 1.0, 1e-2)
ADAM_LATE = StepSizeRange(1e-6, 1e-1, 3e-4)


def tried_range(recipe: StageRecipe, stage: int) -> StepSizeRange:
    """The step sizes to try for a stage's optimiser."""
    if recipe.optimiser == "sgd":
        return SGD_HEAD if stage == 1 else SGD_LATE
    return ADAM_HEAD if stage == 1 else ADAM_LATE


def find_learning_rate(
    network: LateNetwork,
    enter_training: Callable[[], None],
    train: LabelledInputs,
    recipe: StageRecipe,
    *,
    weight_decay: float,
    seed: int,
    stage: int,
    runtime: Runtime,
    leave_if_asked: Callable[[], None] = lambda: None,
) -> float:
    """Raise the step size geometrically from step to step and keep well below where the loss rises.

    The network is handed back as it came.

    Args:
        network: as it stands before the stage.
        enter_training: puts the network's modules into their training modes.
        train: images to try on.
        recipe: of the stage.
        weight_decay: penalty on weights.
        seed: of the run.
        stage: 1 or 2.
        runtime: device and arithmetic.
        leave_if_asked: called after every step; raises where somebody asked to stop.

    Returns:
        The peak step size for the stage.

    Raises:
        StoppedError: somebody asked to stop.
    """
    tried = tried_range(recipe, stage)
    rates = np.geomspace(tried.lowest, tried.highest, NUM_STEPS)
    before = trained_state(network)
    size = min(recipe.batch_size, runtime.images_at_once or recipe.batch_size)
    rows = train.rows[epoch_order(seed, 0, 0, len(train.rows))[:size]]
    losses: Series | None = None
    while losses is None:
        try:
            losses = _losses(
                network, enter_training, train, rows, recipe, rates, weight_decay, seed, runtime, leave_if_asked
            )
        except (RuntimeError, MemoryError) as error:
            if len(rows) == 1 or not is_out_of_memory(error):
                raise
        network.load_state_dict(before, strict=False)
        if losses is None:
            rows = rows[: len(rows) // 2]
            free_memory(runtime.device)
    return float(min(_ceiling(network, tried), edge(rates, losses) / DISTANCE))


def _ceiling(network: LateNetwork, tried: StepSizeRange) -> float:
    """The largest step size to choose; a head alone has one of its own.

    A batch that the head can separate shows no edge. But on features of unit size the curvature of the loss is known
    well enough: the largest eigenvalue of their covariance lies between a tenth and a sixth of their number.
    """
    if isinstance(network.head, LinearHead) and isinstance(network.suffix, torch.nn.Identity):
        return min(tried.ceiling, HEAD_CEILING / network.head.linear.in_features)
    return tried.ceiling


def edge(rates: Series, losses: Series) -> float:
    """The smallest step size after which the loss has clearly risen.

    Args:
        rates: step sizes, rising.
        losses: loss before each step, of the same images every time; shorter than `rates` if the test ended early.

    Returns:
        The first step size at which the loss stands above the lowest before it by `RISE` of the first (or of
        `SMALLEST_SCALE` nats, for a network that is right already); the last one tried if it never did.
    """
    risen = np.flatnonzero(losses > np.minimum.accumulate(losses) + RISE * max(losses[0], SMALLEST_SCALE))
    return float(rates[risen[0] if len(risen) else len(losses) - 1])


def _losses(
    network: LateNetwork,
    enter_training: Callable[[], None],
    train: LabelledInputs,
    rows: Rows,
    recipe: StageRecipe,
    rates: Series,
    weight_decay: float,
    seed: int,
    runtime: Runtime,
    leave_if_asked: Callable[[], None],
) -> Series:
    """One batch, again and again: what the loss then does is the step size's doing, not the sample's."""
    optimiser = build_optimiser(network, recipe, rates[0], weight_decay)
    rows, crossings = next(iter(train.inputs.batches(rows, np.zeros_like(rows), len(rows))))
    inputs = runtime.placed(crossings)
    labels_n = torch.from_numpy(train.labels_n[rows]).to(runtime.device)
    losses: list[float] = []
    unsmoothed = replace(recipe, label_smoothing=0.0)
    for rate in rates:
        enter_training()
        seed_generators(derive_seed("range test", seed), runtime.device)
        set_learning_rate(optimiser, float(rate))
        with runtime.autocast():
            logits_nk = network(*inputs).float()
        loss = training_loss(logits_nk, labels_n, unsmoothed, train.class_weights_k)
        losses.append(float(loss.detach()))
        ceiling = 4 * max(losses[0], SMALLEST_SCALE)
        if not losses[-1] < ceiling:
            losses[-1] = ceiling
            break
        optimiser.zero_grad()
        with full_float32(runtime.device):
            loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        leave_if_asked()
    return np.array(losses)
