"""`retop diagnose` and `retop import-history`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from retop.cli.check import STYLES, add_files
from retop.cli.options import JsonOption
from retop.schema import to_plain
from retop.terminal import printable

if TYPE_CHECKING:
    from retop.records import Finding

PredictionsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--predictions",
        metavar="FILE",
        help="Answers of another program: a predictions.parquet, or a table (.csv, .tsv) with label, predicted, split, "
        "path and confidence. May be given several times.",
    ),
]


def diagnose(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a comparison, or of a single run.", show_default=False)
    ],
    predictions: PredictionsOption = None,
    write_exclusions: Annotated[
        Path | None,
        typer.Option(
            "--write-exclusions",
            metavar="FILE",
            help="Write a list for --exclude: training images whose labels are contradicted with a confidence above "
            "80 %, and the images that the run's audit of the data would leave out (copies in other splits above all).",
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Say what a finished run's records mean: what was seen, why it matters, what to do."""
    # The API would load torch, which reading records does not need.
    from retop.report.findings import diagnose_folder, list_exclusions

    found = diagnose_folder(run, predictions or ())
    number = list_exclusions(found, write_exclusions) if write_exclusions else 0
    _print(found, json_)
    if write_exclusions and not json_:
        from retop.evaluation.numerals import count

        typer.echo(f"The list for --exclude, {count(number, 'image')}: {write_exclusions}")


def import_history(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Keras History as JSON, or a table (commas, semicolons, tabs or spaces) of Keras, Lightning, fastai, "
            "Ultralytics, or with columns such as val_accuracy or 'Validation Acc', or epoch, name and value.",
            show_default=False,
        ),
    ],
    num_train: Annotated[int, typer.Option("--num-train", metavar="N", help="Training images.")] = 0,
    num_validation: Annotated[int, typer.Option("--num-validation", metavar="N", help="Validation images.")] = 0,
    num_classes: Annotated[int, typer.Option("--num-classes", metavar="K", help="Classes.")] = 0,
    predictions: PredictionsOption = None,
    json_: JsonOption = False,
) -> None:
    """Diagnose a run of another tool from its history."""
    from retop.report.findings import diagnose_history

    found = diagnose_history(file, num_train, num_validation, num_classes, predictions or ())
    _print(found, json_)


def _print(findings: "Sequence[Finding]", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(to_plain(findings), indent=1, ensure_ascii=False))
        return
    console = Console()
    if not findings:
        console.print("Nothing was found that would mislead.")
    for finding in findings:
        console.print(_shown(finding))


def _shown(finding: "Finding") -> RenderableType:
    head = Text.assemble(
        (finding.severity, STYLES[finding.severity]),
        f"  {finding.name}{' (suspected)' if finding.suspected else ''}  ",
        (finding.code, "dim"),
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [("seen", finding.seen), ("why", finding.why), ("do", finding.fix)]
    if finding.isolating_test:
        rows.append(("isolate", finding.isolating_test))
    for name, text in rows:
        table.add_row(name, Text(printable(text)))
    excluded = set(finding.evidence.get("exclude", ()))
    all_excluded = all(excluded.issuperset(group) for group in finding.evidence.get("files", ()))
    add_files(table, finding, "files", "--json, --write-exclusions FILE" if excluded and all_excluded else "--json")
    return Group(head, Padding(table, (0, 0, 1, 2)))
