"""What figures show, as plain data computed from records. Figures only draw these."""

# K classes

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from retop.errors import RunError
from retop.evaluation import wilson_interval
from retop.records import ComparisonRecord, EpochRecord, Interval, Metrics, RunRecord


@dataclass(frozen=True)
class StageCurve:
    """One stage's epochs."""

    stage: Literal[1, 2]
    """1: head; 2: head and late layers."""

    places: tuple[int, ...]
    """Epochs since the run's start. A stage's epoch 0 stands where the stage before ended."""

    validation_accuracy: tuple[float, ...]
    """After each epoch."""

    validation_loss: tuple[float | None, ...]
    """After each epoch; None where it was not recorded."""

    train_accuracy: tuple[float | None, ...]
    """On a sample of training images under evaluation conditions, as validation is measured."""

    train_loss: tuple[float | None, ...]
    """On the same sample."""

    running_accuracy: tuple[float | None, ...]
    """Over the epoch as trained: with augmentation and dropout, and with weights that still move."""

    running_loss: tuple[float | None, ...]
    """Over the epoch as trained."""

    best_place: int
    """Place of the epoch whose weights the stage handed on."""


@dataclass(frozen=True)
class CurveFacts:
    """How one run learned."""

    name: str
    """Backbone or baseline."""

    seed: int
    """Of the run."""

    num_train: int
    """Training images."""

    num_validation: int
    """Validation images."""

    stages: tuple[StageCurve, ...]
    """Stages that have epochs, in order; at least one."""

    change_place: int | None
    """Where stage 2 begins; None for one stage."""

    chosen_place: int
    """Place of the epoch whose weights the model has."""

    chosen_accuracy: float
    """Validation accuracy there."""

    chosen_loss: float | None
    """Validation loss there; None where it was not recorded."""

    noise: Interval
    """95 % range in which validation accuracy would scatter, from drawing other validation images alone, if the
    model stayed as it was at the chosen epoch."""


@dataclass(frozen=True)
class ConfusionFacts:
    """Which classes one model takes for which."""

    name: str
    """Backbone or baseline."""

    split: str
    """``test`` or ``validation``."""

    n: int
    """Images."""

    num_right: int
    """Right answers."""

    accuracy: Interval
    """With Wilson's interval."""

    classes: tuple[str, ...]
    """K names."""

    counts: tuple[tuple[int, ...], ...]
    """[K][K]; row is the true class, column the predicted one."""

    shares: tuple[tuple[float | None, ...], ...]
    """[K][K] counts over the sum of their row; None in the row of a class without images."""


@dataclass(frozen=True)
class RankedFacts:
    """One row of the ranking."""

    name: str
    """Backbone or baseline."""

    kind: Literal["fine-tuned", "scratch", "probe"]
    """As in run.json."""

    rank: int
    """1 + the number of contenders established as better."""

    tied: bool
    """Whether another contender has this rank for want of evidence."""

    accuracy: Interval
    """Mean over seeds with its interval."""

    seed_accuracies: tuple[float, ...]
    """Accuracy of each seed."""

    recommended: bool
    """Whether validation chose it."""


@dataclass(frozen=True)
class RankingFacts:
    """The ranking."""

    split: Literal["test", "validation"]
    """Ranked split."""

    n: int
    """Images."""

    rows: tuple[RankedFacts, ...]
    """Best first."""


def curve_facts(run: RunRecord, epochs: Sequence[EpochRecord]) -> CurveFacts | None:
    """Compute a run's curves.

    Args:
        run: its record.
        epochs: its epochs, in order.

    Returns:
        The facts; None where nothing was trained in epochs (a logistic regression).

    Raises:
        RunError: the record names an epoch that is not among `epochs`.
    """
    if not epochs:
        return None
    stages: list[StageCurve] = []
    offset = 0
    for number in (1, 2):
        own = [epoch for epoch in epochs if epoch.stage == number]
        if own:
            stages.append(_stage_curve(run, own, offset))
            offset += max(epoch.epoch for epoch in own)
    last = stages[-1]
    chosen = last.places.index(last.best_place)
    num_validation = _num_images(run, "validation")
    accuracy = last.validation_accuracy[chosen]
    return CurveFacts(
        name=run.contender,
        seed=run.seed,
        num_train=_num_images(run, "train"),
        num_validation=num_validation,
        stages=tuple(stages),
        change_place=last.places[0] if len(stages) > 1 else None,
        chosen_place=last.best_place,
        chosen_accuracy=accuracy,
        chosen_loss=last.validation_loss[chosen],
        noise=wilson_interval(accuracy * num_validation, num_validation),
    )


def confusion_facts(name: str, metrics: Metrics) -> ConfusionFacts:
    """Compute a confusion matrix's facts.

    Args:
        name: of the backbone or baseline.
        metrics: of the model on one split.

    Returns:
        The facts.
    """
    shares = tuple(tuple(cell / sum(row) if sum(row) else None for cell in row) for row in metrics.confusion)
    return ConfusionFacts(
        name=name,
        split=metrics.split,
        n=metrics.n,
        num_right=metrics.num_right,
        accuracy=metrics.accuracy,
        classes=tuple(one.label for one in metrics.classes),
        counts=metrics.confusion,
        shares=shares,
    )


def ranking_facts(record: ComparisonRecord) -> RankingFacts | None:
    """Compute the ranking's facts.

    Args:
        record: of the comparison.

    Returns:
        The facts; None where no run finished.
    """
    if not record.rows:
        return None
    rows = tuple(
        RankedFacts(
            row.name,
            row.kind,
            row.rank,
            bool(row.tied_with),
            row.seeds.mean,
            row.seeds.accuracies,
            row.name == record.recommended,
        )
        for row in record.rows
    )
    return RankingFacts(record.ranked_on, record.rows[0].metrics.n, rows)


def _stage_curve(run: RunRecord, own: Sequence[EpochRecord], offset: int) -> StageCurve:
    number = own[0].stage
    recorded = next((stage.best_epoch for stage in run.stages if stage.stage == number), None)
    # A run that was cut off has no record of its stage yet: its best epoch is the one it would hand on.
    best = max(own, key=lambda epoch: epoch.validation_accuracy).epoch if recorded is None else recorded
    if all(epoch.epoch != best for epoch in own):
        raise RunError(
            f"{run.name}: run.json says that stage {number} kept epoch {best}, which metrics.jsonl does not have; the "
            f"two files are not of one run"
        )
    return StageCurve(
        stage=number,
        places=tuple(offset + epoch.epoch for epoch in own),
        validation_accuracy=tuple(epoch.validation_accuracy for epoch in own),
        validation_loss=tuple(epoch.validation_loss for epoch in own),
        train_accuracy=tuple(epoch.train_eval_accuracy for epoch in own),
        train_loss=tuple(epoch.train_eval_loss for epoch in own),
        running_accuracy=tuple(epoch.train_accuracy for epoch in own),
        running_loss=tuple(epoch.train_loss for epoch in own),
        best_place=offset + best,
    )


def _num_images(run: RunRecord, split: str) -> int:
    return sum(sum(one.per_class) for one in run.data.splits if one.name == split)
