"""A run before its first computation: network, boundary, split, and where its inputs will come from."""

from dataclasses import dataclass
from typing import Literal

import torch

from retop.activations.fill import view_key
from retop.backbones import (
    Backbone,
    Boundary,
    ImageNetwork,
    SplitNetwork,
    build_backbone,
    choose_boundary,
    freeze,
    split_network,
)
from retop.backbones.folding import fold_batch_norms
from retop.data import Dataset
from retop.errors import NotTraceableError
from retop.pipeline.request import RunRequest, Setting


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
            store; ``images``: nothing is stored.
        reason: why the whole network runs in every epoch of stage 2; None where it does not.
        num_features: F, values that enter the head.
    """

    request: RunRequest
    backbone: Backbone
    boundary: Boundary
    network: ImageNetwork
    split: SplitNetwork | None
    source: Literal["activations", "features", "images"]
    reason: str | None
    num_features: int

    @property
    def trains_late_layers(self) -> bool:
        """Whether there is a stage 2 with thawed layers."""
        recipe = self.request.recipe
        return self.request.kind != "probe" and recipe.stage2.epochs > 0 and self.boundary.group is not None

    @property
    def updates_statistics(self) -> bool:
        """Whether thawed batch norms follow their batches."""
        choice = self.request.recipe.batch_norm
        return choice == "update" or (choice == "auto" and self.backbone.weights.source == "random")

    @property
    def num_views(self) -> int:
        """V."""
        return self.request.recipe.views.count


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
    backbone = build_backbone(request.backbone, request.weights, seed=request.seed)
    boundary = choose_boundary(backbone, request.recipe.thaw)
    freeze(backbone.network, boundary)
    network = ImageNetwork(backbone, "map" if request.recipe.head.kind == "mlp" else "pooled").eval()
    example, features = _example(network, backbone)
    split, reason = _split(network, backbone, boundary, example, features, setting.runtime.folds)
    wanted = boundary.group is not None and request.recipe.stage2.epochs > 0
    source: Literal["activations", "features", "images"] = "activations"
    if setting.store is None:
        source, reason = "images", "the store is switched off (--cache off)"
    elif not wanted:
        source, reason = "features", None
    elif split is None:
        source = "features"
    else:
        needed = stored_bytes(split, dataset, request.recipe.views.count, setting)
        if not setting.store.fits(needed):
            source = "features"
            reason = (
                f"the activations would take {needed / 2**30:.1f} GiB and the store may hold "
                f"{setting.store.limit_bytes / 2**30:.1f} GiB; fewer views (--views 1), a later boundary (--thaw) or "
                f"more disk (--cache DIR) would do"
            )
    return PreparedRun(request, backbone, boundary, network, split, source, reason, features.shape[1])


def stored_bytes(split: SplitNetwork, dataset: Dataset, num_views: int, setting: Setting) -> int:
    """Bytes of the activations of all views."""
    rows = len(dataset.train) * num_views + len(dataset.validation)
    return rows * split.bytes_per_image(setting.runtime.stored)


def missing_rows(prepared: PreparedRun, dataset: Dataset, setting: Setting) -> int:
    """Rows of activations that are not in the store yet.

    Args:
        prepared: with activations as its source.
        dataset: the images.
        setting: device and store.
    """
    if setting.store is None or prepared.split is None:
        return 0
    frozen = setting.runtime.frozen(prepared.split.prefix, prepared.split.fingerprint_code)
    views = prepared.request.recipe.views
    missing = 0
    for images, view in [(dataset.train, view) for view in range(views.count)] + [(dataset.validation, 0)]:
        key = view_key(images, prepared.backbone.preprocessing, views, view, frozen)
        missing += 0 if setting.store.holds(key) else len(images)
    return missing


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
