"""`retop check`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from retop.cli.options import (
    ColumnsOption,
    DataArgument,
    ExcludeOption,
    FoldsOption,
    GroupOption,
    GroupPatternOption,
    JsonOption,
    SplitFileOption,
    SplitOption,
)
from retop.cli.progress import ProgressDisplay
from retop.cli.reading import read_data_settings
from retop.errors import DataError
from retop.schema import to_plain
from retop.terminal import printable

if TYPE_CHECKING:
    from retop.records import AuditRecord, Finding

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
EXAMPLES = 3
OF_GROUP = 4


def check(
    data: DataArgument,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Write the same as one HTML page with pictures.")
    ] = None,
    write_exclusions: Annotated[
        Path | None,
        typer.Option(
            "--write-exclusions", metavar="FILE", help="Write the list of images that --exclude would leave out."
        ),
    ] = None,
    split: SplitOption = None,
    folds: FoldsOption = None,
    split_file: SplitFileOption = None,
    group: GroupOption = None,
    group_pattern: GroupPatternOption = None,
    exclude: ExcludeOption = None,
    columns: ColumnsOption = None,
    json_: JsonOption = False,
) -> None:
    """Audit images and labels: copies, leaks, broken files, give-aways. Changes nothing; exit code 3 for errors."""
    from retop import api

    settings = read_data_settings(split, folds, split_file, group, group_pattern, exclude, columns)
    with ProgressDisplay(Console(stderr=True)) as listener:
        record = api.check(data, settings=settings, page=page, write_exclusions=write_exclusions, listener=listener)
    if json_:
        typer.echo(json.dumps(to_plain(record), indent=1, ensure_ascii=False))
    else:
        _show(record, Console())
        for file, what in ((page, "The page"), (write_exclusions, "The list for --exclude")):
            if file is not None:
                typer.echo(f"{what}: {file}")
    from retop.evaluation.numerals import count

    errors = [finding.code for finding in record.findings if finding.severity == "error"]
    if errors:
        raise DataError(f"{count(len(errors), 'finding is an error', 'findings are errors')}: {', '.join(errors)}")


def _show(record: "AuditRecord", console: Console) -> None:
    from retop.evaluation.numerals import count

    for finding in record.findings:
        _show_finding(finding, console)
    found = {finding.code for finding in record.findings}
    clean = [code for code in record.checked if code not in found]
    console.print(
        f"{count(record.images, 'image')} in {count(len(record.classes), 'class', 'classes')}; nothing found by "
        f"{', '.join(clean) or 'no rule'}.",
        highlight=False,
    )


def _show_finding(finding: "Finding", console: Console) -> None:
    title = Text(f"{finding.code} {finding.name}", style="bold")
    title.append(f"  {finding.severity}{', suspected' if finding.suspected else ''}", style=STYLES[finding.severity])
    console.print(title)
    # A grid, so that a line that is too long goes on below itself.
    grid = Table.grid(padding=(0, 1), pad_edge=False)
    grid.add_column(style="dim", min_width=8, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in (("  seen", finding.seen), ("  why", finding.why), ("  to do", finding.fix)):
        grid.add_row(name, Text(printable(text)))
    add_files(grid, finding, "  files", "--json, --page FILE")
    console.print(grid)
    console.print()


def add_files(grid: Table, finding: "Finding", title: str, everything: str) -> None:
    """Show the first files of a finding, and how many more there are.

    Args:
        grid: of two columns, to which rows are added.
        finding: of the audit or of a diagnosis.
        title: of the first row.
        everything: options that give all of them.
    """
    from retop.records.audit import captions

    files = captions(finding)
    for number, group in enumerate(files[:EXAMPLES]):
        shown = [*group[:OF_GROUP], *([f"and {len(group) - OF_GROUP:,} more"] if len(group) > OF_GROUP else [])]
        grid.add_row("" if number else title, Text("\n= ".join(map(printable, shown))))
    if len(files) > EXAMPLES:
        grid.add_row("", Text(f"and {len(files) - EXAMPLES:,} more ({everything})", style="dim"))
