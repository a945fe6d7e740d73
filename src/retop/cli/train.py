"""`retop train`."""

from typing import Annotated

import typer

from retop.cli.options import (
    BaselineOption,
    CacheLimitOption,
    CacheOption,
    ClassWeightsOption,
    ColumnsOption,
    DataArgument,
    Device,
    DeviceOption,
    EpochsOption,
    ExcludeOption,
    FoldsOption,
    GroupOption,
    GroupPatternOption,
    JsonOption,
    OutOption,
    PrecisionOption,
    RecipeOption,
    SeedsOption,
    SetOption,
    SplitFileOption,
    SplitOption,
    ThawOption,
    ViewsOption,
    WeightsOption,
    read_data_settings,
    read_names,
)
from retop.cli.running import TrainingOptions, run_comparison
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


def train(
    data: DataArgument,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    split: SplitOption = None,
    folds: FoldsOption = None,
    split_file: SplitFileOption = None,
    group: GroupOption = None,
    group_pattern: GroupPatternOption = None,
    exclude: ExcludeOption = None,
    columns: ColumnsOption = None,
    class_weights: ClassWeightsOption = None,
    recipe: RecipeOption = "default",
    set_: SetOption = None,
    epochs: EpochsOption = None,
    thaw: ThawOption = None,
    views: ViewsOption = None,
    seeds: SeedsOption = None,
    baseline: BaselineOption = None,
    out: OutOption = None,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = None,
    cache: CacheOption = "on",
    cache_limit: CacheLimitOption = None,
    json: JsonOption = False,
) -> None:
    """Fine-tune one network."""
    names = read_names(backbone or ["resnet50"])
    if len(names) != 1:
        raise UsageError(f"--backbone takes one network; received {','.join(names)!r}. Use retop compare for several")
    run_comparison(
        TrainingOptions(
            data, names, weights, recipe, set_, epochs, thaw, views, seeds, baseline, device, precision, cache,
            cache_limit,
            read_data_settings(
                split, folds, split_file, group, group_pattern, exclude, columns, class_weights
            ),
        ),
        out,
        json,
    )  # fmt: skip
