"""Runs of small networks, as the pipeline makes them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from retop.activations import ActivationStore
from retop.data import Dataset
from retop.events import Listener, ignore
from retop.pipeline import RunFolder, RunRequest, Setting, run_backbone
from retop.pipeline.request import Kind
from retop.recipe import Recipe, StageRecipe, ViewsRecipe, apply_settings
from retop.records import EpochRecord, RunRecord, read_epochs, read_predictions
from retop.schema import to_plain
from retop.stopping import Stop
from retop.training import choose_runtime
from retop.training.tracking import TrackerName


def small_recipe(settings: Mapping[str, object] | None = None) -> Recipe:
    """Two epochs of each stage, one view, float32, fixed step sizes, all isolating tests; changed as `--set` does."""
    recipe = Recipe(
        name="small",
        precision="fp32",
        batch_norm="frozen",
        # Of runs of a second nothing else would hold a test.
        isolating_share=1.0,
        views=ViewsRecipe(preset="none", count=1),
        stage1=StageRecipe(epochs=2, learning_rate=0.05, weight_decay=1e-3, batch_size=16),
        stage2=StageRecipe(epochs=2, learning_rate=0.005, batch_size=16),
    )
    for key, value in (settings or {}).items():
        recipe = apply_settings(recipe, {key: "null" if value is None else str(value)})
    return recipe


def small_setting(
    recipe: Recipe, store: ActivationStore | None, listener: Listener = ignore, stop: Stop | None = None
) -> Setting:
    return Setting(choose_runtime("cpu", recipe.precision), store, "tests", listener, stop or Stop())


def run_small(
    folder: Path,
    dataset: Dataset,
    backbone: str = "test_resnet",
    *,
    store: ActivationStore | None = None,
    weights: str | Path,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    kind: Kind = "fine-tuned",
    listener: Listener = ignore,
    stop: Stop | None = None,
    log: tuple[TrackerName, ...] = (),
    still_ours: Callable[[], None] = lambda: None,
) -> RunRecord:
    recipe = small_recipe(settings)
    request = RunRequest(backbone, str(weights), recipe, seed, kind)
    setting = replace(small_setting(recipe, store, listener, stop), log=log, still_ours=still_ours)
    return run_backbone(request, dataset, setting, RunFolder(folder))


def saved_weights(run: Path) -> dict[str, torch.Tensor]:
    """What a run's model folder holds."""
    return load_file(run / "model" / "model.safetensors")


def saved_epochs(run: Path) -> tuple[EpochRecord, ...]:
    """metrics.jsonl of a run."""
    return read_epochs(run / "metrics.jsonl")


def without_clock(epoch: EpochRecord) -> dict[str, object]:
    """An epoch's record without its seconds."""
    return {key: value for key, value in to_plain(epoch).items() if key != "seconds"}


def model_bytes(run: Path) -> bytes:
    """The weights file of a run, bit for bit."""
    return (run / "model" / "model.safetensors").read_bytes()


def logits(run: Path) -> dict[tuple[str, str], np.ndarray]:
    """Every logit of predictions.parquet by split and path."""
    return {
        (split, path): row
        for split in ("validation", "test")
        for predictions in [read_predictions(run / "predictions.parquet", split)]
        for path, row in zip(predictions.paths, predictions.logits_nk, strict=True)
    }


def write_weights(root: Path, backbone: str, side: int) -> None:
    """A timm-form folder whose network takes small images; its values are random, its batch norms are not idle."""
    torch.manual_seed(0)
    network = timm.create_model(backbone, num_classes=0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    config = {
        "architecture": backbone,
        "num_classes": 0,
        "num_features": network.num_features,
        "pretrained_cfg": {
            **network.pretrained_cfg,
            "input_size": [3, side, side],
            "crop_pct": 1.0,
            "num_classes": 0,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        },
    }
    (root / backbone).mkdir(parents=True)
    save_file(network.state_dict(), root / backbone / "model.safetensors")
    (root / backbone / "config.json").write_text(json.dumps(config))


def shrink_weights(root: Path, source: Path, side: int) -> None:
    """Pretrained weights in a folder whose network takes smaller images than it was trained with."""
    config = json.loads((source / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, side, side]
    (root / source.name).mkdir(parents=True)
    (root / source.name / "config.json").write_text(json.dumps(config))
    (root / source.name / "model.safetensors").symlink_to(source / "model.safetensors")
