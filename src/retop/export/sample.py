"""The real images on which an exported file has to prove itself."""

# N images, K classes, H, W

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retop.data import Dataset, ImageSet, decode_image, evaluation_view, open_dataset
from retop.data.decoding import full_size
from retop.data.views import shorter_side
from retop.errors import DataError, ExportError, RunError, UsageError
from retop.events import Listener
from retop.predictor import Predictor
from retop.recipe import DataRecipe
from retop.records import Preprocessing, RunRecord, read_record

LEAST_IMAGES = 64
RUN = "run.json"


@dataclass(frozen=True)
class Sample:
    """N images and what the model says of them.

    Attributes:
        sets: where they are, with the rows that were chosen.
        pixels_nchw: the network's input, [N, 3, H, W] uint8.
        reference_nk: the model's probabilities, [N, K].
        labels_n: true classes as numbers; None where the data has other classes than the model.
    """

    sets: tuple[tuple[ImageSet, npt.NDArray[np.int64]], ...]
    preprocessing: Preprocessing
    pixels_nchw: npt.NDArray[np.uint8]
    reference_nk: npt.NDArray[np.float64]
    labels_n: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.pixels_nchw)

    def images(self) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
        """What the whole path takes for each image: see `decode_for_whole`."""
        for images, row in _places(self.sets):
            yield decode_for_whole(images.read(row), images.path(row), self.preprocessing)


def decode_for_whole(
    content: bytes, path: str, preprocessing: Preprocessing
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """An image file as the inputs of a graph of the whole path.

    Args:
        content: the whole file.
        path: its name, for messages.
        preprocessing: size and crop of the network.

    Returns:
        The decoded image [H, W, 3], and height and width of the image as it is stored, [2].

    Raises:
        UnreadableImageError: as `decode_image`.
    """
    image = decode_image(content, path, shorter_side(preprocessing))
    return np.asarray(image), np.array(full_size(image)[::-1], np.int64)


def find_dataset(predictor: Predictor, data: str | Path | None, listener: Listener) -> Dataset:
    """The images that a model is checked on.

    Args:
        predictor: the model.
        data: a location of labelled images; None for the data that the model's run was trained on.
        listener: receives progress and notices.

    Returns:
        The dataset, split as in training where the run says how.

    Raises:
        UsageError: nothing says where images are.
        DataError: the images cannot be used.
    """
    record = _run_of(predictor)
    recipe = record.recipe.data if record is not None else DataRecipe()
    if data is not None:
        return open_dataset(data, recipe, listener)
    if record is None:
        raise UsageError(
            f"{predictor.folder} has no run.json beside it that says where its images are; an export is checked on "
            f"real images, so give a folder of them: --data FOLDER (data=...)"
        )
    place = record.data.location
    way_out = f"{predictor.folder.parent / RUN} names {place} as its images. Give them where they are: --data FOLDER"
    try:
        dataset = open_dataset(place, recipe, listener).in_fold(record.data.fold)
    except (DataError, UsageError) as error:
        kind = UsageError if isinstance(error, UsageError) else DataError
        raise kind(f"{error}. {way_out} (data=...)") from error
    if dataset.record.fingerprint != record.data.fingerprint:
        raise DataError(f"{place} holds other images than the model was trained on. {way_out} (data=...)")
    return dataset


def _run_of(predictor: Predictor) -> RunRecord | None:
    try:
        return read_record(RunRecord, predictor.folder.parent / RUN)
    except RunError:
        return None


def take_sample(predictor: Predictor, dataset: Dataset, count: int) -> Sample:
    """Images for the parity check: held-out ones first, evenly over the classes.

    Args:
        predictor: the model.
        dataset: from `find_dataset`.
        count: how many, at least 64.

    Returns:
        The sample with the model's own answers.

    Raises:
        UsageError: `count` is below 64.
        ExportError: there are fewer images than 64.
    """
    if count < LEAST_IMAGES:
        raise UsageError(f"the parity check takes at least {LEAST_IMAGES} images; received --images {count}")
    sets = [images for images in (dataset.test, dataset.validation, dataset.train) if images is not None]
    chosen: list[tuple[ImageSet, npt.NDArray[np.int64]]] = []
    missing = count
    for images in sets:
        rows = np.unique(np.linspace(0, len(images) - 1, min(missing, len(images))).round().astype(np.int64))
        chosen.append((images, rows))
        missing -= len(rows)
        if missing <= 0:
            break
    if count - missing < LEAST_IMAGES:
        raise ExportError(
            f"{dataset.source.location} holds {count - missing} images; the parity check takes at least "
            f"{LEAST_IMAGES}. Give a folder with more: --data FOLDER"
        )
    preprocessing = predictor.trained.preprocessing
    pixels_nchw = read_pixels(chosen, preprocessing)
    import torch

    reference_nk = np.concatenate(
        [
            predictor.probabilities(predictor.logits(torch.from_numpy(pixels_nchw[first : first + 32])))
            for first in range(0, len(pixels_nchw), 32)
        ]
    )
    labelled = dataset.classes == predictor.classes
    labels_n = np.concatenate([images.labels_n[rows] for images, rows in chosen]) if labelled else None
    return Sample(tuple(chosen), preprocessing, pixels_nchw, reference_nk, labels_n)


def read_pixels(
    sets: list[tuple[ImageSet, npt.NDArray[np.int64]]], preprocessing: Preprocessing
) -> npt.NDArray[np.uint8]:
    """The network's input for chosen rows.

    Args:
        sets: sets of images, each with rows.
        preprocessing: size, crop and interpolation of the network.

    Returns:
        [N, 3, H, W] uint8.
    """
    least = shorter_side(preprocessing)
    views = [
        evaluation_view(decode_image(images.read(row), images.path(row), least), preprocessing)
        for images, row in _places(sets)
    ]
    return np.ascontiguousarray(np.stack(views).transpose(0, 3, 1, 2))


def _places(
    sets: tuple[tuple[ImageSet, npt.NDArray[np.int64]], ...] | list[tuple[ImageSet, npt.NDArray[np.int64]]],
) -> Iterator[tuple[ImageSet, int]]:
    for images, rows in sets:
        for row in rows.tolist():
            yield images, row
