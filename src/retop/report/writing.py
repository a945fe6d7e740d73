"""A report as files: a page, Markdown, JSON, or the facts and pictures of its figures."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from retop.errors import OutputError
from retop.records.finished import REPORT
from retop.report.contents import report_facts
from retop.report.heatmaps import make_heatmaps
from retop.report.page import page_figures, render_markdown, render_page
from retop.report.page_figure import PageFigure
from retop.schema import as_unicode, remove_partial_files, to_plain, write_bytes

Format = Literal["html", "markdown", "json", "csv", "png", "svg"]
FIGURES = "report-figures"


def write_report(
    folders: Sequence[Path],
    form: Format = "html",
    out: Path | None = None,
    data: Path | None = None,
    explain: bool = False,
) -> Path:
    """Write a report of one or more folders.

    Args:
        folders: of comparisons or runs; at least one.
        form: ``html`` one page; ``markdown`` or ``json`` one file; ``csv``, ``png`` or ``svg`` one file for each
            figure.
        out: file, or folder for one file for each figure; None for a place in the first folder.
        data: where the images lie now, if they were moved.
        explain: make heat maps of the worst and the most doubtful images first, with the saved models.

    Returns:
        What was written.

    Raises:
        RunError: a folder holds no finished comparison or run.
        OutputError: the report cannot be written.
    """
    facts, opened = report_facts(folders)
    if explain:
        for one in opened:
            make_heatmaps(one, data)
    target = out or folders[0] / {"html": REPORT, "markdown": "report.md", "json": "report.json"}.get(form, FIGURES)
    if out is None:
        remove_partial_files(folders[0], target)
    try:
        if form in ("csv", "png", "svg"):
            target.mkdir(parents=True, exist_ok=True)
            for figure in page_figures(facts):
                write_bytes(target / f"{figure.name}.{form}", _file(figure, form))
            return target
        if form == "html":
            text = render_page(facts, opened, data)
        elif form == "markdown":
            text = render_markdown(facts)
        else:
            text = json.dumps(to_plain(facts), indent=1, ensure_ascii=False) + "\n"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, as_unicode(text))
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}. Free some space, or choose another place with "
            f"--out (out=)"
        ) from error
    return target


def _file(figure: PageFigure, form: str) -> bytes:
    if form == "csv":
        return _table(figure.columns, figure.rows).encode()
    from retop.report.paper import picture

    return picture(figure, form)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
