"""What a run will compute, how often and for how long, from a calibration of a few seconds."""

# N images, F features

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import psutil
import torch
from torch import nn

from retop.activations.fill import FrozenComputation
from retop.activations.key import EntryKey
from retop.activations.store import PART_BYTES, PREFIX_BATCH
from retop.backbones.head import build_head
from retop.data import Dataset
from retop.data.batches import decode_batches
from retop.evaluation.numerals import size
from retop.pipeline.frozen import HeldInputs
from retop.pipeline.prepared import (
    PreparedRun,
    feature_keys,
    features_bytes,
    holds_features,
    only_head,
    pixel_bytes,
    prepare,
    stored_keys,
)
from retop.pipeline.probe import MAX_ITERATIONS, fitting_quietly
from retop.pipeline.probe import PENALTIES_C as PROBE_PENALTIES_C
from retop.pipeline.request import RunRequest, Setting
from retop.records import PlannedPart
from retop.training import CroppedInputs, DecodedInputs, Inputs, LabelledInputs, LateNetwork, fit, training_mode
from retop.training.stages import PENALTIES_C
from retop.training.step_size import NUM_STEPS
from retop.training.weighting import describe_imbalance

CALIBRATION_BATCH = 16
CALIBRATION_SECONDS = 0.5
LARGEST_CALIBRATION = 2048
PROBE_ROWS = 512


