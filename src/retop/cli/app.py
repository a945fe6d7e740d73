"""The command `retop` and what its exit codes mean."""

import os
import sys
import warnings
from io import TextIOWrapper
from typing import Any

import typer
from typer.core import TyperGroup

from retop.cli.backbones import backbones
from retop.cli.cache import cache
from retop.cli.check import check
from retop.cli.compare import compare
from retop.cli.demo import demo
from retop.cli.diagnose import diagnose, import_history
from retop.cli.evaluate import evaluate
from retop.cli.export import export
from retop.cli.plan import plan
from retop.cli.predict import predict
from retop.cli.pretrain import pretrain
from retop.cli.push import push
from retop.cli.report import report
from retop.cli.resume import resume
from retop.cli.serve import serve
from retop.cli.train import train
from retop.errors import OutputError, RetopError
from retop.memory import keep_memory
from retop.stopping import INTERRUPTED, last_words, leave_on_second_signal
from retop.terminal import printable
from retop.version import __version__

EPILOG = (
    "Exit codes: 0 done; 1 a defect of retop; 2 wrong options or recipe; 3 images or labels; 4 networks or weights; "
    "5 activation store; 6 model folder; 7 a run failed; 8 export; 9 server; 130 interrupted."
)


class _Commands(TyperGroup):
    """The list of commands, drawn without Rich: loading it would take a third of the time of `retop --help`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"rich_markup_mode": None})

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with its whole sentence."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=300)) for name, one in self.commands.items()])


app = typer.Typer(
    name="retop",
    cls=_Commands,
    help="Fine-tune pretrained image networks on a folder of labelled images, and compare them honestly.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"retop {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Fine-tune pretrained image networks on a folder of labelled images, and compare them honestly."""


for command in (
    demo,
    compare,
    train,
    resume,
    plan,
    predict,
    evaluate,
    export,
    serve,
    push,
    report,
    diagnose,
    import_history,
    pretrain,
    backbones,
    check,
    cache,
):
    app.command()(command)


def main() -> None:
    """Run the command line and exit with a code that means something."""
    keep_memory()
    _write_all_names()
    leave_on_second_signal("retop: left at once")
    # Pillow warns of odd metadata; what cannot be read is reported by name.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except RetopError as error:
        # Lines of our own; what stands in them may be a stranger's.
        with last_words():
            typer.echo("\n".join(map(printable, f"retop: {error}".split("\n"))), err=True)
        sys.exit(error.exit_code)
    except OSError:
        _leave_if_output_is_full()
        raise
    except SystemExit as ending:
        # Typer turns Ctrl-C into this exit and says nothing.
        if ending.code == INTERRUPTED:
            typer.echo("retop: interrupted", err=True)
        raise


def _write_all_names() -> None:
    """Let a terminal that lacks a name's letters get them as numbers: they are no reason to end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _leave_if_output_is_full() -> None:
    """End with a message where standard output takes no line more."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError as error:
        # Python would try once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        typer.echo(f"retop: standard output cannot be written: {error.strerror}; send it somewhere else", err=True)
        sys.exit(OutputError.exit_code)
