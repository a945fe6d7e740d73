"""From the arguments of the public functions to what the parts below take."""

import datetime
import json
import math
import operator
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from retop.activations import ActivationStore
from retop.comparison import ComparisonRequest
from retop.comparison.request import Baseline
from retop.device import DeviceName, PrecisionName
from retop.errors import RetopError, UsageError
from retop.events import Listener
from retop.pipeline import Setting, is_held
from retop.recipe import Recipe, apply_settings, load_recipe
from retop.records import ComparisonRecord, PlanRecord, read_record
from retop.records.finished import COMPARISON, PLAN, REPORT
from retop.schema import to_plain
from retop.training import choose_runtime

RUNS = Path("runs")
NOT_REPEATED = ("out", "listener", "on_plan", "epochs", "thaw", "views", "precision")
"""Arguments of `compare` that a plan does not keep: those of one call alone, and those that its recipe has."""


def settings_as_yaml(settings: Mapping[str, Any] | None) -> dict[str, str]:
    """Changes of a recipe as `apply_settings` takes them.

    Raises:
        UsageError: a value is none that a recipe can hold.
    """
    return {key: _as_yaml(key, value) for key, value in (settings or {}).items()}


def with_short_forms(
    settings: Mapping[str, Any] | None,
    epochs: tuple[int, int] | None,
    thaw: str | int | None,
    views: int | None,
    precision: PrecisionName | None,
) -> dict[str, Any]:
    """Settings together with those that have an argument of their own; what `settings` says wins.

    Raises:
        UsageError: epochs are not two numbers.
    """
    short = {"thaw": thaw, "views.count": views, "precision": precision}
    if epochs is not None:
        try:
            head, late = map(operator.index, epochs)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"epochs takes two numbers, of the head and of the late layers: (10, 10) (--epochs 10,10); received "
                f"{epochs!r}"
            ) from error
        short |= {"stage1.epochs": head, "stage2.epochs": late}
    return {key: value for key, value in short.items() if value is not None} | dict(settings or {})


def build_request(
    backbones: Sequence[str],
    weights: str | Path | None,
    recipe: str | Path | Recipe,
    settings: Mapping[str, Any] | None,
    seeds: int | Sequence[int],
    baselines: Sequence[Baseline],
) -> ComparisonRequest:
    """The request that the arguments of `compare` make.

    Raises:
        UsageError: they contradict each other or do not exist.
    """
    if isinstance(backbones, str):
        raise UsageError(f"backbones must be a list of names; received the text {backbones!r}")
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    shared, overrides = {}, []
    for key, value in (settings or {}).items():
        backbone = _backbone_of(key, backbones)
        if backbone is None:
            shared[key] = _as_yaml(key, value)
        else:
            overrides.append((backbone, key.removeprefix(f"{backbone}."), _as_yaml(key, value)))
    return ComparisonRequest(
        backbones=tuple(backbones),
        weights=None if weights is None else str(weights),
        recipe=_anywhere(apply_settings(chosen, shared)),
        overrides=tuple(overrides),
        seeds=_read_seeds(seeds),
        baselines=tuple(baselines),
    )


def _anywhere(recipe: Recipe) -> Recipe:
    """A recipe that means the same whatever the working folder."""
    data = replace(recipe.data, exclude=_absolute(recipe.data.exclude), split_file=_absolute(recipe.data.split_file))
    return replace(recipe, data=data)


def _absolute(file: str | None) -> str | None:
    return file and str(Path(file).absolute())


def _backbone_of(key: str, backbones: Sequence[str]) -> str | None:
    """The backbone that a setting is for; None where it is for all."""
    # A name may begin with another one: resnet50.tv_in1k and resnet50.
    for name in sorted((*backbones, "scratch"), key=len, reverse=True):
        if key.startswith(f"{name}."):
            return name
    first, dot, _ = key.partition(".")
    return first if dot and first not in {field.name for field in fields(Recipe)} else None


def _as_yaml(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Path):
        return json.dumps(str(value), ensure_ascii=False)
    try:
        # Scalars and arrays of NumPy know themselves as Python values.
        return json.dumps(value, default=lambda other: other.tolist())
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(
            f"settings[{key!r}] must be text, a path, a number, a list, a mapping or None; received "
            f"{type(value).__name__}"
        ) from error


