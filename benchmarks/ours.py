"""retop: the frozen part once per image view, then both stages from the store, which is empty at the start."""

import time
from dataclasses import replace
from pathlib import Path

import torch

from epochs import count_images
from retop.activations import ActivationStore
from retop.data import open_dataset
from retop.events import Event, PartFinished
from retop.pipeline import RunFolder, RunRequest, Setting, run_backbone
from retop.pipeline.environment import describe_environment
from retop.recipe import Recipe, StageRecipe, ViewsRecipe
from retop.records import RunRecord, read_epochs
from retop.training import choose_runtime
from spec import SideResult, Spec, StageTiming


def run(spec: Spec) -> SideResult:
    started = time.perf_counter()
    finished: dict[str, float] = {}

    def note_end(event: Event) -> None:
        if isinstance(event, PartFinished):
            finished[event.part.rpartition(": ")[2]] = time.perf_counter()

    recipe = build_recipe(spec)
    dataset = open_dataset(spec.images, recipe.data, note_end)
    opened = time.perf_counter() - started
    store = ActivationStore(Path(spec.scratch) / "activations")
    setting = Setting(choose_runtime(spec.device), store, "benchmark", note_end)
    folder = RunFolder(Path(spec.scratch) / "run")
    record = run_backbone(RunRequest(spec.backbone, "random", recipe, seed=0), dataset, setting, folder)
    wall = finished["stage 2"] - started
    stages = {name: _stage(record, folder, spec, name) for name in ("head", "late")}
    versions = describe_environment(setting.runtime, "benchmark").packages
    return SideResult(
        seconds=wall,
        wall_seconds=wall,
        parts={"open": opened, **_parts(record)},
        stages=stages,
        extrapolated=False,
        measured_images=count_images(stages),
        validation_accuracy=record.stages[-1].validation_accuracy,
        trained_parameters=record.stages[-1].parameters_trained,
        threads=torch.get_num_threads(),
        versions=versions,
        notes=[f"prefix and training in {setting.runtime.dtype}, stored as {setting.runtime.stored}", *record.warnings],
    )


def build_recipe(spec: Spec) -> Recipe:
    """Fixed step sizes and penalties, no early stopping; `Spec.choosing` lets the run find them."""
    views = ViewsRecipe(preset="standard", count=spec.views) if spec.augments else ViewsRecipe(preset="none", count=1)
    head = StageRecipe(epochs=spec.head_epochs, learning_rate=0.01, batch_size=spec.batch_size)
    late = StageRecipe(epochs=spec.late_epochs, learning_rate=0.001, batch_size=spec.batch_size)
    if spec.choosing:
        head = replace(head, learning_rate="auto", weight_decay="auto")
        late = replace(late, learning_rate="auto")
    return Recipe(name="benchmark", thaw="last", views=views, stage1=head, stage2=late)


def _parts(record: RunRecord) -> dict[str, float]:
    """Seconds by part up to the last epoch; the evaluation of the saved model comes after it."""
    return {timing.part: timing.seconds for timing in record.timings if timing.part not in ("evaluation", "other")}


def _stage(record: RunRecord, folder: RunFolder, spec: Spec, name: str) -> StageTiming:
    number = {"head": 1, "late": 2}[name]
    epochs = [epoch for epoch in read_epochs(folder.epochs) if epoch.stage == number and epoch.epoch > 0]
    seconds = next(timing.seconds for timing in record.timings if timing.part == f"stage {number}")
    return StageTiming(
        epochs=len(epochs),
        seconds=seconds,
        warm_up_seconds=None,
        train_epoch_seconds=sum(epoch.seconds for epoch in epochs) / len(epochs),
        validation_seconds=None,
        measured_train_images=len(epochs) * spec.num_train,
        measured_validation_images=len(epochs) * spec.num_validation,
        extrapolated=False,
    )
