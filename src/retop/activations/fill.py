"""Filling the store: run the frozen part once over each view."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from retop.activations.key import (
    EntryKey,
    arithmetic_key,
    augmentation_key,
    library_versions,
)
from retop.activations.store import PREFIX_BATCH, ActivationStore, Entry, Tensors
from retop.data import ImageSet
from retop.data.batches import decode_batches
from retop.events import Listener, PartAdvanced
from retop.recipe import ViewsRecipe
from retop.records import Preprocessing


@dataclass(frozen=True)
class FrozenComputation:
    """A frozen part of a network and how it is run.

    Attributes:
        run: a batch, which may lie on the CPU, to a tuple of tensors on `device`, without gradients, in arithmetic
            `dtype`; in parts where there is no memory for the whole.
        graph: SHA-256 of the computation's text.
        weights: SHA-256 of its parameters and buffers.
        device: where it runs.
        dtype: arithmetic.
        stored: number format of floating-point results on disk.
    """

    run: Callable[..., Tensors]
    graph: str
    weights: str
    device: torch.device
    dtype: torch.dtype
    stored: torch.dtype


@dataclass(frozen=True)
class StoredView:
    """One view of one set of images in the store.

    Attributes:
        key: its identity.
        entry: its rows, in the order of the images.
    """

    key: EntryKey
    entry: Entry


def view_key(
    images: ImageSet, preprocessing: Preprocessing, recipe: ViewsRecipe, view: int, frozen: FrozenComputation
) -> EntryKey:
    """The key of what a frozen part makes of one view of the images."""
    return EntryKey(
        images=images.fingerprint,
        preprocessing=preprocessing,
        view=view,
        augmentation=augmentation_key(recipe, view),
        graph=frozen.graph,
        weights=frozen.weights,
        arithmetic=arithmetic_key(frozen.device, frozen.dtype),
        stored=str(frozen.stored).removeprefix("torch."),
        parent="",
        versions=library_versions(),
    )


def store_view(
    store: ActivationStore,
    images: ImageSet,
    preprocessing: Preprocessing,
    recipe: ViewsRecipe,
    view: int,
    frozen: FrozenComputation,
    about: str,
    part: str,
    listener: Listener,
) -> StoredView:
    """The frozen part's results for one view of the images, from the store or computed now.

    Args:
        store: where results are kept.
        images: N images.
        preprocessing: of the backbone.
        recipe: how views are made.
        view: number of the view; 0 is the evaluation crop.
        frozen: the computation.
        about: a few words for ``retop cache``.
        part: name of the running part for progress events, in images.
        listener: receives progress.

    Returns:
        The complete entry, row i belonging to image i.

    Raises:
        StoreError: the store cannot be written.
        UnreadableImageError: an image vanished or changed since it was indexed.
    """
    key = view_key(images, preprocessing, recipe, view, frozen)
    entry = store.find(key)
    if entry is not None:
        listener(PartAdvanced(part, len(images), "from the store"))
        return StoredView(key, entry)

    def compute(start: int) -> Iterable[Tensors]:
        # Batches are the same wherever a fill goes on, for their size may decide how sums are rounded.
        aligned = start - start % PREFIX_BATCH
        listener(PartAdvanced(part, aligned))
        rows = np.arange(aligned, len(images))
        batches = decode_batches(images, rows, np.full(len(rows), view), preprocessing, recipe, PREFIX_BATCH)
        for first, batch in zip(range(aligned, len(images), PREFIX_BATCH), batches, strict=True):
            results = frozen.run(batch)
            yield tuple(tensor[max(0, start - first) :] for tensor in _to_stored(results, frozen.stored))
            listener(PartAdvanced(part, len(batch)))

    return StoredView(key, store.fill(key, len(images), compute, f"{about}, view {view}"))


def store_features(
    store: ActivationStore, view: StoredView, frozen: FrozenComputation, about: str, part: str, listener: Listener
) -> StoredView:
    """The features that a frozen network gives for one stored view: its suffix, run once over the entry.

    Args:
        store: where results are kept.
        view: the activations to start from.
        frozen: the suffix, frozen as it is before training.
        about: a few words for ``retop cache``.
        part: name of the running part for progress events, in images.
        listener: receives progress.

    Returns:
        The complete entry of features, row i belonging to image i.

    Raises:
        StoreError: the store cannot be written.
    """
    key = EntryKey(
        images=view.key.images,
        preprocessing=view.key.preprocessing,
        view=view.key.view,
        augmentation=view.key.augmentation,
        graph=frozen.graph,
        weights=frozen.weights,
        arithmetic=arithmetic_key(frozen.device, frozen.dtype),
        stored=str(frozen.stored).removeprefix("torch."),
        parent=view.key.digest(),
        versions=library_versions(),
    )
    entry = store.find(key)
    if entry is not None:
        listener(PartAdvanced(part, len(view.entry), "from the store"))
        return StoredView(key, entry)

    def compute(start: int) -> Iterable[Tensors]:
        aligned = start - start % PREFIX_BATCH
        listener(PartAdvanced(part, aligned))
        for first in range(aligned, len(view.entry), PREFIX_BATCH):
            rows = np.arange(first, min(first + PREFIX_BATCH, len(view.entry)))
            results = frozen.run(*view.entry.gather(rows))
            yield tuple(tensor[max(0, start - first) :] for tensor in _to_stored(results, frozen.stored))
            listener(PartAdvanced(part, len(rows)))

    return StoredView(key, store.fill(key, len(view.entry), compute, f"{about}, view {view.key.view}"))


def _to_stored(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """Results on the CPU in the stored number format; whole numbers stay as they are."""
    return tuple(t.to("cpu", dtype if t.is_floating_point() else t.dtype) for t in tensors)
