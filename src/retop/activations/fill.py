"""Filling the store: run the frozen part once over each view."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

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

VIEWS_AT_ONCE = 4
"""Views of an image that are made of it while it is decoded: what more of them save is little, and they take memory."""


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


def store_views(
    store: ActivationStore,
    images: ImageSet,
    preprocessing: Preprocessing,
    recipe: ViewsRecipe,
    views: Sequence[int],
    frozen: FrozenComputation,
    about: str,
    part: str,
    listener: Listener,
) -> list[StoredView]:
    """The frozen part's results for some views of the images, from the store or computed now.

    Up to four missing views are computed side by side, for which an image is decoded once.

    Args:
        store: where results are kept.
        images: N images.
        preprocessing: of the backbone.
        recipe: how views are made.
        views: numbers of the views; 0 is the evaluation crop.
        frozen: the computation.
        about: a few words for ``retop cache``.
        part: name of the running part for progress events, in images.
        listener: receives progress.

    Returns:
        The complete entry of each view, row i belonging to image i.

    Raises:
        StoreError: the store cannot be written.
        UnreadableImageError: an image vanished or changed since it was indexed.
    """
    keys = {view: view_key(images, preprocessing, recipe, view, frozen) for view in views}
    found: dict[int, Entry] = {}
    for view, key in keys.items():
        if (entry := store.find(key)) is not None:
            found[view] = entry
            listener(PartAdvanced(part, len(images), "from the store"))
    missing = [view for view in views if view not in found]
    for first in range(0, len(missing), VIEWS_AT_ONCE):
        chosen = missing[first : first + VIEWS_AT_ONCE]
        compute = partial(_compute_views, images, preprocessing, recipe, chosen, frozen, part, listener)
        wanted = [(keys[view], f"{about}, view {view}") for view in chosen]
        found.update(zip(chosen, store.fill_together(wanted, len(images), compute), strict=True))
    return [StoredView(keys[view], found[view]) for view in views]


def _compute_views(
    images: ImageSet,
    preprocessing: Preprocessing,
    recipe: ViewsRecipe,
    views: Sequence[int],
    frozen: FrozenComputation,
    part: str,
    listener: Listener,
    starts: Sequence[int],
) -> Iterator[tuple[int, Tensors]]:
    """Results for each of the views, by its number in `views`, from its first missing row on."""
    # Batches are the same wherever a fill goes on, for their size may decide how sums are rounded.
    aligned = [start - start % PREFIX_BATCH if start < len(images) else start for start in starts]
    listener(PartAdvanced(part, sum(aligned)))
    bounds = [(low, min(low + PREFIX_BATCH, len(images))) for low in range(min(aligned), len(images), PREFIX_BATCH)]
    rows = np.concatenate([np.tile(np.arange(low, high), len(views)) for low, high in bounds])
    numbers = np.concatenate([np.repeat(views, high - low) for low, high in bounds])
    sizes = [(high - low) * len(views) for low, high in bounds]
    ahead = 2 if len(views) == 1 else 1
    batches = decode_batches(images, rows, numbers, preprocessing, recipe, sizes, ahead=ahead)
    for (low, high), batch in zip(bounds, batches, strict=True):
        size = high - low
        for place in range(len(views)):
            if high > starts[place]:
                results = _to_stored(frozen.run(batch[place * size :][:size]), frozen.stored)
                yield place, tuple(tensor[max(0, starts[place] - low) :] for tensor in results)
                listener(PartAdvanced(part, size))


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
