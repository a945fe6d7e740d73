"""The options that compare, train and plan share."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from inspect import Parameter
from typing import Any, Concatenate, ParamSpec, get_type_hints

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
    PrecisionOption,
    RecipeOption,
    SeedsOption,
    SetOption,
    SplitFileOption,
    SplitOption,
    ThawOption,
    ViewsOption,
    WeightsOption,
)
from retop.cli.reading import (
    limit_bytes,
    read_cache,
    read_data_settings,
    read_epochs,
    read_names,
    read_seeds,
    read_settings,
)

P = ParamSpec("P")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What is compared on which images and how, as it was typed: each field is an option."""

    data: DataArgument
    weights: WeightsOption = None
    split: SplitOption = None
    folds: FoldsOption = None
    split_file: SplitFileOption = None
    group: GroupOption = None
    group_pattern: GroupPatternOption = None
    exclude: ExcludeOption = None
    columns: ColumnsOption = None
    class_weights: ClassWeightsOption = None
    recipe: RecipeOption = "default"
    set_: SetOption = None
    epochs: EpochsOption = None
    thaw: ThawOption = None
    views: ViewsOption = None
    seeds: SeedsOption = None
    baseline: BaselineOption = None
    device: DeviceOption = Device.AUTO
    precision: PrecisionOption = None
    cache: CacheOption = "on"
    cache_limit: CacheLimitOption = None

    def arguments(self) -> dict[str, Any]:
        """The same as arguments of the API, the backbones aside.

        Raises:
            UsageError: an option cannot be read.
        """
        return {
            "data": self.data,
            "weights": self.weights,
            "recipe": self.recipe,
            "settings": self._settings(),
            "epochs": read_epochs(self.epochs),
            "thaw": self.thaw,
            "views": self.views,
            "precision": self.precision and self.precision.value,
            "seeds": read_seeds(self.seeds),
            "baselines": read_names(self.baseline),
            "device": self.device.value,
            "cache": read_cache(self.cache),
            "cache_limit_bytes": limit_bytes(self.cache_limit),
        }

    def _settings(self) -> dict[str, str]:
        about_data = read_data_settings(
            self.split,
            self.folds,
            self.split_file,
            self.group,
            self.group_pattern,
            self.exclude,
            self.columns,
            self.class_weights,
        )
        return about_data | read_settings(self.set_)


def takes_training_options(command: Callable[Concatenate[TrainingOptions, P], None]) -> Callable[..., None]:
    """Give a command the fields of `TrainingOptions` as options, in place of its first parameter.

    Typer reads the options of a command from its signature; this one is put together.

    Args:
        command: its first parameter receives the options.

    Returns:
        The command with the signature that Typer reads.
    """
    _, first, *others = inspect.signature(command).parameters.values()
    names = {field.name for field in fields(TrainingOptions)}

    @functools.wraps(command)
    def call(**values: Any) -> None:
        options = TrainingOptions(**{name: values.pop(name) for name in names})
        command(options, **values)  # type: ignore[call-arg]

    parameters = [_by_name(each) for each in (first, *_shared_parameters(), *others)]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {}
    return call


def _shared_parameters() -> list[Parameter]:
    hints = get_type_hints(TrainingOptions, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(TrainingOptions)
    ]


def _by_name(parameter: Parameter) -> Parameter:
    return parameter.replace(kind=Parameter.KEYWORD_ONLY)
