"""What one run is asked to do."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from retop.activations import ActivationStore
from retop.events import Event, Listener, PartAdvanced, ignore
from retop.recipe import HeadRecipe, Recipe, StageRecipe, ViewsRecipe
from retop.stopping import Stop
from retop.training import Runtime
from retop.training.tracking import TrackerName

Kind = Literal["fine-tuned", "scratch", "probe"]


@dataclass(frozen=True)
class RunRequest:
    """One run: a backbone, a recipe and a seed.

    Attributes:
        backbone: name of the network.
        weights: as ``--weights``; None for the hub.
        recipe: what to do.
        seed: of everything random.
        kind: ``fine-tuned``, or one of the baselines.
        fold: which fold is tested; None without folds.
    """

    backbone: str
    weights: str | None
    recipe: Recipe
    seed: int
    kind: Kind = "fine-tuned"
    fold: int | None = None

    @property
    def contender(self) -> str:
        """Name under which runs that differ in seed and fold alone are compared."""
        return f"probe-{self.backbone}" if self.kind == "probe" else self.backbone

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.contender}-{self.seed}" + ("" if self.fold is None else f"-f{self.fold}")


@dataclass(frozen=True)
class Setting:
    """Where and with what a run works; nothing in it changes what is computed.

    Attributes:
        runtime: device and arithmetic.
        store: the activation store; None runs the whole network in every epoch.
        command: for the record.
        listener: receives progress.
        stop: says when somebody has asked the work to end.
        log: trackers that receive the numbers of every run.
        still_ours: raises where the output folder is no longer this process's own; asked before each write.
    """

    runtime: Runtime
    store: ActivationStore | None
    command: str
    listener: Listener = ignore
    stop: Stop = field(default_factory=Stop)
    log: tuple[TrackerName, ...] = ()
    still_ours: Callable[[], None] = lambda: None

    def interruptible(self) -> Self:
        """The setting for work that is lost as a whole if it does not end, and can end whenever it reports progress."""

        def listen(event: Event) -> None:
            self.listener(event)
            if isinstance(event, PartAdvanced):
                self.stop.check()

        return replace(self, listener=listen)

    def with_images_at_once(self, images: int | None) -> Self:
        """The same, but with so many images at most going through a network at once; None for whole batches."""
        return replace(self, runtime=replace(self.runtime, images_at_once=images))


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def run(self) -> Path:
        """run.json, written after all that lies beside it, figures aside: its presence says that the run is over."""
        return self.path / "run.json"

    @property
    def epochs(self) -> Path:
        """metrics.jsonl."""
        return self.path / "metrics.jsonl"

    @property
    def predictions(self) -> Path:
        """predictions.parquet."""
        return self.path / "predictions.parquet"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, while the run is not over."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.path / "model"

    def num_bytes(self) -> int:
        """Size of everything that stays: the model, its answers and the curves."""
        files = (path for path in self.path.rglob("*") if self.checkpoints not in path.parents and path.is_file())
        return sum(path.stat().st_size for path in files)


def scratch_request(recipe: Recipe, seed: int) -> RunRequest:
    """The baseline that starts from random weights.

    It shares data, augmentation preset and seed with the others; what must differ for a network that knows
    nothing is stated here: everything is trained, batch norm follows its batches, views are many, and there is
    one long stage.

    Args:
        recipe: the comparison's.
        seed: of the run.
    """
    views = (
        recipe.views
        if recipe.views.preset in ("none", "fresh")
        else replace(recipe.views, count=max(16, recipe.views.count))
    )
    return RunRequest(
        "scratch",
        "random",
        replace(
            recipe,
            name=f"{recipe.name}, scratch",
            thaw="all",
            batch_norm="update",
            views=views,
            stage1=replace(recipe.stage1, epochs=0),
            stage2=StageRecipe(
                epochs=60,
                optimiser="adamw",
                learning_rate=2e-3,
                weight_decay=0.05,
                batch_size=recipe.stage2.batch_size,
                patience=20,
            ),
        ),
        seed,
        "scratch",
    )


def probe_request(request: RunRequest) -> RunRequest:
    """The feature-extraction baseline of a fine-tuning run: it reads the same features from the same store."""
    recipe = replace(
        request.recipe,
        name=f"{request.recipe.name}, probe",
        head=HeadRecipe(),
        views=ViewsRecipe(preset="none", count=1, seed=request.recipe.views.seed),
    )
    return RunRequest(request.backbone, request.weights, recipe, request.seed, "probe", request.fold)
