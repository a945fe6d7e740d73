"""Inputs for both stages: from the store, filled where it is not yet, or from images."""

# N images, F features

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from retop.activations import ActivationStore, Entry, StoredView, store_features, store_views
from retop.activations.fill import FrozenComputation
from retop.activations.store import PREFIX_BATCH
from retop.data import Dataset, ImageSet
from retop.device import in_parts_that_fit
from retop.errors import RunError
from retop.events import PartAdvanced
from retop.pipeline.clock import Clock
from retop.pipeline.prepared import PreparedRun, pixel_bytes, stored_keys
from retop.pipeline.request import Setting
from retop.training import CroppedInputs, DecodedInputs, Inputs, StoredInputs
from retop.training.order import Rows, batch_bounds

FEATURE_BATCH = 256


@dataclass(frozen=True)
class SplitInputs:
    """Inputs of one split for both stages.

    Attributes:
        features: inputs of the head alone; images where nothing is stored.
        late: inputs of the late layers; None where they are not trained.
    """

    features: Inputs
    late: Inputs | None


class FrozenPart:
    """Runs the frozen part of a prepared network over a dataset, at most once per image view.

    Args:
        prepared: the network.
        dataset: the images.
        setting: device and store.
        clock: times the parts.
    """

    def __init__(self, prepared: PreparedRun, dataset: Dataset, setting: Setting, clock: Clock) -> None:
        self._prepared = prepared
        self._dataset = dataset
        self._setting = setting
        self._clock = clock

    def inputs(self) -> tuple[SplitInputs, SplitInputs]:
        """Inputs of the training images, in all views, and of the validation images, in view 0.

        Raises:
            StoreError: the store cannot be written.
            UnreadableImageError: an image vanished or changed since it was indexed.
        """
        sets = [(self._dataset.train, range(self._prepared.num_views)), (self._dataset.validation, range(1))]
        if self._prepared.source == "images":
            decoded = [self._decoded(images) for images, _ in sets]
            return SplitInputs(decoded[0], decoded[0]), SplitInputs(decoded[1], decoded[1])
        if self._prepared.source == "pixels":
            return self._crops(sets)
        late: list[Inputs | None]
        if self._prepared.source == "features":
            features = self._from_images(sets, self._whole(), "features")
            late = [self._decoded(images) if self._prepared.trains_late_layers else None for images, _ in sets]
        else:
            activations = self._from_images(sets, self._prefix(), "prefix")
            features = self._from_activations(activations) if self._prepared.needs_features else activations
            late = [_stored(views) for views in activations]
        return SplitInputs(_stored(features[0]), late[0]), SplitInputs(_stored(features[1]), late[1])

    def _crops(self, sets: Sequence[tuple[ImageSet, Sequence[int]]]) -> tuple[SplitInputs, SplitInputs]:
        """Stored pixels: cropped anew in every epoch for training, as they are for validation."""
        pixels = self._setting.runtime.frozen(nn.Identity(), "pixels")
        train, validation = (_stored(views) for views in self._from_images(sets, pixels, "pixels"))
        recipe = self._prepared.request.recipe
        crops = CroppedInputs(train, recipe.views, recipe.stage2.epochs, self._prepared.request.seed)
        return SplitInputs(crops, crops), SplitInputs(validation, validation)

    def _from_images(
        self, sets: Sequence[tuple[ImageSet, Sequence[int]]], frozen: FrozenComputation, part: str
    ) -> list[list[StoredView]]:
        store = self._setting.store
        if store is None:
            raise RunError("nothing can be stored with the store switched off; this is a defect of retop")
        prepared = self._prepared
        if prepared.split is not None and part == "prefix":
            self._make_room(store, frozen, prepared.split.bytes_per_image(self._setting.runtime.stored))
        elif part == "pixels":
            self._make_room(store, frozen, pixel_bytes(prepared.backbone.preprocessing))
        total = sum(len(images) * len(views) for images, views in sets)
        with self._part("prefix", total, store) as shown:
            return [
                store_views(
                    store,
                    images,
                    prepared.backbone.preprocessing,
                    prepared.request.recipe.views,
                    views,
                    frozen,
                    f"{prepared.backbone.name} {part}, {images.split}",
                    shown,
                    self._setting.listener,
                )
                for images, views in sets
            ]

    def _from_activations(self, activations: list[list[StoredView]]) -> list[list[StoredView]]:
        store, split = self._setting.store, self._prepared.split
        if store is None or split is None:
            raise RunError("features were asked for without activations; this is a defect of retop")
        frozen = self._prepared.frozen_suffix(split, self._setting.runtime)
        name = self._prepared.backbone.name
        of = [f"{name} features, {images.split}" for images in (self._dataset.train, self._dataset.validation)]
        total = sum(len(view.entry) for views in activations for view in views)
        with self._part("features", total, store) as shown:
            return [
                [store_features(store, view, frozen, about, shown, self._setting.listener) for view in views]
                for about, views in zip(of, activations, strict=True)
            ]

    @contextmanager
    def _part(self, name: str, total: int, store: ActivationStore) -> Iterator[str]:
        """A part whose results the store keeps, timed and weighed."""
        before = store.written_bytes
        with self._clock.part(name, total, "images") as shown:
            try:
                yield shown
            finally:
                self._clock.stored(name, store.written_bytes - before)

    def _prefix(self) -> FrozenComputation:
        split = self._prepared.split
        if split is None:
            raise RunError("the network has no prefix; this is a defect of retop")
        return self._setting.runtime.frozen(split.prefix, split.fingerprint_code)

    def _whole(self) -> FrozenComputation:
        return self._setting.runtime.frozen(self._prepared.network, self._prepared.network_code)

    def _make_room(
        self,
        store: ActivationStore,
        frozen: FrozenComputation,
        row_bytes: int,
    ) -> None:
        """Evict for what is missing, and nothing that this run will read."""
        sizes = stored_keys(self._prepared, self._dataset, frozen)
        missing = sum(rows for key, rows in sizes.items() if not store.holds(key))
        store.make_room(missing * row_bytes, keep={key.digest() for key in sizes})

    def _decoded(self, images: ImageSet) -> DecodedInputs:
        return DecodedInputs(images, self._prepared.backbone.preprocessing, self._prepared.request.recipe.views)


