"""`retop pretrain`."""

import shlex
from typing import Annotated

import typer

from retop.cli.options import (
    CacheLimitOption,
    CacheOption,
    ClassWeightsOption,
    ColumnsOption,
    DataArgument,
    Device,
    DeviceOption,
    ExcludeOption,
    GroupOption,
    GroupPatternOption,
    JsonOption,
    LogOption,
    OutOption,
    PrecisionOption,
    RecipeOption,
    SeedsOption,
    SetOption,
    SplitFileOption,
    SplitOption,
)
from retop.cli.running import run_comparison
from retop.cli.training_options import TrainingOptions


def pretrain(
    data: DataArgument,
    backbone: Annotated[str, typer.Option("--backbone", "-b", metavar="A", help="Network: any name that train takes.")],
    split: SplitOption = None,
    split_file: SplitFileOption = None,
    group: GroupOption = None,
    group_pattern: GroupPatternOption = None,
    exclude: ExcludeOption = None,
    columns: ColumnsOption = None,
    class_weights: ClassWeightsOption = None,
    recipe: RecipeOption = "pretrain",
    set_: SetOption = None,
    seeds: SeedsOption = None,
    log: LogOption = None,
    out: OutOption = None,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = None,
    cache: CacheOption = "on",
    cache_limit: CacheLimitOption = None,
    json: JsonOption = False,
) -> None:
    """Train one network from random weights, to fine-tune it later."""
    options = TrainingOptions(
        data=data,
        weights="random",
        split=split,
        split_file=split_file,
        group=group,
        group_pattern=group_pattern,
        exclude=exclude,
        columns=columns,
        class_weights=class_weights,
        recipe=recipe,
        set_=set_,
        seeds=seeds,
        device=device,
        precision=precision,
        cache=cache,
        cache_limit=cache_limit,
    )
    comparison = run_comparison(options, [backbone], out, json, log)
    if not json:
        weights = shlex.quote(str(comparison.recommended))
        typer.echo(f"Fine-tune it: retop train PHOTOS --backbone {backbone} --weights {weights}")