def _read_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    try:
        # Whole numbers of any library, but no text and no fractions.
        if isinstance(seeds, Iterable):
            return tuple(map(operator.index, seeds))
        if (number := operator.index(seeds)) > 0:
            return tuple(range(number))
        raise UsageError(
            f"seeds is how many, at least 1; received {number}. A list says which, one with a comma behind it: "
            f"--seeds 0,3,7 or --seeds 5, (seeds=[5])"
        )
    except TypeError as error:
        raise UsageError(
            f"seeds must be a whole number (how many) or a list of them (which) (--seeds); received {seeds!r}"
        ) from error


def build_setting(
    recipe: Recipe, device: DeviceName, cache: bool | str | Path, cache_limit_bytes: int | None, listener: Listener
) -> Setting:
    """Device, store and listener of a comparison.

    Raises:
        UsageError: the device is not there, or the store has no name or no size.
    """
    if not str(cache).strip():
        raise UsageError("cache is empty; it takes True, False or a folder (--cache on|off|DIR)")
    if cache_limit_bytes is not None and not 0 < cache_limit_bytes < math.inf:
        raise UsageError(f"cache_limit_bytes must be above 0 (--cache-limit); received {cache_limit_bytes}")
    folder = None if cache in (True, "on") else Path(str(cache))
    store = None if cache in (False, "off") else ActivationStore(folder, cache_limit_bytes)
    return Setting(choose_runtime(device, recipe.precision), store, _command(), listener)


def default_folder(data: str | Path) -> Path:
    """``runs/<name of the data>-<time>``."""
    return RUNS / f"{_name(data)}-{datetime.datetime.now().astimezone():%Y%m%d-%H%M%S}"


def interrupted_folder(data: str | Path, arguments: dict[str, Any]) -> Path | None:
    """The newest folder of `default_folder` in which the same call was interrupted and nobody is at work.

    Args:
        data: of the call.
        arguments: from `repeatable_arguments`.
    """
    said = json.loads(json.dumps(arguments))
    for folder in sorted(RUNS.glob(f"{_name(data)}-{'[0-9]' * 8}-{'[0-9]' * 6}"), reverse=True):
        with suppress(RetopError):
            if (
                not _is_over(folder)
                and read_record(PlanRecord, folder / PLAN).arguments == said
                and not is_held(folder)
            ):
                return folder
    return None


def _is_over(folder: Path) -> bool:
    """Whether nothing is left to do: no run failed, and the report is written, which comes last."""
    if not (folder / COMPARISON).is_file() or not (folder / REPORT).is_file():
        return False
    return not read_record(ComparisonRecord, folder / COMPARISON).failed


def _name(data: str | Path) -> str:
    return re.sub(r"[^\w.-]+", "-", Path(str(data)).resolve().name) or "data"


def repeatable_arguments(arguments: dict[str, Any], request: ComparisonRequest) -> dict[str, Any]:
    """Arguments of `compare` as JSON can hold them, with which it can be called again from anywhere."""
    kept = {name: value for name, value in arguments.items() if name not in NOT_REPEATED}
    kept |= {"backbones": request.backbones, "seeds": request.seeds, "baselines": request.baselines}
    kept["recipe"] = request.recipe
    kept["settings"] = {f"{backbone}.{key}": value for backbone, key, value in request.overrides}
    for name, value in kept.items():
        # The working folder may be another one later; a word such as "random" is none of its files.
        known = name == "data" or (name == "weights" and value != "random")
        place = known and value is not None and Path(str(value)).exists()
        if place or isinstance(value, Path) or (name == "cache" and value not in (True, False, "on", "off")):
            kept[name] = str(Path(value).absolute())
    return {name: to_plain(value) for name, value in kept.items()}


def _command() -> str:
    """What was typed, as a shell takes it again."""
    script = Path(sys.argv[0])
    # Of "python -m PACKAGE" only the file is known.
    begin = ["python", "-m", script.parent.name] if script.name == "__main__.py" else [script.name]
    return shlex.join([*begin, *sys.argv[1:]])
