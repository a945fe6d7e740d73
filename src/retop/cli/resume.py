"""`retop resume`."""

from pathlib import Path
from typing import Annotated

import typer

from retop.cli.options import JsonOption
from retop.cli.running import resume_comparison

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of an interrupted comparison, as --out named it.")
]


def resume(run: RunArgument, json: JsonOption = False) -> None:
    """Go on with an interrupted comparison, with the options that began it."""
    resume_comparison(run, json)
