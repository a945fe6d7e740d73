"""What a comparison is asked to do, and the runs that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Literal

from retop.errors import UsageError
from retop.pipeline import RunRequest, probe_request, scratch_request
from retop.recipe import MAPPINGS, Recipe, apply_settings
from retop.schema import to_plain

Baseline = Literal["scratch", "probe"]
BASELINES: tuple[Baseline, ...] = ("scratch", "probe")
SHARED = ("data", "precision")


@dataclass(frozen=True)
class ComparisonRequest:
    """Backbones, seeds and baselines under one recipe.

    Attributes:
        backbones: names of the networks, each once.
        weights: as ``--weights``; None for the hub.
        recipe: for all of them.
        overrides: changes for single backbones: (backbone, key, value), as ``--set BACKBONE.key=value``.
        seeds: of every backbone.
        baselines: rows to add.
        folds: number of folds of the data; None for one split.
    """

    backbones: tuple[str, ...]
    weights: str | None
    recipe: Recipe
    overrides: tuple[tuple[str, str, str], ...] = ()
    seeds: tuple[int, ...] = (0,)
    baselines: tuple[Baseline, ...] = ()
    folds: int | None = None

    def __post_init__(self) -> None:
        if not self.backbones or len(set(self.backbones)) < len(self.backbones):
            raise UsageError(
                f"give each backbone once, separated by commas (--backbones vgg16,resnet50); received "
                f"{','.join(self.backbones)!r}"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UsageError(f"seeds must be different whole numbers from 0 up (--seeds); received {self.seeds}")
        for baseline in self.baselines:
            if baseline not in BASELINES:
                raise UsageError(f"no baseline {baseline!r} (--baseline); there are {', '.join(BASELINES)}")
        if "scratch" in self.backbones and "scratch" in self.baselines:
            raise UsageError("scratch is given as a backbone and as a baseline (--baseline); leave one of them out")
        for backbone, key, value in self.overrides:
            self._check_override(backbone, key, value)

    def runs(self) -> tuple[RunRequest, ...]:
        """All runs in the order in which they are made; a probe follows its backbone and finds its store filled."""
        requests = []
        folds: Sequence[int | None] = (None,) if self.folds is None else range(self.folds)
        for backbone, fold in product(self.backbones, folds):
            recipe = self._recipe_of(backbone, self.recipe)
            of_fold = [RunRequest(backbone, self.weights, recipe, seed, fold=fold) for seed in self.seeds]
            requests += of_fold
            if "probe" in self.baselines:
                requests.append(probe_request(of_fold[0]))
        if "scratch" in self.baselines:
            for fold, seed in product(folds, self.seeds):
                request = scratch_request(self.recipe, seed)
                recipe = self._recipe_of("scratch", request.recipe)
                requests.append(replace(request, recipe=recipe, fold=fold))
        return tuple(requests)

    def untaken(self) -> tuple[str, ...]:
        """What was set for all and the baseline scratch does not take, as ``key=value (scratch keeps value)``."""
        if "scratch" not in self.baselines:
            return ()
        default, asked = _flat(to_plain(Recipe())), _flat(to_plain(self.recipe))
        kept = _flat(to_plain(self._recipe_of("scratch", scratch_request(self.recipe, self.seeds[0]).recipe)))
        chosen = {"name", *(key for name, key, _ in self.overrides if name == "scratch")}
        return tuple(
            f"{key}={value} (scratch keeps {kept[key]})"
            for key, value in asked.items()
            if key not in chosen and value != default.get(key) and value != kept.get(key)
        )

    def _check_override(self, backbone: str, key: str, value: str) -> None:
        if backbone == "scratch" and "scratch" not in (*self.backbones, *self.baselines):
            raise UsageError(
                f"--set scratch.{key}={value}: scratch is not compared; add --baseline scratch (baselines=['scratch']) "
                f"or leave the setting out"
            )
        if backbone != "scratch" and backbone not in self.backbones:
            raise UsageError(
                f"--set {backbone}.{key}={value}: {backbone!r} is none of the backbones {', '.join(self.backbones)} "
                f"and no part of a recipe: {', '.join(field.name for field in fields(Recipe))}"
            )
        if key.partition(".")[0] in SHARED:
            raise UsageError(
                f"--set {backbone}.{key}={value}: all runs of a comparison share images and arithmetic; "
                f"set it for all with --set {key}={value} (settings={{{key!r}: ...}})"
            )

    def _recipe_of(self, backbone: str, recipe: Recipe) -> Recipe:
        return apply_settings(recipe, {key: value for name, key, value in self.overrides if name == backbone}, backbone)


def _flat(document: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Values of a recipe by their keys as ``--set`` takes them."""
    values: dict[str, Any] = {}
    for key, value in document.items():
        path = f"{above}{key}"
        values |= _flat(value, f"{path}.") if isinstance(value, dict) and path not in MAPPINGS else {path: value}
    return values
