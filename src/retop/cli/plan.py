"""`retop plan`."""

from retop.cli.options import (
    FOUR,
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
    backbones: BackbonesOption = None,
    weights: WeightsOption = None,
    recipe: RecipeOption = "default",
    set_: SetOption = None,
    epochs: EpochsOption = None,
    thaw: ThawOption = None,
    views: ViewsOption = None,
    seeds: SeedsOption = None,
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
            data, read_names(backbones or [FOUR]), weights, recipe, set_, epochs, thaw, views, seeds, baseline, device,
            precision, cache, cache_limit,
        ),
        json,
    )  # fmt: skip
