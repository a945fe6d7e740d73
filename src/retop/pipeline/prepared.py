"""A run before its first computation: network, boundary, split, and where its inputs will come from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from retop.activations.fill import FrozenComputation, view_key
from retop.activations.key import EntryKey
from retop.backbones import (
    Backbone,
    Boundary,
    Group,
    ImageNetwork,
    SplitNetwork,
    build_backbone,
    choose_boundary,
    freeze,
    split_network,
)
from retop.backbones.folding import fold_batch_norms
from retop.data import Dataset
from retop.errors import NotTraceableError, StoreError, UsageError
from retop.evaluation.numerals import size
from retop.pipeline.request import RunRequest, Setting
from retop.records import Preprocessing
from retop.room import memory_room
from retop.training import Runtime
from retop.training.stages import PENALTIES_C

MEMORY_FRACTION = 0.5

Source = Literal["activations", "features", "pixels", "images"]


@dataclass(frozen=True)
class PreparedRun:
    """A network that is ready to be run.

    Attributes:
        request: what was asked for.
        backbone: the network with its weights.
        boundary: what stage 2 trains.
        network: images to features, whole.
        split: the same in two parts; None where only the whole network can or need be run.
        source: ``activations``: late layers train from the store; ``features``: the head alone trains from the
            store; ``pixels``: the whole network trains on crops of stored images; ``images``: nothing is stored.
        reason: why the whole network runs in every epoch; None where it does not.
        num_features: F, values that enter the head.
        features_fit: whether the features of view 0 of all images can be held in memory.
    """

    request: RunRequest
    backbone: Backbone
    boundary: Boundary
    network: ImageNetwork
    split: SplitNetwork | None
    source: Source
    reason: str | None
    num_features: int
    features_fit: bool

    @property
    def trains_late_layers(self) -> bool:
        """Whether there is a stage 2 with thawed layers."""
        recipe = self.request.recipe
        return self.request.kind != "probe" and recipe.stage2.epochs > 0 and self.boundary.group is not None

    @property
    def frozen_groups(self) -> tuple[Group, ...]:
        """Groups of layers that keep their pretrained weights, from the stem on."""
        groups = self.backbone.groups
        names = [group.name for group in groups]
        return groups[: names.index(self.boundary.group)] if self.trains_late_layers and self.boundary.group else groups

    @property
    def updates_statistics(self) -> bool:
        """Whether thawed batch norms follow their batches."""
        choice = self.request.recipe.batch_norm
        return choice == "update" or (choice == "auto" and self.backbone.weights.source == "random")

    @property
    def num_views(self) -> int:
        """V."""
        return self.request.recipe.views.count

    @property
    def needs_features(self) -> bool:
        """Whether something learns from the features of the frozen network."""
        return self.request.kind == "probe" or self.request.recipe.stage1.epochs > 0

    @property
    def holds_features(self) -> bool:
        """Whether stage 1 without a store holds the features in memory, because they are the same in every epoch."""
        return self.source == "images" and self.num_views == 1 and self.features_fit

    @property
    def late_suffix(self) -> nn.Module:
        """What stage 2 runs below the head: the suffix where it learns from the store, else the whole network."""
        return self.split.suffix if self.split is not None and self.source == "activations" else self.network

    def frozen_suffix(self, split: SplitNetwork, runtime: Runtime) -> FrozenComputation:
        """The suffix as it is before training: what turns stored activations into features.

        Args:
            split: of this run.
            runtime: device and arithmetic.
        """
        suffix = fold_batch_norms(split.suffix) if runtime.folds else split.suffix
        return runtime.frozen(suffix, self.network_code)

    @property
    def network_code(self) -> str:
        """Text that, with the weights, determines the features of an input."""
        backbone, network = self.backbone, self.network
        return f"{network.output} {backbone.architecture} {sorted(backbone.model_args.items())} {network}"


def prepare(request: RunRequest, dataset: Dataset, setting: Setting) -> PreparedRun:
    """Build and cut a network and decide where its inputs come from.

    Args:
        request: what is asked for.
        dataset: the images.
        setting: device and store.

    Returns:
        The prepared run.

    Raises:
        BackboneError: the network or its weights cannot be had.
        UsageError: the boundary does not exist.
    """
    backbone = build_backbone(
        request.backbone, request.weights, seed=request.seed, image_size=request.recipe.image_size
    )
    boundary = choose_boundary(backbone, request.recipe.thaw)
    freeze(backbone.network, boundary)
    network = ImageNetwork(backbone, "map" if request.recipe.head.kind == "mlp" else "pooled").eval()
    example, features = _example(network, backbone)
    num_features = features.shape[1]
    fit = _features_bytes(dataset, num_features) < MEMORY_FRACTION * memory_room().left_bytes
    if request.recipe.views.preset == "fresh":
        _check_pixels(backbone.preprocessing, dataset, setting)
        return PreparedRun(request, backbone, boundary, network, None, "pixels", None, num_features, fit)
    split, reason = _split(network, backbone, boundary, example, features, setting.runtime.folds)
    wanted = boundary.group is not None and request.recipe.stage2.epochs > 0
    source: Source = "activations" if wanted and split is not None else "features"
    reason = reason if wanted else None
    if setting.store is None:
        source, reason = "images", "the store is switched off (--cache off)"
    else:
        rows = len(dataset.train) * request.recipe.views.count + len(dataset.validation)
        feature_bytes = rows * num_features * setting.runtime.stored.itemsize
        if source == "activations" and split is not None:
            needed = rows * split.bytes_per_image(setting.runtime.stored)
            needed += feature_bytes if request.recipe.stage1.epochs > 0 else 0
            if not setting.store.fits(needed):
                source, reason = "features", _too_small(request, "activations", needed, setting.store.limit_bytes)
        if source == "features" and not setting.store.fits(feature_bytes):
            source, reason = "images", _too_small(request, "features", feature_bytes, setting.store.limit_bytes)
    return PreparedRun(
        lengthened(request, source, len(dataset.train)),
        backbone,
        boundary,
        network,
        split,
        source,
        reason,
        num_features,
        fit,
    )


def _too_small(request: RunRequest, what: Literal["activations", "features"], needed: int, limit: int) -> str:
    fewer = "fewer views (--views 1), " if request.recipe.views.count > 1 else ""
    later = "a later boundary (--thaw), " if what == "activations" else ""
    return (
        f"the {what} would take {size(needed)} and the store may hold {size(limit)}; {fewer}{later}a higher limit "
        f"(--cache-limit GIB) or more disk (--cache DIR) would do"
    )


def lengthened(request: RunRequest, source: Source, num_train: int) -> RunRequest:
    """The stages that train from the store with as many epochs as `min_steps` asks for; the others cost too much.

    Args:
        request: what was asked for.
        source: of the inputs.
        num_train: images to learn from.
    """
    recipe = request.recipe
    if source != "images":
        recipe = replace(recipe, stage1=recipe.stage1.lengthened(num_train))
    if source == "activations":
        recipe = replace(recipe, stage2=recipe.stage2.lengthened(num_train))
    return replace(request, recipe=recipe)


def pixel_bytes(preprocessing: Preprocessing) -> int:
    """Bytes of one stored image of 8-bit pixels."""
    return 3 * preprocessing.height * preprocessing.width


def _check_pixels(preprocessing: Preprocessing, dataset: Dataset, setting: Setting) -> None:
    if setting.store is None:
        raise UsageError(
            "views.preset is 'fresh', which crops stored images, but the store is switched off (--cache off, "
            "cache=False); leave that out, or set views.preset=standard"
        )
    needed = (len(dataset.train) + len(dataset.validation)) * pixel_bytes(preprocessing)
    if not setting.store.fits(needed):
        raise StoreError(
            f"the images would take {needed / 2**30:.1f} GiB of pixels and the store may hold "
            f"{setting.store.limit_bytes / 2**30:.1f} GiB; give more disk (--cache DIR, --cache-limit GIB), or take "
            f"fewer images (--set data.images_per_class=100)"
        )


def stored_keys(prepared: PreparedRun, dataset: Dataset, frozen: FrozenComputation) -> dict[EntryKey, int]:
    """Keys of what a frozen part makes of the training images, in all views, and of the validation images.

    Args:
        prepared: the run.
        dataset: the images.
        frozen: the whole network, or the prefix.

    Returns:
        Rows by key.
    """
    preprocessing, views = prepared.backbone.preprocessing, prepared.request.recipe.views
    sets = [(dataset.train, view) for view in range(views.count)] + [(dataset.validation, 0)]
    return {view_key(images, preprocessing, views, view, frozen): len(images) for images, view in sets}


def feature_keys(activations: dict[EntryKey, int], frozen: FrozenComputation) -> dict[EntryKey, int]:
    """Keys of the features that a frozen suffix makes of stored activations, as `store_features` forms them.

    Args:
        activations: keys of its inputs.
        frozen: the suffix.

    Returns:
        Rows by key.
    """
    return {
        replace(key, graph=frozen.graph, weights=frozen.weights, parent=key.digest()): rows
        for key, rows in activations.items()
    }


def features_bytes(prepared: PreparedRun, dataset: Dataset) -> int:
    """Bytes of the float32 features of view 0 of all images that are learned from or chosen by.

    Args:
        prepared: the run.
        dataset: the images.
    """
    return _features_bytes(dataset, prepared.num_features)


def _features_bytes(dataset: Dataset, num_features: int) -> int:
    return (len(dataset.train) + len(dataset.validation)) * num_features * 4


def middle_penalty(num_images: int) -> float:
    """The weight decay in the middle of stage 1's grid, where trying all of it would cost too much.

    Args:
        num_images: N, images to learn from.
    """
    return 1 / (PENALTIES_C[len(PENALTIES_C) // 2] * num_images)


@contextmanager
def only_head(prepared: PreparedRun) -> Iterator[None]:
    """Freeze the whole backbone for a while, as stage 1 wants it.

    Args:
        prepared: the run.
    """
    trained = [p for p in prepared.network.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _example(network: ImageNetwork, backbone: Backbone) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of noise and their features."""
    size = (backbone.preprocessing.height, backbone.preprocessing.width)
    noise = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return noise, network(noise)


def _split(
    network: ImageNetwork,
    backbone: Backbone,
    boundary: Boundary,
    example: torch.Tensor,
    features: torch.Tensor,
    fold: bool,
) -> tuple[SplitNetwork | None, str | None]:
    """The network in two parts that together give what the whole gives, or why there is none."""
    size = (backbone.preprocessing.height, backbone.preprocessing.width)
    try:
        split = split_network(network, boundary.parameter_names, size)
    except NotTraceableError as error:
        return None, f"the network's graph cannot be recorded: {error}"
    if fold:
        split.prefix = fold_batch_norms(split.prefix)
        split.fingerprint_code += "\nbatch norms folded"
    with torch.inference_mode():
        again = split.suffix(*split.prefix(example))
    if not torch.allclose(again, features, rtol=1e-3, atol=1e-4 * float(features.abs().max()), equal_nan=True):
        return None, "its two parts do not give what the whole network gives"
    return split, None
