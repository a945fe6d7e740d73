"""Findings of folders and files: what `retop diagnose` and the report say."""

from collections.abc import Sequence
from pathlib import Path

from retop.diagnosis import diagnose, import_history, read_answers
from retop.records import Finding, Predictions, read_predictions
from retop.report.contents import find, open_folder

SPLITS = ("validation", "test")


def diagnose_folder(folder: Path, predictions: Sequence[Path] = ()) -> tuple[Finding, ...]:
    """Findings of a comparison or a run.

    Args:
        folder: of either.
        predictions: files with another program's answers on the same images, compared with those of every backbone.

    Returns:
        The gravest first.

    Raises:
        RunError: the folder is neither, or a file cannot be read.
    """
    comparison = open_folder(folder)
    others = [part for file in predictions for part in _read(file)]
    return find(comparison, others)


def diagnose_history(
    file: Path, num_train: int, num_validation: int, num_classes: int, predictions: Sequence[Path] = ()
) -> tuple[Finding, ...]:
    """Findings of another tool's run.

    Args:
        file: its history.
        num_train: training images; 0 where unknown.
        num_validation: validation images; 0 where unknown.
        num_classes: K; 0 where unknown.
        predictions: files with its answers on validation or test.

    Returns:
        The gravest first.

    Raises:
        RunError: a file cannot be read.
    """
    parts = [part for path in predictions for part in _read(path)]
    return diagnose(
        import_history(
            file, num_train=num_train, num_validation=num_validation, num_classes=num_classes, predictions=parts
        )
    )


def _read(path: Path) -> list[Predictions]:
    if path.suffix == ".csv":
        return list(read_answers(path))
    return [one for split in SPLITS if (one := read_predictions(path, split)).paths]
