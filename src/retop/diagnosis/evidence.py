"""All that rules may look at, whether a run of ours or of another tool left it."""

from collections.abc import Sequence
from dataclasses import dataclass

from retop.records import (
    EpochRecord,
    Finding,
    FinishedRun,
    IsolationRecord,
    Metrics,
    Predictions,
    RunRecord,
    StageRecord,
)


@dataclass(frozen=True)
class Evidence:
    """One run as rules see it; what is None or empty was not recorded.

    Attributes:
        name: of the contender.
        num_train: training images; 0 where unknown.
        num_validation: validation images; 0 where unknown.
        num_classes: K; 0 where unknown.
        epochs: of all stages, in order.
        stages: how they went.
        record: run.json, for runs of ours.
        validation: quality on validation.
        test: quality on test.
        validation_predictions: every answer on validation.
        test_predictions: every answer on test.
        other_predictions: answers of another program on images of this run.
        isolation: tests that training made.
        audit: what the audit of the data found.
        no_numbers: losses that stopped being numbers, and the first epoch of which each is none.
    """

    name: str
    num_train: int
    num_validation: int
    num_classes: int
    epochs: tuple[EpochRecord, ...] = ()
    stages: tuple[StageRecord, ...] = ()
    record: RunRecord | None = None
    validation: Metrics | None = None
    test: Metrics | None = None
    validation_predictions: Predictions | None = None
    test_predictions: Predictions | None = None
    other_predictions: Predictions | None = None
    isolation: IsolationRecord | None = None
    audit: tuple[Finding, ...] = ()
    no_numbers: tuple[tuple[str, int], ...] = ()

    @property
    def last_stage(self) -> tuple[EpochRecord, ...]:
        """Epochs of the last stage, epoch 0 included."""
        return self.stage(self.epochs[-1].stage) if self.epochs else ()

    def stage(self, number: int) -> tuple[EpochRecord, ...]:
        """Epochs of one stage, epoch 0 included; empty where it was not trained."""
        return tuple(epoch for epoch in self.epochs if epoch.stage == number)

    def stage_name(self, number: int) -> str:
        """What a stage is called; a history of another tool that tells of no second one has no stages."""
        return "training" if self.record is None and not self.stage(2) else f"stage {number}"

    @property
    def usual_validation(self) -> float | None:
        """Validation accuracy as it usually was in the second half of the last stage; None where nothing is known."""
        if self.validation is not None:
            return self.validation.accuracy.value
        half = sorted(epoch.validation_accuracy for epoch in self.last_stage[len(self.last_stage) // 2 :])
        return half[len(half) // 2] if half else None

    @property
    def chance(self) -> float:
        """Accuracy of the best constant answer on validation; that of guessing where the classes are not known."""
        if self.validation is not None:
            return max(one.n for one in self.validation.classes) / self.validation.n
        return 1 / self.num_classes if self.num_classes else 0.0


def evidence_of(run: FinishedRun, audit: Sequence[Finding] = (), other: Predictions | None = None) -> Evidence:
    """The evidence that a run of ours left.

    Args:
        run: as read from its folder.
        audit: findings about its data.
        other: answers of another program on images of this run.

    Returns:
        The evidence.
    """
    record = run.record
    return Evidence(
        name=run.name,
        num_train=run.num_images("train"),
        num_validation=run.num_images("validation"),
        num_classes=len(record.data.classes),
        epochs=run.epochs,
        stages=record.stages,
        record=record,
        validation=record.validation,
        test=record.test,
        validation_predictions=run.validation,
        test_predictions=run.test,
        other_predictions=other,
        isolation=record.isolation,
        audit=tuple(audit),
    )
