"""`retop train`."""

from typing import Annotated

import typer

from retop.cli.options import JsonOption, LogOption, OutOption
from retop.cli.reading import read_names
from retop.cli.running import run_comparison
from retop.cli.training_options import TrainingOptions, takes_training_options
from retop.errors import UsageError

BackboneOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        "-b",
        metavar="A",
        help="Network: vgg16, resnet50, inception_v3, xception, any timm name.",
        show_default="resnet50",
    ),
]


@takes_training_options
def train(
    options: TrainingOptions,
    backbone: BackboneOption = None,
    log: LogOption = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Fine-tune one network."""
    names = read_names(backbone or ["resnet50"])
    if len(names) != 1:
        raise UsageError(f"--backbone takes one network; received {','.join(names)!r}. Use retop compare for several")
    run_comparison(options, names, out, json, log)