class RunPlanner:
    """Estimates one run of a backbone.

    Args:
        request: the run.
        dataset: the images.
        setting: device and store.
        coming: digests of store entries that earlier runs of the plan will have made; those of this run are added.
    """

    def __init__(self, request: RunRequest, dataset: Dataset, setting: Setting, coming: set[str]) -> None:
        self._request = request
        self._dataset = dataset
        self._setting = setting
        self._coming = coming
        started = time.perf_counter()
        self._prepared = prepare(request, dataset, setting)
        self._recipe = self._prepared.request.recipe
        self._build_seconds = time.perf_counter() - started
        rows = np.arange(min(PREFIX_BATCH, len(dataset.train)))
        self._images = next(iter(self._decoded(rows, view=0)))
        self._num_train = len(dataset.train)
        self._num_validation = len(dataset.validation)
        self._num_test = len(dataset.test) if dataset.test else 0

    def parts(self) -> tuple[PlannedPart, ...]:
        """The parts of the run, in their order."""
        parts = [self._part("build", "once", self._build_seconds)]
        if self._prepared.source == "activations":
            parts += self._activation_parts(self._prepared)
        elif self._prepared.source == "features":
            parts.append(self._whole_part())
        elif self._prepared.source == "pixels":
            parts.append(self._pixel_part())
        self._setting.runtime.place(self._prepared.network)
        parts += self._probe_parts() if self._request.kind == "probe" else self._stage_parts()
        measured = self._num_validation + self._num_test
        seconds = measured * self._frozen_seconds(self._evaluated, view=0)
        parts.append(self._part("evaluation", f"{measured:,} images", seconds))
        return tuple(parts)

    def memory_bytes(self) -> int:
        """Memory of the whole process at the run's largest moment, roughly."""
        weights = sum(p.numel() * 4 for p in self._prepared.network.parameters())
        held = features_bytes(self._prepared, self._dataset) if self._holds_features else 0
        # An evaluation holds its logits.
        held += (self._num_validation + self._num_test) * len(self._dataset.classes) * 4
        return int(psutil.Process().memory_info().rss) + 3 * PART_BYTES + 3 * weights + held

    @property
    def _holds_features(self) -> bool:
        return self._request.kind == "probe" or holds_features(self._prepared, self._dataset)

    def _activation_parts(self, prepared: PreparedRun) -> list[PlannedPart]:
        split, runtime = prepared.split, self._setting.runtime
        if split is None:
            return []
        prefix = runtime.frozen(split.prefix, split.fingerprint_code)
        keys = stored_keys(prepared, self._dataset, prefix)
        rows = self._claim_missing(keys)
        each = self._stored_seconds(prefix) if rows else 0.0
        parts = [self._part("prefix", self._rows_text(rows), rows * each, rows * split.bytes_per_image(runtime.stored))]
        if prepared.needs_features:
            suffix = prepared.frozen_suffix(split, runtime)
            rows = self._claim_missing(feature_keys(keys, suffix))
            each = self._suffix_seconds(prefix, suffix) if rows else 0.0
            parts.append(self._part("features", self._rows_text(rows), rows * each, rows * self._feature_bytes))
        return parts

    def _whole_part(self) -> PlannedPart:
        whole = self._setting.runtime.frozen(self._prepared.network, self._prepared.network_code)
        rows = self._claim_missing(stored_keys(self._prepared, self._dataset, whole))
        seconds = rows * self._stored_seconds(whole) if rows else 0.0
        return self._part("prefix", self._rows_text(rows), seconds, rows * self._feature_bytes)

    def _pixel_part(self) -> PlannedPart:
        pixels = self._setting.runtime.frozen(nn.Identity(), "pixels")
        rows = self._claim_missing(stored_keys(self._prepared, self._dataset, pixels))
        seconds = rows * self._stored_seconds(pixels) if rows else 0.0
        disk_bytes = rows * pixel_bytes(self._prepared.backbone.preprocessing)
        return self._part("prefix", self._rows_text(rows), seconds, disk_bytes)

    @property
    def _feature_bytes(self) -> int:
        return self._prepared.num_features * self._setting.runtime.stored.itemsize

    def _claim_missing(self, keys: dict[EntryKey, int]) -> int:
        """Rows that this run will have to compute; later runs then find them."""
        store = self._setting.store
        missing = {
            key.digest(): rows
            for key, rows in keys.items()
            if key.digest() not in self._coming and not (store is not None and store.holds(key))
        }
        self._coming.update(missing)
        return sum(missing.values())

    def _held_part(self) -> PlannedPart:
        rows = self._num_train + self._num_validation
        seconds = rows * self._frozen_seconds(self._computed, view=0)
        return self._part("features", f"{rows:,} images, in memory", seconds)

    def _probe_parts(self) -> list[PlannedPart]:
        held = [self._held_part()] if self._prepared.source == "images" else []
        memory = size(features_bytes(self._prepared, self._dataset))
        fits = f"{len(PROBE_PENALTIES_C)} penalties, {memory} of features in memory"
        return [*held, self._part("stage 1", fits, self._probe_seconds())]

    def _probe_seconds(self) -> float:
        """Seconds of all fits, from one at the middle penalty on few rows; a fit takes time in proportion to rows."""
        from sklearn.linear_model import LogisticRegression

        num_rows, num_features = min(PROBE_ROWS, self._num_train), self._prepared.num_features
        # Features of a network are correlated, and fits then take more iterations: a spectrum that falls as 1 / i.
        spectrum_f = 1 / np.arange(1, num_features + 1)
        features_nf = np.random.default_rng(0).standard_normal((num_rows, num_features)) * spectrum_f
        features_nf = (features_nf / features_nf.std()).astype(np.float32)
        labels_n = np.arange(num_rows) % min(len(self._dataset.classes), num_rows)
        model = LogisticRegression(C=PROBE_PENALTIES_C[len(PROBE_PENALTIES_C) // 2], max_iter=MAX_ITERATIONS)
        started = time.perf_counter()
        with fitting_quietly():
            model.fit(features_nf, labels_n)
        return (time.perf_counter() - started) * len(PROBE_PENALTIES_C) * self._num_train / num_rows

    def _stage_parts(self) -> list[PlannedPart]:
        parts = []
        stage1, stage2 = self._recipe.stage1, self._recipe.stage2
        from_images = self._prepared.source == "images" and not self._holds_features
        if stage1.epochs > 0:
            if self._prepared.source == "images" and not from_images:
                parts.append(self._held_part())
            attempts = len(PENALTIES_C) if stage1.weight_decay == "auto" and not from_images else 1
            seconds = attempts * self._stage_seconds(1)
            # Without a store, centre and size of the features take one more pass.
            if from_images and self._request.recipe.head.kind == "linear":
                seconds += self._num_train * self._frozen_seconds(self._computed, view=0)
            parts.append(self._stage_part(1, f"{attempts} x {stage1.epochs} epochs at most", seconds, from_images))
        if self._prepared.trains_late_layers:
            from_images = self._prepared.source not in ("activations", "pixels")
            parts.append(self._stage_part(2, f"{stage2.epochs} epochs at most", self._stage_seconds(2), from_images))
        return parts

    def _stage_part(self, stage: int, epochs: str, seconds: float, from_images: bool) -> PlannedPart:
        epochs += describe_imbalance(self._request.recipe.imbalance)
        why = f", the whole network in each: {self._prepared.reason}" if from_images and self._prepared.reason else ""
        return self._part(f"stage {stage}", epochs + why, seconds)

    def _stage_seconds(self, stage: int) -> float:
        """Seconds of one attempt at a stage: its range test, and its epochs on rows and on what they are judged by."""
        recipe = self._recipe.stage1 if stage == 1 else self._recipe.stage2
        if stage == 1:
            with only_head(self._prepared):
                train_each, evaluate_each = self._loop_seconds(stage)
        else:
            train_each, evaluate_each = self._loop_seconds(stage)
        sample = min(self._num_train, self._num_validation)
        judged = (self._num_validation + sample) * evaluate_each
        tests = NUM_STEPS * min(recipe.batch_size, self._num_train) if recipe.learning_rate == "auto" else 0
        return recipe.epochs * (self._num_train * train_each + judged) + judged + tests * train_each

    def _loop_seconds(self, stage: int) -> tuple[float, float]:
        """Seconds per image of training and of evaluation, measured on the loop itself with a few images."""
        inputs, suffix = self._stage_inputs(stage)
        network = LateNetwork(suffix, self._head())
        # The first call of anything on a device costs more than all later ones.
        self._epoch_seconds(stage, network, inputs, 2)
        rows = min(CALIBRATION_BATCH, self._num_train)
        while True:
            trained, evaluated = self._epoch_seconds(stage, network, inputs, rows)
            if trained > CALIBRATION_SECONDS or rows >= min(self._num_train, LARGEST_CALIBRATION):
                return trained / rows, evaluated / rows
            rows = min(4 * rows, self._num_train, LARGEST_CALIBRATION)

    def _epoch_seconds(self, stage: int, network: LateNetwork, inputs: Inputs, num_rows: int) -> tuple[float, float]:
        recipe = self._recipe.stage1 if stage == 1 else self._recipe.stage2
        data = LabelledInputs(
            inputs, np.zeros(len(inputs), dtype=np.int64), np.resize(np.arange(len(inputs)), num_rows)
        )
        history = fit(
            network,
            training_mode(network, self._prepared.boundary, stage == 2 and self._prepared.updates_statistics),
            data,
            None,
            data,
            replace(recipe, epochs=1, patience=None),
            learning_rate=1e-12,
            weight_decay=0.0,
            seed=0,
            stage=stage,
            runtime=self._setting.runtime,
            on_epoch=lambda epoch: None,
        ).history
        return max(0.0, history[1].seconds - history[0].seconds), history[0].seconds

    def _stage_inputs(self, stage: int) -> tuple[Inputs, nn.Module]:
        """Inputs like those of the stage, and what they enter."""
        prepared, runtime = self._prepared, self._setting.runtime
        if stage == 1 and (prepared.source != "images" or self._holds_features):
            stored = runtime.stored if prepared.source != "images" else torch.float32
            features_nf = torch.randn(min(self._num_train, 8 * PREFIX_BATCH), prepared.num_features).to(stored)
            return HeldInputs(features_nf), nn.Identity()
        if stage == 2 and prepared.source == "activations" and prepared.split is not None:
            crossings = _on_cpu(runtime.frozen(prepared.split.prefix, "").run(self._images), runtime.stored)
            return HeldInputs(*crossings), prepared.split.suffix
        views = self._request.recipe.views
        if prepared.source == "pixels":
            # Work goes with the area, so one side stands for them all.
            side = math.sqrt(sum(side**2 for side in views.sides) / len(views.sides))
            return CroppedInputs(HeldInputs(self._images), replace(views, sides=(side,)), 1, 0), prepared.network
        return DecodedInputs(self._dataset.train, prepared.backbone.preprocessing, views), prepared.network

    def _head(self) -> nn.Module:
        return build_head(self._request.recipe.head, self._prepared.num_features, len(self._dataset.classes), 0)

    def _stored_seconds(self, frozen: FrozenComputation) -> float:
        def run(images: torch.Tensor) -> None:
            _on_cpu(frozen.run(images), frozen.stored)

        return self._frozen_seconds(run, view=1 if self._prepared.num_views > 1 else 0)

    def _suffix_seconds(self, prefix: FrozenComputation, suffix: FrozenComputation) -> float:
        crossings = prefix.run(self._images)
        return _seconds(lambda: _on_cpu(suffix.run(*crossings), suffix.stored)) / len(self._images)

    def _computed(self, images: torch.Tensor) -> None:
        """The whole network as `feature_batches` runs it."""
        with torch.inference_mode(), self._setting.runtime.autocast():
            self._prepared.network(images).float().cpu()

    def _evaluated(self, images: torch.Tensor) -> None:
        """The whole network in the predictor's arithmetic, float32."""
        with torch.inference_mode():
            self._prepared.network(images).cpu()

    def _frozen_seconds(self, run: Callable[[torch.Tensor], None], view: int) -> float:
        """Seconds per image where the next batch is decoded while the network runs."""
        # Kernels are made for each shape at first use: a smaller batch would leave that to what is timed.
        run(self._images)
        rows = np.resize(np.arange(self._num_train), LARGEST_CALIBRATION)
        batches = self._decoded(rows, view)
        batch = next(batches)
        started, done = time.perf_counter(), 0
        for coming in batches:
            run(batch)
            done += len(batch)
            batch = coming
            if time.perf_counter() - started > CALIBRATION_SECONDS:
                break
        return (time.perf_counter() - started) / done

    def _decoded(self, rows: np.ndarray, view: int) -> Iterator[torch.Tensor]:
        batches = decode_batches(
            self._dataset.train,
            rows,
            np.full_like(rows, view),
            self._prepared.backbone.preprocessing,
            self._request.recipe.views,
            PREFIX_BATCH,
            ahead=1,
        )
        return (batch.to(self._setting.runtime.device) for batch in batches)

    def _rows_text(self, rows: int) -> str:
        views = self._prepared.num_views
        return f"{rows:,} images{f', {views} views each in training' if views > 1 else ''}" if rows else "in the store"

    def _part(self, part: str, how_often: str, seconds: float, disk_bytes: int = 0) -> PlannedPart:
        return PlannedPart(self._request.name, part, how_often, seconds, disk_bytes)


def _on_cpu(tensors: tuple[torch.Tensor, ...], stored: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Results as the store takes them; bringing them here also waits for a device that works on its own."""
    return tuple(t.to("cpu", stored if t.is_floating_point() else t.dtype).clone() for t in tensors)


def _seconds(action: Callable[[], object]) -> float:
    """Seconds of one call, after one that is not counted; the action ends with its results on the CPU."""
    action()
    started, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - started < CALIBRATION_SECONDS:
        action()
        calls += 1
    return (time.perf_counter() - started) / calls
