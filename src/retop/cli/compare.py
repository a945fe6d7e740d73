"""`retop compare`."""

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
    OutOption,
    PrecisionOption,
    RecipeOption,
    SeedsOption,
    SetOption,
    ThawOption,
    ViewsOption,
    WeightsOption,
    read_names,
)
from retop.cli.running import TrainingOptions, run_comparison


def compare(
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
    out: OutOption = None,
    device: DeviceOption = Device.AUTO,
    precision: PrecisionOption = None,
    cache: CacheOption = "on",
    cache_limit: CacheLimitOption = None,
    json: JsonOption = False,
) -> None:
    """Fine-tune several networks on the same images and rank them."""
    run_comparison(
        TrainingOptions(
            data, read_names(backbones or [FOUR]), weights, recipe, set_, epochs, thaw, views, seeds, baseline, device,
            precision, cache, cache_limit,
        ),
        out,
        json,
    )  # fmt: skip
