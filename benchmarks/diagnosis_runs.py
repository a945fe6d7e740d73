"""One run of the fault-injection benchmark: draw images, plant a fault, train, diagnose."""

import json
import pickle
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from diagnosis_data import DataSet, Pictures, draw, picture_name, read_pictures, write
from diagnosis_faults import Fault
from retop.activations import ActivationStore
from retop.backbones.embedded import WEIGHTS_FOLDER
from retop.data import Dataset, open_dataset
from retop.data.audit import audit_dataset, exclusions
from retop.diagnosis import Evidence, diagnose, evidence_of
from retop.errors import RetopError
from retop.pipeline import RunFolder, RunRequest, Setting, run_backbone
from retop.recipe import Recipe, apply_settings, load_recipe
from retop.records import AuditRecord, read_finished_run
from retop.training import choose_runtime

SIZES = {"train": 160, "validation": 160, "test": 160}
"""Of all classes together: what can be established hangs on that."""
BACKBONES = ("pocket_resnet", "pocket_vgg")
INPUT_PIXELS = 48
"""Smaller than the 64 that the networks were made for: half of the time."""
LAST_NORMS = ("layer4.0.bn2", "layer4.0.downsample.2", "features.26")
STORE_BYTES = 2 * 10**9
SHORT = {"stage1.weight_decay": 0.3, "stage1.min_steps": 100, "views.count": 2, "isolating_share": 1.0}
"""The default recipe, with one penalty instead of five, a third of the steps and half of the views."""
HEALTHY_SETTINGS: tuple[dict[str, Any], ...] = (
    SHORT,
    SHORT | {"thaw": 2},
    SHORT | {"thaw": "none", "stage2.epochs": 0},
    SHORT | {"views.count": 1, "views.preset": "none"},
    SHORT | {"stage1.weight_decay": "auto"},
)
"""Healthy runs take turns."""
HEALTHY = Fault("healthy", ())

Result = dict[str, Any]


class Site:
    """A draw of images, and the runs that are made on it.

    Args:
        data: where the images come from.
        seed: of the draw and of the runs.
        folder: for images, store and runs; an empty one.
        kept: for what the rules look at, so that they can be applied again.
    """

    def __init__(self, data: DataSet, seed: int, folder: Path, kept: Path) -> None:
        self._data = data
        self._seed = seed
        self._folder = folder
        self._kept = kept
        self._store = ActivationStore(folder / "store", STORE_BYTES)
        self._weights = _small_weights(folder / "weights", narrow=False)
        self._narrow = _small_weights(folder / "narrow-weights", narrow=True)
        self._plain: tuple[Dataset, AuditRecord, Path] | None = None

    def run(self, fault: Fault) -> Result:
        """Plant a fault, train, and say what the diagnosis found."""
        started = time.process_time()
        dataset, audit, images = self._images(fault)
        folder = self._folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        recipe = _recipe(fault, self._seed)
        backbone = BACKBONES[self._seed // 4 % 2]
        weights = self._narrow if fault.narrow_weights else self._weights
        request = RunRequest(backbone, str(weights), recipe, self._seed)
        setting = Setting(choose_runtime("cpu", recipe.precision), self._store, "benchmarks/diagnosis.py")
        present = True
        try:
            with fault.training():
                run_backbone(request, dataset, setting, RunFolder(folder))
            finished = read_finished_run(folder)
            evidence = evidence_of(finished, audit.findings, fault.answered_elsewhere(folder, dataset))
            found = apply_rules(evidence)
            present = fault.present(finished)
            self._kept.mkdir(parents=True, exist_ok=True)
            evidence_file(self._kept, fault.name, self._data.name, self._seed).write_bytes(pickle.dumps(evidence))
        except RetopError as error:
            found = {type(error).__name__: "error"}
        if images.name != "images":
            shutil.rmtree(images)
        return {
            "fault": fault.name, "data": self._data.name, "half": self._data.half, "seed": self._seed,
            "backbone": backbone, "num_train": len(dataset.train), "found": found, "present": present,
            "seconds": round(time.process_time() - started, 1),
        }  # fmt: skip

    def _images(self, fault: Fault) -> tuple[Dataset, AuditRecord, Path]:
        """The site's own images, or those with the fault in them."""
        own = bool(fault.plant or fault.sizes)
        if not own and self._plain:
            return self._plain
        generator = np.random.default_rng(self._seed)
        # Sizes differ between runs, as those of users do.
        share = 1 / len(read_pictures(self._data))
        sizes = {split: int(number * share * generator.uniform(0.8, 1.6)) for split, number in SIZES.items()}
        splits = self._without_copies(draw(self._data, sizes | fault.sizes, self._seed))
        if fault.plant:
            splits = fault.plant(splits, generator)
        images = write(splits, self._folder / ("planted" if own else "images"))
        dataset = open_dataset(images, load_recipe("default").data)
        opened = dataset, audit_dataset(dataset), images
        if not own:
            self._plain = opened
        return opened

    def _without_copies(self, splits: dict[str, Pictures]) -> dict[str, Pictures]:
        """Photographs that a source holds twice would be a leak that nobody planted: a user would exclude them."""
        folder = write(splits, self._folder / "drawn")
        audit = audit_dataset(open_dataset(folder, load_recipe("default").data))
        copies = {path for path, _, _ in exclusions(audit.findings)}
        shutil.rmtree(folder)
        return {
            split: {
                label: [
                    one for number, one in enumerate(images) if f"{split}/{picture_name(label, number)}" not in copies
                ]
                for label, images in classes.items()
            }
            for split, classes in splits.items()
        }


def apply_rules(evidence: Evidence) -> dict[str, str]:
    """Codes of the findings, with their severity."""
    return {finding.code: finding.severity for finding in diagnose(evidence)}


def evidence_file(folder: Path, fault: str, data: str, seed: int) -> Path:
    """Where the evidence of a run is kept."""
    return folder / (re.sub(r"[^a-z0-9]+", "-", f"{fault} {data} {seed}") + ".pickle")


def _small_weights(folder: Path, *, narrow: bool) -> Path:
    """The pretrained networks for small images; if narrow, their last layer lets one channel through."""
    for name in BACKBONES:
        (folder / name).mkdir(parents=True)
        config = json.loads((WEIGHTS_FOLDER / name / "config.json").read_text())
        config["pretrained_cfg"]["input_size"] = [3, INPUT_PIXELS, INPUT_PIXELS]
        (folder / name / "config.json").write_text(json.dumps(config))
        source, target = (place / name / "model.safetensors" for place in (WEIGHTS_FOLDER, folder))
        if narrow:
            state = load_file(source)
            for key in (f"{norm}.{part}" for norm in LAST_NORMS for part in ("weight", "bias")):
                if key in state:
                    state[key][1:] = 0
            save_file(state, target)
        else:
            target.symlink_to(source)
    return folder


def _recipe(fault: Fault, seed: int) -> Recipe:
    if fault.name == HEALTHY.name:
        # Four data sets take turns as well; five and four have no common divisor.
        return _changed(HEALTHY_SETTINGS[seed % len(HEALTHY_SETTINGS)])
    return _changed(SHORT | fault.settings)


def _changed(settings: dict[str, Any]) -> Recipe:
    changed = apply_settings(load_recipe("default"), {key: json.dumps(value) for key, value in settings.items()})
    return replace(changed, name="benchmark")
