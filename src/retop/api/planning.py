"""`plan`: what `compare` would do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from retop.api.arguments import build_request, build_setting, with_short_forms
from retop.api.notices import warn
from retop.comparison import make_plan
from retop.comparison.request import Baseline
from retop.data import open_dataset
from retop.data.audit import audit_dataset, say_findings
from retop.device import DeviceName, PrecisionName
from retop.errors import UnreadableImageError
from retop.events import Listener
from retop.recipe import Recipe
from retop.records import PlanRecord


def plan(
    data: str | Path,
    backbones: Sequence[str],
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
    device: DeviceName = "auto",
    cache: bool | str | Path = True,
    cache_limit_bytes: int | None = None,
    listener: Listener = warn,
) -> PlanRecord:
    """Say what `compare` with the same arguments would compute, how often, for how long, with how much disk.

    Images are read, but only those that are timed are decoded: `compare` decodes each once before it begins, and leaves
    out those that are damaged behind a sound header.

    Args:
        data: as in `compare`, like all the others.
        backbones: see `compare`.
        weights: see `compare`.
        recipe: see `compare`.
        settings: see `compare`.
        epochs: see `compare`.
        thaw: see `compare`.
        views: see `compare`.
        precision: see `compare`.
        seeds: see `compare`.
        baselines: see `compare`.
        device: see `compare`.
        cache: see `compare`.
        cache_limit_bytes: see `compare`.
        listener: receives progress and notices; without one, warnings come as Python warnings.

    Returns:
        The plan.

    Raises:
        RetopError: as `compare`.
    """
    settings = with_short_forms(settings, epochs, thaw, views, precision)
    request = build_request(backbones, weights, recipe, settings, seeds, baselines)
    setting = build_setting(request.recipe, device, cache, cache_limit_bytes, listener)
    dataset = open_dataset(data, request.recipe.data, listener, decode=False)
    say_findings(audit_dataset(dataset), listener, request.recipe.imbalance)
    request = replace(request, folds=len(dataset.folds) or None)
    try:
        return make_plan(request, dataset, setting)
    except UnreadableImageError:
        # Damage behind a sound header, in an image that was timed.
        return make_plan(request, open_dataset(data, request.recipe.data, listener), setting)
