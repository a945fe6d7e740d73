"""What a finished run and a finished comparison left in their folders, read as a whole."""

from dataclasses import dataclass
from pathlib import Path

from retop.errors import RunError
from retop.records.comparison import ComparisonRecord, ComparisonRow
from retop.records.plan import PlanRecord
from retop.records.predictions import Predictions, merge_predictions, read_predictions
from retop.records.run import EpochRecord, RunRecord, read_epochs
from retop.records.storing import read_record

RUN, COMPARISON, PLAN, REPORT = "run.json", "comparison.json", "plan.json", "report.html"
EPOCHS, PREDICTIONS = "metrics.jsonl", "predictions.parquet"


@dataclass(frozen=True)
class FinishedRun:
    """One run.

    Attributes:
        folder: where it lies.
        record: run.json.
        epochs: metrics.jsonl; empty where nothing was trained in epochs.
        validation: predictions on validation; None where they were not kept.
        test: predictions on test; None where there is no test split, or they were not kept.
    """

    folder: Path
    record: RunRecord
    epochs: tuple[EpochRecord, ...]
    validation: Predictions | None
    test: Predictions | None

    @property
    def name(self) -> str:
        """Name of the contender: backbone or baseline."""
        return self.record.contender

    @property
    def ranked(self) -> Predictions | None:
        """Predictions on test, or on validation where there is no test split."""
        return self.validation if self.record.test is None else self.test

    def num_images(self, split: str) -> int:
        """Images of a split; 0 where there is no such split."""
        return sum(sum(one.per_class) for one in self.record.data.splits if one.name == split)


@dataclass(frozen=True)
class FinishedComparison:
    """A comparison with its runs.

    Attributes:
        folder: where it lies.
        record: comparison.json.
        plan: plan.json; None where it was not kept.
        runs: every run that the record names, in the order of its rows and seeds.
    """

    folder: Path
    record: ComparisonRecord
    plan: PlanRecord | None
    runs: tuple[FinishedRun, ...]

    def first_runs(self) -> tuple[FinishedRun, ...]:
        """The first seed of every row, in the order of the rows."""
        by_folder = {run.folder: run for run in self.runs}
        return tuple(by_folder[self.folder / row.runs[0]] for row in self.record.rows)

    def seeds_of(self, row: ComparisonRow) -> tuple[tuple[FinishedRun, ...], ...]:
        """The runs of each seed of a row: one, or with folds one for each fold."""
        seeds: dict[int, list[FinishedRun]] = {}
        for run in self.runs:
            if run.name == row.name:
                seeds.setdefault(run.record.seed, []).append(run)
        return tuple(map(tuple, seeds.values()))

    def answers_of(self, row: ComparisonRow) -> tuple[Predictions, ...]:
        """The ranked predictions of each seed of a row that kept them, the folds of a seed as one."""
        kept = ([run.ranked for run in seed if run.ranked is not None] for seed in self.seeds_of(row))
        seeds = zip(kept, self.seeds_of(row), strict=True)
        return tuple(merge_predictions(parts) for parts, runs in seeds if len(parts) == len(runs))


def read_finished_run(folder: Path) -> FinishedRun:
    """Read the folder of a run.

    Args:
        folder: with run.json, and what else was kept.

    Returns:
        The run.

    Raises:
        RunError: run.json is missing, or a file that is there cannot be read.
    """
    record = read_record(RunRecord, folder / RUN)
    epochs = read_epochs(folder / EPOCHS) if (folder / EPOCHS).is_file() else ()
    return FinishedRun(folder, record, epochs, _predictions(folder, "validation"), _predictions(folder, "test"))


def read_finished_comparison(folder: Path) -> FinishedComparison:
    """Read the folder of a comparison.

    Args:
        folder: with comparison.json and the folders of the runs that it names.

    Returns:
        The comparison.

    Raises:
        RunError: a record is missing or cannot be read.
    """
    record = read_record(ComparisonRecord, folder / COMPARISON)
    plan = read_record(PlanRecord, folder / PLAN) if (folder / PLAN).is_file() else None
    runs = tuple(read_finished_run(folder / name) for row in record.rows for name in row.runs)
    return FinishedComparison(folder, record, plan, runs)


def kind_of_folder(folder: Path) -> str:
    """Whether a folder holds a ``comparison`` or a ``run``.

    Raises:
        RunError: neither.
    """
    for file, kind in ((COMPARISON, "comparison"), (RUN, "run")):
        if (folder / file).is_file():
            return kind
    raise RunError(
        f"{folder} holds neither {COMPARISON} nor {RUN}; give the folder of a finished comparison (its --out) or of "
        f"one of its runs"
    )


def _predictions(folder: Path, split: str) -> Predictions | None:
    if not (folder / PREDICTIONS).is_file():
        return None
    predictions = read_predictions(folder / PREDICTIONS, split)
    return predictions if predictions.paths else None
