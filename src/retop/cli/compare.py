"""`retop compare`."""

from retop.cli.options import (
    FOUR,
    BackbonesOption,
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


def compare(
    data: DataArgument,
    backbones: BackbonesOption = None,
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
    """Fine-tune several networks on the same images and rank them."""
    run_comparison(
        TrainingOptions(
            data, read_names(backbones or [FOUR]), weights, recipe, set_, epochs, thaw, views, seeds, baseline, device,
            precision, cache, cache_limit,
            read_data_settings(
                split, folds, split_file, group, group_pattern, exclude, columns, class_weights
            ),
        ),
        out,
        json,
    )  # fmt: skip
