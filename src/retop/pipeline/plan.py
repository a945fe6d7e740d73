"""What a run will compute, how often and for how long, from a calibration of a few seconds."""

# N images

import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import torch
from torch.nn import functional

from retop.activations.store import PART_BYTES
from retop.backbones.head import build_head
from retop.data import Dataset
from retop.data.batches import decode_batches
from retop.pipeline.prepared import missing_rows, prepare
from retop.pipeline.request import RunRequest, Setting
from retop.records import PlannedPart
from retop.training import LateNetwork, training_mode
from retop.training.optimiser import build_optimiser
from retop.training.stages import PENALTIES_C
from retop.training.step_size import NUM_STEPS

CALIBRATION_BATCH = 16
CALIBRATION_SECONDS = 1.0
BUILD_SECONDS = 2.0


class RunPlanner:
    """Estimates one run of a backbone.

    Args:
        request: the run.
        dataset: the images.
        setting: device and store.
    """

    def __init__(self, request: RunRequest, dataset: Dataset, setting: Setting) -> None:
        self._request = request
        self._dataset = dataset
        self._setting = setting
        self._prepared = prepare(request, dataset, setting)
        self._images = self._decoded_batch()
        self._num_train = len(dataset.train)
        self._num_validation = len(dataset.validation)
        self._num_test = len(dataset.test) if dataset.test else 0

    def parts(self) -> tuple[PlannedPart, ...]:
        """The parts of the run, in their order."""
        parts = [self._part("build", "once", BUILD_SECONDS)]
        if self._prepared.source == "activations":
            parts += self._activation_parts()
        elif self._prepared.source == "features":
            rows = self._num_train * self._prepared.num_views + self._num_validation
            parts.append(self._part("prefix", self._images_text(rows), rows * self._whole_seconds(), rows * 4096))
        parts += self._stage_parts()
        measured = self._num_validation + self._num_test
        parts.append(self._part("evaluation", f"{measured:,} images", measured * self._evaluation_seconds()))
        return tuple(parts)

    def memory_bytes(self) -> int:
        """Memory of the whole process at the run's largest moment, roughly."""
        weights = sum(p.numel() * 4 for p in self._prepared.network.parameters())
        return int(psutil.Process().memory_info().rss) + 3 * PART_BYTES + 3 * weights

    def _activation_parts(self) -> list[PlannedPart]:
        split = self._prepared.split
        if split is None:
            return []
        rows = missing_rows(self._prepared, self._dataset, self._setting)
        all_rows = self._num_train * self._prepared.num_views + self._num_validation
        bytes_per_row = split.bytes_per_image(self._setting.runtime.stored)
        run = self._setting.runtime.frozen(split.prefix, "").run
        each = self._seconds_with_decoding(run)
        parts = [self._part("prefix", self._images_text(rows), rows * each, rows * bytes_per_row)]
        if self._request.recipe.stage1.epochs > 0:
            crossings = run(self._images)
            suffix = self._setting.runtime.frozen(split.suffix, "").run
            once = _seconds(lambda: suffix(*crossings)) / len(self._images) if rows else 0.0
            parts.append(self._part("features", self._images_text(all_rows if rows else 0), all_rows * once))
        return parts

    def _stage_parts(self) -> list[PlannedPart]:
        recipe = self._request.recipe
        parts = []
        from_images = self._prepared.source == "images"
        if recipe.stage1.epochs > 0:
            attempts = len(PENALTIES_C) if recipe.stage1.weight_decay == "auto" else 1
            each = self._step_seconds(1, from_images)
            tests = NUM_STEPS * recipe.stage1.batch_size if recipe.stage1.learning_rate == "auto" else 0
            seconds = attempts * (recipe.stage1.epochs * self._epoch_seconds(*each) + tests * each[0])
            parts.append(self._part("stage 1", f"{attempts} x {recipe.stage1.epochs} epochs at most", seconds))
        if self._prepared.trains_late_layers:
            each = self._step_seconds(2, self._prepared.source != "activations")
            tests = NUM_STEPS * recipe.stage2.batch_size if recipe.stage2.learning_rate == "auto" else 0
            seconds = recipe.stage2.epochs * self._epoch_seconds(*each) + tests * each[0]
            parts.append(self._part("stage 2", f"{recipe.stage2.epochs} epochs at most", seconds))
        return parts

    def _epoch_seconds(self, train_each: float, evaluate_each: float) -> float:
        sample = min(self._num_train, self._num_validation)
        return self._num_train * train_each + (self._num_validation + sample) * evaluate_each

    def _step_seconds(self, stage: int, from_images: bool) -> tuple[float, float]:
        """Seconds per image of a training step and of an evaluation."""
        prepared, runtime = self._prepared, self._setting.runtime
        recipe = self._request.recipe.stage1 if stage == 1 else self._request.recipe.stage2
        num_classes = len(self._dataset.classes)
        head = build_head(self._request.recipe.head, prepared.num_features, num_classes, 0)
        inputs: tuple[torch.Tensor, ...] = (self._images,)
        suffix: torch.nn.Module = prepared.network
        if not from_images and stage == 1:
            inputs, suffix = (torch.randn(recipe.batch_size, prepared.num_features),), torch.nn.Identity()
        elif not from_images and prepared.split is not None:
            inputs = runtime.frozen(prepared.split.prefix, "").run(self._images)
            inputs = tuple(tensor.clone() for tensor in inputs)
            suffix = prepared.split.suffix
        network = LateNetwork(suffix, head).to(runtime.device)
        labels_n = torch.zeros(len(inputs[0]), dtype=torch.int64, device=runtime.device)
        optimiser = build_optimiser(head, recipe, 0.0, 0.0)
        enter = training_mode(network, prepared.boundary, prepared.updates_statistics)

        def step() -> None:
            enter()
            with runtime.autocast():
                loss = functional.cross_entropy(network(*inputs).float(), labels_n)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()

        def evaluate() -> None:
            network.eval()
            with torch.inference_mode(), runtime.autocast():
                network(*inputs)

        decoding = self._decode_seconds() if from_images else 0.0
        return _seconds(step) / len(inputs[0]) + decoding, _seconds(evaluate) / len(inputs[0]) + decoding

    def _whole_seconds(self) -> float:
        return self._seconds_with_decoding(self._setting.runtime.frozen(self._prepared.network, "").run)

    def _evaluation_seconds(self) -> float:
        """The predictor's arithmetic is float32."""

        def run(images: torch.Tensor) -> None:
            with torch.inference_mode():
                self._prepared.network(images)

        return self._seconds_with_decoding(run)

    def _seconds_with_decoding(self, run: Callable[[torch.Tensor], object]) -> float:
        """Seconds per image where decoding runs beside the network."""
        runtime = self._setting.runtime
        run(self._images)
        started, done = time.perf_counter(), 0
        for batch in self._decode(np.arange(self._num_train)):
            run(batch.to(runtime.device))
            done += len(batch)
            if time.perf_counter() - started > CALIBRATION_SECONDS:
                break
        return (time.perf_counter() - started) / done

    def _decode_seconds(self) -> float:
        started, done = time.perf_counter(), 0
        for batch in self._decode(np.arange(min(64, self._num_train))):
            done += len(batch)
        return (time.perf_counter() - started) / done

    def _decode(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        return decode_batches(
            self._dataset.train,
            rows,
            np.zeros_like(rows),
            self._prepared.backbone.preprocessing,
            self._request.recipe.views,
            CALIBRATION_BATCH,
        )

    def _decoded_batch(self) -> torch.Tensor:
        rows = np.arange(min(CALIBRATION_BATCH, len(self._dataset.train)))
        return next(iter(self._decode(rows))).to(self._setting.runtime.device)

    def _images_text(self, rows: int) -> str:
        views = self._prepared.num_views
        return f"{rows:,} images{f', {views} views each in training' if views > 1 else ''}" if rows else "in the store"

    def _part(self, part: str, how_often: str, seconds: float, disk_bytes: int = 0) -> PlannedPart:
        return PlannedPart(self._request.name, part, how_often, seconds, disk_bytes)


def _seconds(action: Callable[[], object]) -> float:
    """Seconds of one call, after one that is not counted."""
    action()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < CALIBRATION_SECONDS / 2:
        action()
        calls += 1
    return (time.perf_counter() - started) / calls
