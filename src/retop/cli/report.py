"""`retop report`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ReportFormat(StrEnum):
    """What to write."""

    HTML = "html"
    MARKDOWN = "markdown"
    JSON = "json"
    CSV = "csv"
    PNG = "png"
    SVG = "svg"


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of comparisons, or of single runs; several go on one page.",
            show_default=False,
        ),
    ],
    format_: Annotated[
        ReportFormat,
        typer.Option(
            "--format", help="A page, Markdown for a pull request, JSON, or the figures' facts (csv) and pictures."
        ),
    ] = ReportFormat.HTML,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PATH", help="File, or folder for csv, png and svg. Without it: in the first RUN."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where the images lie now, if they were moved.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="First make heat maps of the worst and most doubtful images (loads the models)."
        ),
    ] = False,
) -> None:
    """Show finished comparisons on one self-contained page, from their records alone."""
    # The API would load torch, which a report does not need.
    from retop.report.writing import write_report

    typer.echo(write_report(runs, format_.value, out, data, explain))
