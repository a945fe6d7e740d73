"""`retop train`."""

from typing import Annotated

import typer

from retop.cli.options import (
    BaselineOption,
    CacheLimitOption,
    CacheOption,
    DataArgument,
    Device,
    DeviceOption,
    EpochsOption,
    JsonOption,
    OutOption,
    PrecisionOption,
    RecipeOption,
    SeedsOption,
    SetOption,
    ThawOption,
    ViewsOption,
    WeightsOption,
)
from retop.cli.running import TrainingOptions, run_comparison

BackboneOption = Annotated[
    str,
    typer.Option(
        "--backbone", "-b", metavar="A", help="Network: vgg16, resnet50, inception_v3, xception, any timm name."
    ),
]


def train(
    data: DataArgument,
    backbone: BackboneOption = "resnet50",
    weights: WeightsOption = None,
    recipe: RecipeOption = "default",
    set_: SetOption = None,
    epochs: EpochsOption = None,
    thaw: ThawOption = None,
    views: ViewsOption = None,
    seeds: SeedsOption = "1",
    baseline: BaselineOption = None,
    out: OutOption = None,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = None,
    cache: CacheOption = "on",
    cache_limit: CacheLimitOption = None,
    json: JsonOption = False,
) -> None:
    """Fine-tune one network."""
    run_comparison(
        TrainingOptions(
            data, [backbone], weights, recipe, set_, epochs, thaw, views, seeds, baseline, device, precision, cache,
            cache_limit,
        ),
        out,
        json,
    )  # fmt: skip
