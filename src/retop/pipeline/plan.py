"""What a run will compute, how often and for how long, from a calibration of a few seconds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil
from torch import nn

from retop.activations.key import EntryKey
from retop.data import Dataset
from retop.evaluation.numerals import count, size
from retop.events import Notice
from retop.pipeline.memory_need import fit_into_memory
from retop.pipeline.prepared import (
    PreparedRun,
    feature_keys,
    features_bytes,
    pixel_bytes,
    prepare,
    stored_keys,
)
from retop.pipeline.probe import PENALTIES_C as PROBE_PENALTIES_C
from retop.pipeline.rates import Rates
from retop.pipeline.request import RunRequest, Setting
from retop.records import STORED_PARTS, PlannedPart
from retop.room import memory_room
from retop.training.costs import fit_seconds
from retop.training.isolation import MOST_FITTED, NUM_FITS, NUM_PASSES, SAMPLE_SIZES
from retop.training.stages import PENALTIES_C
from retop.training.step_size import NUM_STEPS
from retop.training.weighting import class_weights, describe_imbalance


@dataclass(frozen=True)
class Earlier:
    """What earlier runs of a plan leave to the later ones, which add theirs.

    Attributes:
        coming: digests of store entries that will have been made.
        evaluation_seconds: of one image, by backbone, weights and size of the images.
    """

    coming: set[str] = field(default_factory=set)
    evaluation_seconds: dict[tuple[object, ...], float] = field(default_factory=dict)


class RunPlanner:
    """Estimates one run of a backbone.

    Args:
        request: the run.
        dataset: the images.
        setting: device and store.
        earlier: what earlier runs of the plan found and will have made.

    Raises:
        MemoryRunError: it does not fit into memory.
    """

    def __init__(self, request: RunRequest, dataset: Dataset, setting: Setting, earlier: Earlier) -> None:
        # Weights that do not fit the classes are refused before anything is computed.
        class_weights(request.recipe.imbalance, dataset.train.labels_n, dataset.classes)
        self._request = request
        self._dataset = dataset
        self._earlier = earlier
        started = time.perf_counter()
        self._prepared = prepare(request, dataset, setting)
        self._recipe = self._prepared.request.recipe
        self._build_seconds = time.perf_counter() - started
        at_once = fit_into_memory(self._prepared, dataset, setting.runtime, memory_room())
        if at_once.reason is not None:
            setting.listener(Notice("warning", at_once.reason))
        self._setting = setting.with_images_at_once(at_once.images)
        self._needed_bytes = at_once.needed_bytes
        self._rates = Rates(self._prepared, dataset, self._setting)
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
        each = self._evaluation_seconds()
        parts.append(self._part("evaluation", f"{measured:,} images", measured * each))
        if self._recipe.isolating_tests and self._request.kind == "fine-tuned":
            parts.append(self._isolating_part(each, parts))
        return tuple(parts)

    def _evaluation_seconds(self) -> float:
        """A probe is evaluated as the fine-tuned network is: its own head takes no time that counts."""
        key = (self._request.backbone, self._request.weights, self._recipe.image_size)
        if key not in self._earlier.evaluation_seconds:
            self._earlier.evaluation_seconds[key] = self._rates.evaluation_seconds()
        return self._earlier.evaluation_seconds[key]

    def memory_bytes(self) -> int:
        """Memory of the whole process at the run's largest moment, roughly."""
        return int(psutil.Process().memory_info().rss) + self._needed_bytes

    @property
    def _holds_features(self) -> bool:
        return self._request.kind == "probe" or self._prepared.holds_features

    def _activation_parts(self, prepared: PreparedRun) -> list[PlannedPart]:
        split, runtime = prepared.split, self._setting.runtime
        if split is None:
            return []
        prefix = runtime.frozen(split.prefix, split.fingerprint_code)
        keys = stored_keys(prepared, self._dataset, prefix)
        rows = self._claim_missing(keys)
        each = self._rates.stored_seconds(prefix) if rows else 0.0
        parts = [self._part("prefix", self._rows_text(rows), rows * each, rows * split.bytes_per_image(runtime.stored))]
        if prepared.needs_features:
            suffix = prepared.frozen_suffix(split, runtime)
            rows = self._claim_missing(feature_keys(keys, suffix))
            each = self._rates.suffix_seconds(prefix, suffix) if rows else 0.0
            parts.append(self._part("features", self._rows_text(rows), rows * each, rows * self._feature_bytes))
        return parts

    def _whole_part(self) -> PlannedPart:
        whole = self._setting.runtime.frozen(self._prepared.network, self._prepared.network_code)
        rows = self._claim_missing(stored_keys(self._prepared, self._dataset, whole))
        seconds = rows * self._rates.stored_seconds(whole) if rows else 0.0
        return self._part("prefix", self._rows_text(rows), seconds, rows * self._feature_bytes)

    def _pixel_part(self) -> PlannedPart:
        pixels = self._setting.runtime.frozen(nn.Identity(), "pixels")
        rows = self._claim_missing(stored_keys(self._prepared, self._dataset, pixels))
        seconds = rows * self._rates.stored_seconds(pixels) if rows else 0.0
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
            if key.digest() not in self._earlier.coming and not (store is not None and store.holds(key))
        }
        self._earlier.coming.update(missing)
        return sum(missing.values())

    def _held_part(self) -> PlannedPart:
        rows = self._num_train + self._num_validation
        seconds = rows * self._rates.feature_seconds()
        return self._part("features", f"{rows:,} images, in memory", seconds)

    def _probe_parts(self) -> list[PlannedPart]:
        held = [self._held_part()] if self._prepared.source == "images" else []
        memory = size(features_bytes(self._prepared, self._dataset))
        weighted = ", classes weighted" if describe_imbalance(self._request.recipe.imbalance) else ""
        fits = f"{len(PROBE_PENALTIES_C)} penalties, {memory} of features in memory{weighted}"
        return [*held, self._part("stage 1", fits, self._rates.fit_seconds(len(PROBE_PENALTIES_C), self._num_train))]

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
                seconds += self._num_train * self._rates.feature_seconds()
            parts.append(
                self._stage_part(1, f"{attempts} x {count(stage1.epochs, 'epoch')} at most", seconds, from_images)
            )
        if self._prepared.trains_late_layers:
            from_images = self._prepared.source not in ("activations", "pixels")
            parts.append(
                self._stage_part(2, f"{count(stage2.epochs, 'epoch')} at most", self._stage_seconds(2), from_images)
            )
        return parts

    def _stage_part(self, stage: int, epochs: str, seconds: float, from_images: bool) -> PlannedPart:
        epochs += describe_imbalance(self._request.recipe.imbalance)
        why = f", the whole network in each: {self._prepared.reason}" if from_images and self._prepared.reason else ""
        return self._part(f"stage {stage}", epochs + why, seconds)

    def _stage_seconds(self, stage: int) -> float:
        """Seconds of one attempt at a stage: its range test, and its epochs on rows and on what they are judged by."""
        recipe = self._recipe.stage1 if stage == 1 else self._recipe.stage2
        from_features = self._prepared.source != "images" or self._holds_features
        train_each, evaluate_each = self._rates.epoch_seconds(stage, from_features=from_features)
        sample = min(self._num_train, self._num_validation)
        judged = (self._num_validation + sample) * evaluate_each
        tests = NUM_STEPS * min(recipe.batch_size, self._num_train) if recipe.learning_rate == "auto" else 0
        return recipe.epochs * (self._num_train * train_each + judged) + judged + tests * train_each

    def _isolating_part(self, evaluation_seconds: float, others: Sequence[PlannedPart]) -> PlannedPart:
        """At most their share of what the run does with a full store, too."""
        images = min(max(SAMPLE_SIZES), self._num_validation)
        seconds = NUM_PASSES * images * evaluation_seconds
        if self._prepared.source != "images" and self._prepared.needs_features:
            fitted = min(MOST_FITTED, self._num_train)
            seconds += fit_seconds(NUM_FITS, fitted, self._prepared.num_features, len(self._dataset.classes))
        certain = sum(part.seconds or 0.0 for part in others if part.part not in STORED_PARTS)
        seconds = min(seconds, self._recipe.isolating_share * certain)
        return self._part("isolating tests", f"at most {images:,} images, {NUM_PASSES} times", seconds)

    def _rows_text(self, rows: int) -> str:
        views = self._prepared.num_views
        return f"{rows:,} images{f', {views} views each in training' if views > 1 else ''}" if rows else "in the store"

    def _part(self, part: str, how_often: str, seconds: float, disk_bytes: int = 0) -> PlannedPart:
        return PlannedPart(self._request.name, part, how_often, seconds, disk_bytes)
