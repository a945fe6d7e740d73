"""Where training takes its inputs from: the activation store, or images decoded afresh.

Both give the same tensors for the same rows and views; only the cost differs.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from retop.data import ImageSet
from retop.data.batches import decode_batches
from retop.recipe import ViewsRecipe
from retop.records import Preprocessing
from retop.training.order import Rows, batch_bounds, derive_seed, epoch_views

Tensors = tuple[torch.Tensor, ...]

READ_AHEAD_BYTES = 2**20


class Inputs(Protocol):
    """Inputs of the trained part of a network, by image and view."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def views(self, seed: int, stage: int, epoch: int) -> Rows:
        """The view of every image in that epoch."""
        ...

    def batches(self, rows: Rows, views: Rows, batch_size: int, first: int = 0) -> Iterator[tuple[Rows, Tensors]]:
        """Batches of `rows` in their order, as (rows of the batch, tensors [N, ...] on the CPU), from batch `first`."""
        ...


class Gathered(Protocol):
    """Rows that can be read in any order, as those of a store's entry."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        ...

    def gather(self, rows: Rows) -> Tensors:
        """Copies of rows, one tensor [N, ...] per crossing."""
        ...


class StoredInputs:
    """Inputs from the store, large batches read one ahead.

    Args:
        entries: V entries, one per view, row i belonging to image i.
    """

    def __init__(self, entries: Sequence[Gathered]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries[0])

    def views(self, seed: int, stage: int, epoch: int) -> Rows:
        """One of the stored views for every image."""
        return epoch_views(seed, stage, epoch, len(self), len(self._entries))

    def batches(self, rows: Rows, views: Rows, batch_size: int, first: int = 0) -> Iterator[tuple[Rows, Tensors]]:
        """See `Inputs.batches`."""
        parts = [(rows[low:high], views[low:high]) for low, high in batch_bounds(len(rows), batch_size)[first:]]
        if not parts:
            return
        # Handing a batch from thread to thread takes longer than reading a few features.
        if batch_size * self._entries[0].row_bytes < READ_AHEAD_BYTES:
            for part_rows, part_views in parts:
                yield part_rows, self._gather(part_rows, part_views)
            return
        with ThreadPoolExecutor(1, "read-activations") as reader:
            coming = reader.submit(self._gather, *parts[0])
            for place, (part_rows, _) in enumerate(parts):
                tensors: Tensors = coming.result()
                if place + 1 < len(parts):
                    coming = reader.submit(self._gather, *parts[place + 1])
                yield part_rows, tensors

    def _gather(self, rows: Rows, views: Rows) -> Tensors:
        if (views == views[0]).all():
            only: Tensors = self._entries[views[0]].gather(rows)
            return only
        order = np.argsort(views, kind="stable")
        used, starts = np.unique(views[order], return_index=True)
        groups = np.split(order, starts[1:])
        gathered = [self._entries[view].gather(rows[group]) for view, group in zip(used, groups, strict=True)]
        back = torch.from_numpy(np.argsort(order, kind="stable"))
        return tuple(torch.cat(tensors)[back] for tensors in zip(*gathered, strict=True))


class DecodedInputs:
    """Inputs decoded afresh in every epoch: the usual loop, with new augmentations each time.

    Args:
        images: N images.
        preprocessing: of the backbone.
        recipe: how views are made.
        fixed_views: draw among the recipe's views, as the store does, instead of making new ones every epoch.
    """

    def __init__(
        self, images: ImageSet, preprocessing: Preprocessing, recipe: ViewsRecipe, fixed_views: bool = False
    ) -> None:
        self._images = images
        self._preprocessing = preprocessing
        self._recipe = recipe
        self._fixed_views = fixed_views

    def __len__(self) -> int:
        return len(self._images)

    def views(self, seed: int, stage: int, epoch: int) -> Rows:
        """A new view for every image, or one of the recipe's where there is no augmentation."""
        if self._fixed_views or self._recipe.count == 1:
            return epoch_views(seed, stage, epoch, len(self), self._recipe.count)
        return np.full(len(self), derive_seed("fresh view", seed, stage, epoch))

    def batches(self, rows: Rows, views: Rows, batch_size: int, first: int = 0) -> Iterator[tuple[Rows, Tensors]]:
        """See `Inputs.batches`."""
        bounds = batch_bounds(len(rows), batch_size)[first:]
        sizes = [high - low for low, high in bounds]
        start = len(rows) - sum(sizes)
        decoded = decode_batches(self._images, rows[start:], views[start:], self._preprocessing, self._recipe, sizes)
        for (low, high), batch in zip(bounds, decoded, strict=True):
            yield rows[low:high], (batch,)
