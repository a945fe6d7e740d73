"""Images as batches of tensors, decoded in threads ahead of whoever uses them.

Shape letters: N images of a batch, H, W height and width of the network's input.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from retop.data.dataset import ImageSet
from retop.data.decoding import decode_image
from retop.data.reading import available_cores
from retop.data.views import preprocess_bytes, shorter_side, view_of
from retop.recipe import ViewsRecipe
from retop.records import Preprocessing

__all__ = ["decode_batches", "preprocess_bytes"]

_Batch = tuple[NDArray[np.uint8], list[Future[None]]]


def decode_batches(
    images: ImageSet,
    rows: NDArray[np.int64],
    views: NDArray[np.int64],
    preprocessing: Preprocessing,
    recipe: ViewsRecipe,
    batch_size: int | Sequence[int],
    threads: int | None = None,
    ahead: int = 2,
) -> Iterator[torch.Tensor]:
    """Decode images in order, ahead of the consumer.

    An image that stands in a batch several times is decoded once. At most ``ahead + 1`` batches exist at a time,
    besides those the consumer keeps. Closing the generator stops its threads.

    Args:
        images: where the rows point.
        rows: places in `images`, any order, repeats allowed.
        views: number of the view for each of `rows`.
        preprocessing: size, crop and interpolation of the network.
        recipe: preset and seed of the views above 0.
        batch_size: images per batch, at least 1, the last batch possibly smaller; or the size of every batch, adding
            up to the number of rows.
        threads: how many decode at once; None for one per core.
        ahead: batches that are decoded before they are asked for, at least 0.

    Yields:
        uint8 [N, 3, H, W] in channels_last memory format.

    Raises:
        ValueError: `rows` and `views` differ in length, `batch_size` or `threads` is below 1, `ahead` is below 0, or
            the sizes of the batches do not add up to the number of rows.
        UnreadableImageError: a file vanished or changed since it was indexed; the message names it.
    """
    sizes = _sizes(len(rows), batch_size)
    if len(rows) != len(views) or sizes is None or ahead < 0 or (threads is not None and threads < 1):
        raise ValueError(
            f"rows and views must be of one length, batch_size and threads at least 1 (several sizes: adding up to the "
            f"rows) and ahead at least 0; received "
            f"{len(rows)} rows, {len(views)} views, {batch_size=}, {threads=}, {ahead=}"
        )
    return _decode(_Work(images, preprocessing, recipe), rows, views, sizes, threads or available_cores(), ahead)


def _sizes(num_rows: int, batch_size: int | Sequence[int]) -> list[int] | None:
    """Sizes of the batches; None where they cannot be cut like that."""
    if isinstance(batch_size, int):
        return [min(batch_size, num_rows - at) for at in range(0, num_rows, batch_size)] if batch_size > 0 else None
    return list(batch_size) if sum(batch_size) == num_rows and min(batch_size, default=1) > 0 else None


def _decode(
    work: "_Work", rows: NDArray[np.int64], views: NDArray[np.int64], sizes: list[int], threads: int, ahead: int
) -> Iterator[torch.Tensor]:
    pending: deque[_Batch] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="retop-decode")
    try:
        start = 0
        for size in sizes:
            chosen = slice(start, start + size)
            start += size
            pending.append(work.submit(pool, rows[chosen].tolist(), views[chosen].tolist()))
            if len(pending) > ahead:
                yield _finish(pending.popleft())
        while pending:
            yield _finish(pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finish(batch: _Batch) -> torch.Tensor:
    pixels, futures = batch
    for future in futures:
        future.result()
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


class _Work:
    """What the threads need to know."""

    def __init__(self, images: ImageSet, preprocessing: Preprocessing, recipe: ViewsRecipe) -> None:
        self._images = images
        self._preprocessing = preprocessing
        self._recipe = recipe
        self._shorter_side = shorter_side(preprocessing)

    def submit(self, pool: ThreadPoolExecutor, rows: list[int], views: list[int]) -> _Batch:
        """Hand one batch to the threads, image by image."""
        pixels = np.empty((len(rows), self._preprocessing.height, self._preprocessing.width, 3), dtype=np.uint8)
        futures = []
        slots_of: dict[int, list[int]] = {}
        for slot, row in enumerate(rows):
            slots_of.setdefault(row, []).append(slot)
        for row, slots in slots_of.items():
            futures.append(pool.submit(self._fill, pixels, row, slots, [views[slot] for slot in slots]))
        return pixels, futures

    def _fill(self, pixels: NDArray[np.uint8], row: int, slots: list[int], views: list[int]) -> None:
        image = decode_image(self._images.read(row), self._images.path(row), self._shorter_side)
        content = self._images.content(row)
        for slot, view in zip(slots, views, strict=True):
            pixels[slot] = view_of(image, self._preprocessing, self._recipe, view, content)