class HeldInputs:
    """Inputs of one view that are held in memory.

    Args:
        tensors: one [N, ...] per input of the network.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._tensors = tensors

    def __len__(self) -> int:
        return len(self._tensors[0])

    def views(self, seed: int, stage: int, epoch: int) -> Rows:
        """View 0 of every image."""
        return np.zeros(len(self), dtype=np.int64)

    def batches(
        self, rows: Rows, views: Rows, batch_size: int, first: int = 0
    ) -> Iterator[tuple[Rows, tuple[torch.Tensor, ...]]]:
        """See `Inputs.batches`."""
        for low, high in batch_bounds(len(rows), batch_size)[first:]:
            part = rows[low:high]
            yield part, tuple(tensor[torch.from_numpy(part)] for tensor in self._tensors)


def feature_batches(inputs: Inputs, network: torch.nn.Module, setting: Setting) -> Iterator[torch.Tensor]:
    """Features [N, F] of view 0 of all images, in order, in float32.

    Args:
        inputs: features from the store, or images.
        network: what turns the inputs into features; the identity for stored features.
        setting: device, arithmetic, and whether somebody asked to stop.

    Yields:
        Batches on the CPU.

    Raises:
        StoppedError: somebody asked to stop; asked before every batch.
    """
    rows = np.arange(len(inputs))
    # A batch of images takes the memory of all the network's layers, one of features next to none.
    batch_size = FEATURE_BATCH if isinstance(inputs, StoredInputs) else PREFIX_BATCH
    at_once = None if isinstance(inputs, StoredInputs) else setting.runtime.images_at_once
    device = setting.runtime.device

    def placed(*part: torch.Tensor) -> torch.Tensor:
        return network(*(tensor.to(device) for tensor in part))  # type: ignore[no-any-return]

    with torch.inference_mode():
        for _, tensors in inputs.batches(rows, np.zeros_like(rows), batch_size):
            setting.stop.check()
            with setting.runtime.autocast():
                (features_nf,) = in_parts_that_fit(placed, tensors, device, at_once)
            yield features_nf.float().cpu()


def collect_features(
    inputs: Inputs, network: torch.nn.Module, num_features: int, setting: Setting, part: str
) -> npt.NDArray[np.float32]:
    """Features [N, F] of view 0 of all images in memory, N x F x 4 bytes.

    Args:
        inputs: as for `feature_batches`.
        network: as for `feature_batches`.
        num_features: F.
        setting: device, arithmetic and listener.
        part: name of the running part for progress events, in images.

    Returns:
        The features, in the order of the images.
    """
    features_nf = np.empty((len(inputs), num_features), dtype=np.float32)
    done = 0
    for batch_nf in feature_batches(inputs, network, setting):
        features_nf[done : done + len(batch_nf)] = batch_nf.numpy()
        done += len(batch_nf)
        setting.listener(PartAdvanced(part, len(batch_nf)))
    return features_nf


def _stored(views: Sequence[StoredView]) -> StoredInputs:
    entries: list[Entry] = [view.entry for view in views]
    return StoredInputs(entries)
