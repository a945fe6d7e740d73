"""Inputs for both stages: from the store, filled where it is not yet, or from images."""

# N images, F features

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from retop.activations import ActivationStore, Entry, StoredView, store_features, store_view
from retop.activations.fill import FrozenComputation, view_key
from retop.backbones.folding import fold_batch_norms
from retop.data import Dataset, ImageSet
from retop.errors import RunError
from retop.pipeline.clock import Clock
from retop.pipeline.prepared import PreparedRun
from retop.pipeline.request import Setting
from retop.training import DecodedInputs, Inputs, StoredInputs

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
        late: list[Inputs | None]
        if self._prepared.source == "features":
            features = self._from_images(sets, self._whole(), "features")
            late = [self._decoded(images) if self._prepared.trains_late_layers else None for images, _ in sets]
        else:
            activations = self._from_images(sets, self._prefix(), "prefix")
            features = self._from_activations(activations) if self._needs_features else activations
            late = [_stored(views) for views in activations]
        return SplitInputs(_stored(features[0]), late[0]), SplitInputs(_stored(features[1]), late[1])

    @property
    def _needs_features(self) -> bool:
        return self._prepared.request.kind == "probe" or self._prepared.request.recipe.stage1.epochs > 0

    def _from_images(
        self, sets: Sequence[tuple[ImageSet, Sequence[int]]], frozen: FrozenComputation, part: str
    ) -> list[list[StoredView]]:
        store = self._setting.store
        if store is None:
            raise RunError("nothing can be stored with the store switched off; this is a defect of retop")
        prepared = self._prepared
        if prepared.split is not None and part == "prefix":
            self._make_room(store, sets, frozen, prepared.split.bytes_per_image(self._setting.runtime.stored))
        total = sum(len(images) * len(views) for images, views in sets)
        with self._clock.part("prefix", total, "images") as shown:
            return [
                [
                    store_view(
                        store,
                        images,
                        prepared.backbone.preprocessing,
                        prepared.request.recipe.views,
                        view,
                        frozen,
                        f"{prepared.backbone.name} {part}, {images.split}",
                        shown,
                        self._setting.listener,
                    )
                    for view in views
                ]
                for images, views in sets
            ]

    def _from_activations(self, activations: list[list[StoredView]]) -> list[list[StoredView]]:
        store, split = self._setting.store, self._prepared.split
        if store is None or split is None:
            raise RunError("features were asked for without activations; this is a defect of retop")
        runtime = self._setting.runtime
        suffix = fold_batch_norms(split.suffix) if runtime.folds else split.suffix
        frozen = runtime.frozen(suffix, self._network_code)
        about = f"{self._prepared.backbone.name} features"
        with self._clock.part("features", sum(map(len, activations)), "views"):
            return [[store_features(store, view, frozen, about) for view in views] for views in activations]

    def _prefix(self) -> FrozenComputation:
        split = self._prepared.split
        if split is None:
            raise RunError("the network has no prefix; this is a defect of retop")
        return self._setting.runtime.frozen(split.prefix, split.fingerprint_code)

    def _whole(self) -> FrozenComputation:
        return self._setting.runtime.frozen(self._prepared.network, self._network_code)

    @property
    def _network_code(self) -> str:
        """Text that, with the weights, determines the features of an input."""
        backbone, network = self._prepared.backbone, self._prepared.network
        return f"{network.output} {backbone.architecture} {sorted(backbone.model_args.items())} {network}"

    def _make_room(
        self,
        store: ActivationStore,
        sets: Sequence[tuple[ImageSet, Sequence[int]]],
        frozen: FrozenComputation,
        row_bytes: int,
    ) -> None:
        """Evict for what is missing, and nothing that this run will read."""
        preprocessing, recipe = self._prepared.backbone.preprocessing, self._prepared.request.recipe.views
        sizes = {
            view_key(images, preprocessing, recipe, view, frozen): len(images)
            for images, views in sets
            for view in views
        }
        missing = sum(rows for key, rows in sizes.items() if not store.holds(key))
        store.make_room(missing * row_bytes, keep={key.digest() for key in sizes})

    def _decoded(self, images: ImageSet) -> DecodedInputs:
        return DecodedInputs(images, self._prepared.backbone.preprocessing, self._prepared.request.recipe.views)


def feature_batches(inputs: Inputs, network: torch.nn.Module, setting: Setting) -> Iterable[torch.Tensor]:
    """Features [N, F] of view 0 of all images, in order, in float32.

    Args:
        inputs: features from the store, or images.
        network: what turns the inputs into features; the identity for stored features.
        setting: device and arithmetic.

    Yields:
        Batches on the CPU.
    """
    rows = np.arange(len(inputs))
    with torch.inference_mode():
        for _, tensors in inputs.batches(rows, np.zeros_like(rows), FEATURE_BATCH):
            with setting.runtime.autocast():
                yield network(*(tensor.to(setting.runtime.device) for tensor in tensors)).float().cpu()


def _stored(views: Sequence[StoredView]) -> StoredInputs:
    entries: list[Entry] = [view.entry for view in views]
    return StoredInputs(entries)
