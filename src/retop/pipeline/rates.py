"""How long one image takes in each part of a run, measured on a few images."""

# N images, F features

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from statistics import median

import numpy as np
import torch
from torch import nn

from retop.activations.fill import VIEWS_AT_ONCE, FrozenComputation
from retop.activations.store import PREFIX_BATCH
from retop.backbones.head import build_head
from retop.data import Dataset
from retop.data.batches import decode_batches
from retop.pipeline.frozen import HeldInputs
from retop.pipeline.prepared import PreparedRun, only_head
from retop.pipeline.request import Setting
from retop.recipe import StageRecipe
from retop.training import (
    CroppedInputs,
    DecodedInputs,
    Inputs,
    LabelledInputs,
    LateNetwork,
    StoredInputs,
    fit,
    training_mode,
)
from retop.training.regression import fitting

CALIBRATION_SECONDS = 0.2
LARGEST_CALIBRATION = 2048
# The median of so many calls, unless they take long: what else the machine does now and then is not the network's.
FEWEST_CALLS = 3
LONG_SECONDS = 2.0
# Networks that take long for a full batch are measured on smaller ones.
SMALL_BATCH, SMALL_BATCH_SECONDS = 8, 0.25
FITTED_ROWS = 512
# What a fit on features of photographs took, in the mean over the probe's penalties: for two classes, and for five.
TWO_CLASS_ITERATIONS, ITERATIONS = 20, 55


