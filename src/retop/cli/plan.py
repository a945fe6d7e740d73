"""`retop plan`."""

from retop.cli.options import (
    BackbonesOption,
    BaselineOption,
    CacheLimitOption,
    CacheOption,
    DataArgument,
    Device,
    DeviceOption,
    EpochsOption,
    JsonOption,
    PrecisionOption,
    RecipeOption,
    SeedsOption,
    SetOption,
    ThawOption,
    ViewsOption,
    WeightsOption,
    read_names,
)
from retop.cli.running import TrainingOptions, print_plan


def plan(
    data: DataArgument,
    backbones: BackbonesOption = "vgg16,resnet50,inception_v3,xception",
    weights: WeightsOption = None,
    recipe: RecipeOption = "default",
    set_: SetOption = None,
    epochs: EpochsOption = None,
    thaw: ThawOption = None,
    views: ViewsOption = None,
    seeds: SeedsOption = "1",
    baseline: BaselineOption = None,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = None,
    cache: CacheOption = "on",
    cache_limit: CacheLimitOption = None,
    json: JsonOption = False,
) -> None:
    """Say what compare would compute, how often and for how long, and train nothing."""
    print_plan(
        TrainingOptions(
            data, read_names(backbones), weights, recipe, set_, epochs, thaw, views, seeds, baseline, device, precision,
            cache, cache_limit,
        ),
        json,
    )  # fmt: skip
