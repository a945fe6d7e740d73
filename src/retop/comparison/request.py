"""What a comparison is asked to do, and the runs that follow from it."""

from dataclasses import dataclass
from typing import Literal

from retop.errors import UsageError
from retop.pipeline import RunRequest, probe_request, scratch_request
from retop.recipe import Recipe, apply_setting

Baseline = Literal["scratch", "probe"]
BASELINES: tuple[Baseline, ...] = ("scratch", "probe")


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
    """

    backbones: tuple[str, ...]
    weights: str | None
    recipe: Recipe
    overrides: tuple[tuple[str, str, str], ...] = ()
    seeds: tuple[int, ...] = (0,)
    baselines: tuple[Baseline, ...] = ()

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
        for backbone, key, _ in self.overrides:
            if backbone not in self.backbones and backbone != "scratch":
                raise UsageError(
                    f"--set {backbone}.{key}: {backbone!r} is none of the backbones {', '.join(self.backbones)}"
                )

    def runs(self) -> tuple[RunRequest, ...]:
        """All runs in the order in which they are made; a probe follows its backbone and finds its store filled."""
        requests = []
        for backbone in self.backbones:
            for seed in self.seeds:
                requests.append(RunRequest(backbone, self.weights, self._recipe_of(backbone, self.recipe), seed))
            if "probe" in self.baselines:
                requests.append(probe_request(requests[-len(self.seeds)]))
        if "scratch" in self.baselines:
            for seed in self.seeds:
                request = scratch_request(self.recipe, seed)
                recipe = self._recipe_of("scratch", request.recipe)
                requests.append(RunRequest(request.backbone, request.weights, recipe, seed, "scratch"))
        return tuple(requests)

    def _recipe_of(self, backbone: str, recipe: Recipe) -> Recipe:
        for name, key, value in self.overrides:
            if name == backbone:
                recipe = apply_setting(recipe, key, value)
        return recipe
