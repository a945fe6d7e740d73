"""What compare, train and plan share: from options to the API, and from records to the terminal."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from retop.cli.progress import ProgressDisplay
from retop.cli.reading import read_names
from retop.cli.training_options import TrainingOptions
from retop.errors import OutputError, RunError, StoppedError
from retop.schema import as_unicode, to_plain
from retop.stopping import ending_like_ctrl_c, leave_on_second_signal

if TYPE_CHECKING:
    from retop.api import Comparison
    from retop.records import PlanRecord

NOT_BEGUN = "before anything was trained; what was saved before is kept. The same command begins again"
# Of the recommended model, and of every other one.
MOST_MISSES, FEW_MISSES = 20, 5


def run_comparison(
    options: TrainingOptions, backbones: list[str], out: Path | None, as_json: bool, log: list[str] | None = None
) -> "Comparison":
    """Run a comparison and print its table, or its record as JSON.

    Returns:
        The comparison; all its runs finished.

    Raises:
        RunError: some runs failed; the others are printed first.
        StoppedError: somebody asked to stop; the message says how to go on.
    """
    arguments = options.arguments() | {"log": read_names(log)}

    def call(**told: Any) -> "Comparison":
        from retop import api

        return api.compare(backbones=backbones, **arguments, out=out, **told)

    return _run(call, as_json)


def resume_comparison(run: Path, as_json: bool) -> None:
    """Go on with a comparison and print its table, or its record as JSON.

    Raises:
        RunError: as `run_comparison`.
        StoppedError: as `run_comparison`.
    """

    def call(**told: Any) -> "Comparison":
        from retop import api

        return api.resume(run, **told)

    _run(call, as_json)


def _run(call: "Callable[..., Comparison]", as_json: bool) -> "Comparison":
    messages = Console(stderr=True)
    claimed: list[str] = []
    begun: list[Path] = []
    leave_on_second_signal(f"retop: left at once, {NOT_BEGUN}")

    def show(plan: "PlanRecord", folder: Path) -> None:
        from retop.comparison.compare import PLAN

        begun.append(folder / PLAN)
        claimed.append(f"'retop resume {shlex.quote(str(folder))}' goes on")
        leave_on_second_signal(f"retop: left at once; what was saved before is kept. {claimed[0]}")
        _show_plan(plan, messages)
        _say(messages, f"Results go to {folder}")

    try:
        with ending_like_ctrl_c(), ProgressDisplay(messages) as listener:
            comparison = call(listener=listener, on_plan=show)
    except KeyboardInterrupt:
        # While images are indexed and the plan is made there is nothing to save.
        if claimed:
            raise
        raise StoppedError(f"interrupted {NOT_BEGUN}") from None
    except StoppedError as error:
        raise StoppedError(f"{error}; everything is saved. {claimed[0]}") from error
    except OutputError as error:
        # A folder that is gone cannot be gone on with.
        goes_on = claimed and begun[0].is_file()
        raise OutputError(f"{error}. {claimed[0]}" if goes_on else str(error)) from error
    if as_json:
        typer.echo(as_unicode(json.dumps(to_plain(comparison.record), indent=1, ensure_ascii=False)))
    else:
        _show(comparison)
    if comparison.record.failed:
        names = ", ".join(run.name for run in comparison.record.failed)
        raise RunError(f"{len(comparison.record.failed)} of the runs failed: {names}; the reasons stand above")
    return comparison


def print_plan(options: TrainingOptions, backbones: list[str], as_json: bool) -> None:
    """Print the plan alone."""
    arguments = options.arguments()
    from retop import api

    with ProgressDisplay(Console(stderr=True)) as listener:
        plan = api.plan(backbones=backbones, **arguments, listener=listener)
    if as_json:
        typer.echo(as_unicode(json.dumps(to_plain(plan), indent=1, ensure_ascii=False)))
    else:
        _show_plan(plan, Console())


def _show_plan(plan: "PlanRecord", console: Console) -> None:
    from retop.cli.tables import plan_table

    console.print(plan_table(plan))


def _show(comparison: "Comparison") -> None:
    from retop.cli.tables import comparison_table, misses_table
    from retop.records.finished import REPORT
    from retop.report.figures import FIGURES_FOLDER

    console = Console()
    console.print(comparison_table(comparison.record))
    for row in comparison.record.rows:
        if row.kind == "fine-tuned" and row.metrics.missed:
            most = MOST_MISSES if row.name == comparison.record.recommended else FEW_MISSES
            console.print(misses_table(row.metrics, most, run=row.runs[0], folds=comparison.record.data.folds))
    folder = comparison.folder
    if (folder / REPORT).is_file():
        _say(console, f"Report: {folder / REPORT}")
    if (folder / FIGURES_FOLDER).is_dir():
        _say(console, f"Figures (curves, confusion matrices; each run has its own): {folder / FIGURES_FOLDER}")
    if comparison.record.recommended is not None:
        which = "recommended model" if comparison.record.data.folds is None else "recommended model of the first fold"
        _say(console, f"Use the {which}: retop predict {shlex.quote(str(comparison.recommended))} photo.jpg")


def _say(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no emoji, and not broken, so that commands can be copied."""
    console.print(Text(line), soft_wrap=True)
