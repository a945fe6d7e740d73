"""`write_report` and `diagnose`: what finished records say."""

from collections.abc import Sequence
from pathlib import Path

from retop.errors import UsageError
from retop.records import Finding
from retop.report import Format
from retop.report import write_report as write_report_files
from retop.report.findings import diagnose_folder


def write_report(
    *runs: str | Path,
    form: Format = "html",
    out: str | Path | None = None,
    data: str | Path | None = None,
    explain: bool = False,
) -> Path:
    """Write a report of finished comparisons or runs, from their records alone.

    Args:
        *runs: folders of comparisons or of single runs; several are shown on one page.
        form: ``html`` one self-contained page; ``markdown``; ``json``; ``csv``: the facts of every figure, a file
            each; ``png`` and ``svg``: the main figures, a file each.
        out: where to; None for a place in the first folder.
        data: where the images lie now, if they were moved.
        explain: first make heat maps (Grad-CAM) of the worst and the most doubtful images, with the saved models.

    Returns:
        What was written.

    Raises:
        UsageError: no folder is named.
        RunError: a folder holds no finished comparison or run, or the report cannot be written.
    """
    if not runs:
        raise UsageError("a report needs the folder of a comparison or a run: retop report RUN (write_report(folder))")
    return write_report_files(
        [Path(run) for run in runs],
        form,
        None if out is None else Path(out),
        None if data is None else Path(data),
        explain,
    )


def diagnose(run: str | Path, *, predictions: Sequence[str | Path] = ()) -> tuple[Finding, ...]:
    """Say what a finished run's records mean.

    Args:
        run: folder of a comparison or of a single run.
        predictions: files of another program's predictions on the same images (predictions.parquet), to be compared.

    Returns:
        Findings, the gravest first.

    Raises:
        RunError: the folder holds no finished comparison or run, or a file cannot be read.
    """
    return diagnose_folder(Path(run), [Path(file) for file in predictions])
