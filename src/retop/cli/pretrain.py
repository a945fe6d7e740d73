"""`retop pretrain`."""

import shlex
from typing import Annotated

import typer

from retop.cli.options import (
    CacheLimitOption,
    CacheOption,
    DataArgument,
    Device,
    DeviceOption,
    JsonOption,
    OutOption,
    PrecisionOption,
    RecipeOption,
    SeedsOption,
    SetOption,
)
from retop.cli.running import TrainingOptions, run_comparison


def pretrain(
    data: DataArgument,
    backbone: Annotated[str, typer.Option("--backbone", "-b", metavar="A", help="Network: any name that train takes.")],
    recipe: RecipeOption = "pretrain",
    set_: SetOption = None,
    seeds: SeedsOption = None,
    out: OutOption = None,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = None,
    cache: CacheOption = "on",
    cache_limit: CacheLimitOption = None,
    json: JsonOption = False,
) -> None:
    """Train one network from random weights, to fine-tune it later."""
    comparison = run_comparison(
        TrainingOptions(
            data, [backbone], "random", recipe, set_, None, None, None, seeds, None, device, precision, cache,
            cache_limit,
        ),
        out,
        json,
    )  # fmt: skip
    if not json:
        weights = shlex.quote(str(comparison.recommended))
        typer.echo(f"Fine-tune it: retop train PHOTOS --backbone {backbone} --weights {weights}")
