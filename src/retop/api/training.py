"""`train` and `pretrain`: `compare` with one contender."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from retop.api.comparing import Comparison, compare
from retop.api.notices import warn
from retop.comparison.request import Baseline
from retop.device import DeviceName, PrecisionName
from retop.events import Listener
from retop.recipe import Recipe
from retop.records import PlanRecord
from retop.training.tracking import TrackerName


def train(
    data: str | Path,
    backbone: str,
    *,
    weights: str | Path | None = None,
    recipe: str | Path | Recipe = "default",
    settings: Mapping[str, Any] | None = None,
    epochs: tuple[int, int] | None = None,
    thaw: str | int | None = None,
    views: int | None = None,
    precision: PrecisionName | None = None,
    seeds: int | Sequence[int] = 1,
    baselines: Sequence[Baseline] = (),
    out: str | Path | None = None,
    device: DeviceName = "auto",
    cache: bool | str | Path = True,
    cache_limit_bytes: int | None = None,
    log: Sequence[TrackerName] = (),
    listener: Listener = warn,
    on_plan: Callable[[PlanRecord, Path], None] | None = None,
) -> Comparison:
    """Fine-tune one backbone: `compare` with one contender, baselines aside.

    Args:
        data: as in `compare`, like all the others.
        backbone: name of the network.
        weights: see `compare`.
        recipe: see `compare`.
        settings: see `compare`.
        epochs: see `compare`.
        thaw: see `compare`.
        views: see `compare`.
        precision: see `compare`.
        seeds: see `compare`.
        baselines: see `compare`.
        out: see `compare`.
        device: see `compare`.
        cache: see `compare`.
        cache_limit_bytes: see `compare`.
        log: see `compare`.
        listener: see `compare`.
        on_plan: see `compare`.

    Returns:
        A comparison with one contender, baselines aside.

    Raises:
        RetopError: as `compare`.
    """
    return compare(
        data,
        [backbone],
        weights=weights,
        recipe=recipe,
        settings=settings,
        epochs=epochs,
        thaw=thaw,
        views=views,
        precision=precision,
        seeds=seeds,
        baselines=baselines,
        out=out,
        device=device,
        cache=cache,
        cache_limit_bytes=cache_limit_bytes,
        log=log,
        listener=listener,
        on_plan=on_plan,
    )


def pretrain(
    data: str | Path,
    backbone: str,
    *,
    recipe: str | Path | Recipe = "pretrain",
    settings: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] = 1,
    out: str | Path | None = None,
    device: DeviceName = "auto",
    cache: bool | str | Path = True,
    cache_limit_bytes: int | None = None,
    log: Sequence[TrackerName] = (),
    listener: Listener = warn,
    on_plan: Callable[[PlanRecord, Path], None] | None = None,
) -> Comparison:
    """Train one backbone from random weights: `train` with the recipe ``pretrain``.

    Args:
        data: as in `compare`, like all the others.
        backbone: name of the network.
        recipe: see `compare`.
        settings: see `compare`.
        seeds: see `compare`.
        out: see `compare`.
        device: see `compare`.
        cache: see `compare`.
        cache_limit_bytes: see `compare`.
        log: see `compare`.
        listener: see `compare`.
        on_plan: see `compare`.

    Returns:
        A comparison with one contender; its ``recommended`` is a folder that ``weights`` takes.

    Raises:
        RetopError: as `compare`.
    """
    return train(
        data,
        backbone,
        weights="random",
        recipe=recipe,
        settings=settings,
        seeds=seeds,
        out=out,
        device=device,
        cache=cache,
        cache_limit_bytes=cache_limit_bytes,
        log=log,
        listener=listener,
        on_plan=on_plan,
    )