class Rates:
    """Measures one prepared run.

    Args:
        prepared: the run.
        dataset: the images.
        setting: device and store.
    """

    def __init__(self, prepared: PreparedRun, dataset: Dataset, setting: Setting) -> None:
        self._prepared = prepared
        self._recipe = prepared.request.recipe
        self._dataset = dataset
        self._runtime = setting.runtime
        self._num_train = len(dataset.train)
        rows = np.arange(min(PREFIX_BATCH, self._num_train))
        self._images = next(iter(self._decoded(rows, [0], PREFIX_BATCH)))

    def stored_seconds(self, frozen: FrozenComputation) -> float:
        """Seconds for one view of an image: decoded, through the frozen part, and to where the store takes it.

        An image is decoded once for several of its views, and so it is here.

        Args:
            frozen: the prefix, or the whole network.
        """

        def run(images: torch.Tensor) -> None:
            _on_cpu(frozen.run(images), frozen.stored)

        return self._decoding_seconds(run, range(min(self._prepared.num_views, VIEWS_AT_ONCE)))

    def suffix_seconds(self, prefix: FrozenComputation, suffix: FrozenComputation) -> float:
        """Seconds for the features of one stored view.

        Args:
            prefix: makes what is stored.
            suffix: makes features of it.
        """
        crossings = prefix.run(self._images)
        return _seconds(lambda: _on_cpu(suffix.run(*crossings), suffix.stored)) / len(self._images)

    def feature_seconds(self) -> float:
        """Seconds for the features of one image that are held in memory."""

        def run(images: torch.Tensor) -> None:
            with torch.inference_mode(), self._runtime.autocast():
                self._prepared.network(images).float().cpu()

        return self._decoding_seconds(run, [0])

    def evaluation_seconds(self) -> float:
        """Seconds for one image in the predictor's arithmetic, float32."""

        def run(images: torch.Tensor) -> None:
            with torch.inference_mode():
                self._prepared.network(images).cpu()

        return self._decoding_seconds(run, [0])

    def epoch_seconds(self, stage: int, *, from_features: bool) -> tuple[float, float]:
        """Seconds for one image of training and of evaluation, measured on the loop itself.

        Args:
            stage: 1 or 2.
            from_features: whether stage 1 reads features, from the store or from memory.
        """
        inputs, suffix = self._inputs(stage, from_features)
        head = build_head(self._recipe.head, self._prepared.num_features, len(self._dataset.classes), 0)
        network = LateNetwork(suffix, head)
        self._runtime.place(network)
        if stage == 2:
            return self._loop_seconds(stage, network, inputs)
        with only_head(self._prepared):
            return self._loop_seconds(stage, network, inputs)

    def fit_seconds(self, num_fits: int, num_rows: int) -> float:
        """Seconds of logistic regressions on features, as the probe makes them.

        Args:
            num_fits: how many.
            num_rows: images that each learns from.
        """
        iterations = TWO_CLASS_ITERATIONS if len(self._dataset.classes) == 2 else ITERATIONS
        return num_fits * iterations * num_rows * self._iteration_seconds

    @cached_property
    def _iteration_seconds(self) -> float:
        """Seconds of one image in one iteration of a fit, on features of noise."""
        from sklearn.linear_model import LogisticRegression

        num_rows, num_features = min(FITTED_ROWS, self._num_train), self._prepared.num_features
        features_nf = np.random.default_rng(0).standard_normal((num_rows, num_features), dtype=np.float32)
        labels_n = np.arange(num_rows) % min(len(self._dataset.classes), num_rows)
        model = LogisticRegression(C=1.0, max_iter=TWO_CLASS_ITERATIONS, tol=0.0)
        started = time.perf_counter()
        with fitting(features_nf.size):
            model.fit(features_nf, labels_n)
        return (time.perf_counter() - started) / (num_rows * int(model.n_iter_[0]))

    def _loop_seconds(self, stage: int, network: LateNetwork, inputs: Inputs) -> tuple[float, float]:
        # The first call of anything costs more than all later ones, and so does the first of each size of batch.
        batch = min(self._stage_recipe(stage).batch_size, self._num_train)
        most = max(batch, min(self._num_train, LARGEST_CALIBRATION) // batch * batch)
        # On a device eight images take as long as a batch, so nothing is known from them.
        on_device = self._runtime.device.type != "cpu"
        rows, epochs = batch if on_device else min(SMALL_BATCH, batch), 1
        self._fit(stage, network, inputs, rows, epochs)
        while True:
            if on_device:
                # A device makes kernels for every size of batch, also of the last one; some take seconds to make.
                self._fit(stage, network, inputs, rows, epochs=1)
            judged, trained = self._fit(stage, network, inputs, rows, epochs)
            if judged + trained > (SMALL_BATCH_SECONDS if rows < batch else CALIBRATION_SECONDS):
                return max(0.0, trained / epochs - judged) / rows, judged / rows
            if rows < batch:
                rows = batch
                self._fit(stage, network, inputs, rows, epochs)
            else:
                rows, epochs = (min(4 * rows, most), epochs) if rows < most else (rows, 2 * epochs)

    def _fit(self, stage: int, network: LateNetwork, inputs: Inputs, num_rows: int, epochs: int) -> tuple[float, float]:
        """Train on so many rows, judged by the same.

        Returns:
            Seconds of judging them before the first step; and of all epochs, each with its judging. What a fit takes
            besides, once, is in neither: it does not grow with images and epochs.
        """
        rows = np.resize(np.arange(len(inputs)), num_rows)
        data = LabelledInputs(inputs, np.zeros(len(inputs), dtype=np.int64), rows)
        fitted = fit(
            network,
            training_mode(network, self._prepared.boundary, stage == 2 and self._prepared.updates_statistics),
            data,
            None,
            data,
            replace(self._stage_recipe(stage), epochs=epochs, patience=None),
            learning_rate=1e-12,
            weight_decay=0.0,
            seed=0,
            stage=stage,
            runtime=self._runtime,
            on_epoch=lambda epoch: None,
        )
        before, *epochs_after = fitted.history
        return before.seconds, sum(record.seconds for record in epochs_after)

    def _stage_recipe(self, stage: int) -> StageRecipe:
        return self._recipe.stage1 if stage == 1 else self._recipe.stage2

    def _inputs(self, stage: int, from_features: bool) -> tuple[Inputs, nn.Module]:
        """Inputs like those of the stage, and what they enter."""
        prepared, runtime, views = self._prepared, self._runtime, self._recipe.views
        if stage == 1 and from_features:
            features_nf = torch.randn(min(self._num_train, 8 * PREFIX_BATCH), prepared.num_features)
            if prepared.source == "images":
                return HeldInputs(features_nf), nn.Identity()
            return StoredInputs([HeldRows(features_nf.to(runtime.stored))] * views.count), nn.Identity()
        if stage == 2 and prepared.source == "activations" and prepared.split is not None:
            crossings = _on_cpu(runtime.frozen(prepared.split.prefix, "").run(self._images), runtime.stored)
            return StoredInputs([HeldRows(*crossings)] * views.count), prepared.split.suffix
        if prepared.source == "pixels":
            # Work goes with the area, so one side stands for them all.
            side = math.sqrt(sum(side**2 for side in views.sides) / len(views.sides))
            pixels = HeldInputs(self._images.cpu())
            return CroppedInputs(pixels, replace(views, sides=(side,)), 1, 0), prepared.network
        return DecodedInputs(self._dataset.train, prepared.backbone.preprocessing, views), prepared.network

    def _decoding_seconds(self, run: Callable[[torch.Tensor], None], views: Sequence[int]) -> float:
        """Seconds for each of these views of an image where the next batch is decoded while the network runs."""
        batch_size = self._batch_size(run)
        rows = np.resize(np.arange(self._num_train), LARGEST_CALIBRATION)
        batches = self._decoded(rows, views, batch_size)
        batch, seconds = next(batches), []
        started = time.perf_counter()
        for coming in batches:
            run(batch)
            batch = coming
            seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
            if _suffice(seconds):
                break
        return median(seconds) / batch_size

    def _batch_size(self, run: Callable[[torch.Tensor], None]) -> int:
        """The batch of the run, or a smaller one where that takes long; its kernels are made, which happens once."""
        small = self._images[:SMALL_BATCH]
        run(small)
        started = time.perf_counter()
        run(small)
        if time.perf_counter() - started > SMALL_BATCH_SECONDS:
            return SMALL_BATCH
        run(self._images)
        return PREFIX_BATCH

    def _decoded(self, rows: np.ndarray, views: Sequence[int], batch_size: int) -> Iterator[torch.Tensor]:
        batches = decode_batches(
            self._dataset.train,
            np.repeat(rows, len(views)),
            np.tile(views, len(rows)),
            self._prepared.backbone.preprocessing,
            self._recipe.views,
            batch_size,
            ahead=1,
        )
        return (batch.to(self._runtime.device) for batch in batches)


class HeldRows:
    """Rows in memory that are read like those of a store's entry.

    Args:
        tensors: [N, ...], one per crossing.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._tensors = tensors

    def __len__(self) -> int:
        return len(self._tensors[0])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return sum(tensor[0].nbytes for tensor in self._tensors)

    def gather(self, rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        """Copies of rows."""
        return tuple(tensor[torch.from_numpy(rows)] for tensor in self._tensors)


def _on_cpu(tensors: tuple[torch.Tensor, ...], stored: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Results as the store takes them; bringing them here also waits for a device that works on its own."""
    return tuple(t.to("cpu", stored if t.is_floating_point() else t.dtype).clone() for t in tensors)


def _suffice(seconds: list[float]) -> bool:
    """Whether calls that took so long say enough."""
    return sum(seconds) > LONG_SECONDS or (len(seconds) >= FEWEST_CALLS and sum(seconds) > CALIBRATION_SECONDS)


def _seconds(action: Callable[[], object]) -> float:
    """Median seconds of a call, after one that is not counted; the action ends with its results on the CPU."""
    action()
    seconds: list[float] = []
    while not _suffice(seconds):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return median(seconds)
