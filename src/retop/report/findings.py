"""Findings of folders and files: what `retop diagnose` and the report say."""

from collections.abc import Sequence
from pathlib import Path

from retop.data.audit import exclusions
from retop.data.lists import write_exclusions
from retop.diagnosis import diagnose, import_history, read_answers
from retop.errors import RunError
from retop.records import Finding, Predictions, read_predictions
from retop.report.contents import find, open_folder

FEWEST_MATCHED = 10
SPLITS = ("validation", "test")


def diagnose_folder(folder: Path, predictions: Sequence[Path] = ()) -> tuple[Finding, ...]:
    """Findings of a comparison or a run.

    Args:
        folder: of either.
        predictions: files with another program's answers on the same images, compared with those of every backbone.

    Returns:
        The gravest first.

    Raises:
        RunError: the folder is neither, a file cannot be read, or holds answers to hardly any image of the run.
    """
    comparison = open_folder(folder)
    others = [part for file in predictions for part in _read(file)]
    known = {path for run in comparison.runs for one in (run.validation, run.test) if one for path in one.paths}
    for part in others:
        matched = sum(path in known for path in part.paths)
        if known and matched < FEWEST_MATCHED:
            raise RunError(
                f"of the {len(part.paths):,} {part.split} images of --predictions {matched:,} are images of this run, "
                f"and at least {FEWEST_MATCHED} are needed; they are compared by path, as in {min(known)} (the "
                f"predictions have {part.paths[0]})"
            )
    return find(comparison, others)


def list_exclusions(findings: Sequence[Finding], file: Path) -> int:
    """Write a list for ``--exclude`` of the images that findings would leave out.

    Args:
        findings: of a folder.
        file: where to; must not exist.

    Returns:
        How many images it holds.

    Raises:
        UsageError: the file exists, or cannot be written.
    """
    return write_exclusions(file, exclusions(findings))


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
    if path.suffix.lower() == ".parquet":
        return [one for split in SPLITS if (one := read_predictions(path, split)).paths]
    return list(read_answers(path))
