"""Timing of epochs: all of them, or a few steps from which the rest is calculated."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from spec import Spec, StageTiming


@dataclass(frozen=True)
class Pass:
    """One pass over a split, or its beginning.

    Attributes:
        step_seconds: of every step; the first holds what starting the pass took.
        num_images: images of all steps together.
    """

    step_seconds: tuple[float, ...]
    num_images: int

    @property
    def steady_seconds(self) -> float:
        """Mean of a step, the first one left out where there are others."""
        return fmean(self.step_seconds[1:] or self.step_seconds)

    def seconds(self, num_steps: int) -> float:
        """Of a pass with so many steps."""
        if num_steps <= len(self.step_seconds):
            return sum(self.step_seconds[:num_steps])
        return sum(self.step_seconds) + (num_steps - len(self.step_seconds)) * self.steady_seconds


class PassClock:
    """Times the steps of one pass; made when the pass begins.

    Args:
        limit: steps after which the pass is cut short; None for none.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._last = time.perf_counter()
        self._steps: list[float] = []
        self._images = 0

    def tick(self, num_images: int) -> bool:
        """A step is done; True where the pass shall end."""
        now = time.perf_counter()
        self._steps.append(now - self._last)
        self._last = now
        self._images += num_images
        return len(self._steps) == self._limit

    def stop(self) -> Pass:
        """The pass as far as it went."""
        return Pass(tuple(self._steps), self._images)


Epochs = list[tuple[Pass, Pass]]
"""Training and validation pass of every epoch."""


def time_stage(run_epochs: Callable[[int, int | None], Epochs], epochs: int, spec: Spec) -> StageTiming:
    """Run a stage, or a few steps of one of its epochs.

    Args:
        run_epochs: trains and validates for a number of epochs, each pass cut to a number of steps or whole.
        epochs: of the stage.
        spec: says how much is run.
    """
    if spec.measure_steps is None:
        return _run_all(run_epochs, epochs)
    steps = [-(-count // spec.batch_size) for count in (spec.num_train, spec.num_validation)]
    warm = run_epochs(1, 1)[0]
    measured = run_epochs(1, spec.measure_steps)[0]
    train, validation = (each.seconds(count) for each, count in zip(measured, steps, strict=True))
    excess = sum(max(0.0, w.step_seconds[0] - m.steady_seconds) for w, m in zip(warm, measured, strict=True))
    return StageTiming(
        epochs=epochs,
        seconds=excess + epochs * (train + validation),
        warm_up_seconds=excess,
        train_epoch_seconds=train,
        validation_seconds=validation,
        measured_train_images=measured[0].num_images,
        measured_validation_images=measured[1].num_images,
        extrapolated=True,
    )


def _run_all(run_epochs: Callable[[int, int | None], Epochs], epochs: int) -> StageTiming:
    started = time.perf_counter()
    passes = run_epochs(epochs, None)
    seconds = time.perf_counter() - started
    return StageTiming(
        epochs=epochs,
        seconds=seconds,
        warm_up_seconds=None,
        train_epoch_seconds=fmean(sum(train.step_seconds) for train, _ in passes),
        validation_seconds=fmean(sum(validation.step_seconds) for _, validation in passes),
        measured_train_images=sum(train.num_images for train, _ in passes),
        measured_validation_images=sum(validation.num_images for _, validation in passes),
        extrapolated=False,
    )


def count_images(stages: dict[str, StageTiming]) -> int:
    """Images that were timed."""
    return sum(stage.measured_train_images + stage.measured_validation_images for stage in stages.values())
