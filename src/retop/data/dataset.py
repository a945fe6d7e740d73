"""A source's images, readable and split: what everything after this works on.

Shape letters: N images of a set.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retop.data.index import index_images
from retop.data.source import ImageSource, open_source
from retop.data.splitting import SIDES, split_by_content
from retop.errors import ClassMismatchError, DataError, UnreadableImageError
from retop.events import Listener, Notice, ignore
from retop.recipe import DataRecipe
from retop.records import DataRecord, SplitRecord, UnreadableImage


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split, sorted by label, then content, then path."""

    source: ImageSource
    """Where the images are."""

    split: str
    """``train``, ``validation`` or ``test``; ``all`` where an evaluation found no split."""

    classes: tuple[str, ...]
    """Class names; a label's number is its place here."""

    paths: pa.StringArray
    """[N], as the source names them."""

    labels_n: NDArray[np.int64]
    """[N], class numbers."""

    contents: pa.FixedSizeBinaryArray
    """[N], SHA-256 of each file, 32 bytes."""

    def __len__(self) -> int:
        return len(self.labels_n)

    def path(self, i: int) -> str:
        """Path of image `i`, as the source names it."""
        return str(self.paths[i].as_py())

    def content(self, i: int) -> str:
        """SHA-256 of image `i`'s file, hexadecimal."""
        return str(self.contents[i].as_py().hex())

    def read(self, i: int) -> bytes:
        """Read image `i`.

        Args:
            i: place in the set.

        Returns:
            The whole file.

        Raises:
            UnreadableImageError: it vanished, cannot be read, or is no longer what it was when it was indexed.
        """
        content = self.source.read(self.path(i))
        if hashlib.sha256(content).digest() != self.contents[i].as_py():
            raise UnreadableImageError(
                self.path(i),
                "the file has changed since it was indexed; run again (if it says so again, the file was changed "
                "without getting a new time stamp: clear the cache)",
            )
        return content

    def take(self, rows: NDArray[np.int64]) -> "ImageSet":
        """Some of the images.

        Args:
            rows: places in this set, in the order wanted.

        Returns:
            A set of the same split and classes.
        """
        chosen = pa.array(rows, pa.int64())
        return replace(
            self, paths=self.paths.take(chosen), labels_n=self.labels_n[rows], contents=self.contents.take(chosen)
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over class names, labels and contents in order; paths have no part in it."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        digest.update(self.labels_n.astype("<i8").tobytes())
        for content in self.contents:
            digest.update(content.as_py())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """All images of a run."""

    source: ImageSource
    """Where the images are."""

    classes: tuple[str, ...]
    """Class names, sorted by code point."""

    train: ImageSet
    """What the network learns from."""

    validation: ImageSet
    """What choices are made by."""

    test: ImageSet | None
    """What the reported numbers come from; None where there is none."""

    record: DataRecord
    """The same in words and numbers, for run.json."""


def open_dataset(location: str | Path, recipe: DataRecipe, listener: Listener = ignore) -> Dataset:
    """List, read, check and split the images of a location.

    Args:
        location: what `open_source` accepts.
        recipe: how to split, and how many training images to use.
        listener: receives progress and notices.

    Returns:
        The dataset. The split depends on contents, class names and `recipe` alone.

    Raises:
        DataError: as `open_source`; no image is readable, there is only one class, or a class has too few images.
        ClassMismatchError: train, validation and test do not hold the same classes.
    """
    source = open_source(location)
    readable, unreadable = _index(source, listener)
    classes = tuple(pc.unique(readable["label"]).sort().to_pylist())
    if len(classes) < 2:
        raise DataError(
            f"{source.location} holds only one class, {classes[0]!r}; telling images apart takes at least two "
            f"class folders"
        )
    sets = _split(source, readable, classes, recipe, listener)
    if recipe.images_per_class is not None:
        sets["train"] = _limit(sets["train"], recipe.images_per_class)
    record = DataRecord(
        location=source.location,
        fingerprint=_fingerprint(sets),
        classes=classes,
        splits=tuple(SplitRecord(name, _count(images)) for name, images in sets.items()),
        split_by=source.split_by,
        unreadable=unreadable,
    )
    return Dataset(source, classes, sets["train"], sets["validation"], sets.get("test"), record)


def open_evaluation(
    location: str | Path, classes: tuple[str, ...], listener: Listener = ignore, trained_on: str | None = None
) -> ImageSet:
    """The labelled images on which a trained model is evaluated.

    Args:
        location: what `open_source` accepts.
        classes: the model's classes, in its order.
        listener: receives progress and notices, among them what was chosen where the folders do not say it.
        trained_on: fingerprint of the data that the model was trained on; None where it is not known.

    Returns:
        The test images where folders make a split, else the validation images. Where there are neither: if
        `DataRecipe()` splits the images as they were split for training, the test images of that split, else its
        validation images; otherwise all images, under the split ``train`` or, without any split, ``all``.

    Raises:
        DataError: as `open_source`, or no image is readable.
        ClassMismatchError: a class folder is none of the model's classes.
    """
    source = open_source(location)
    readable, _ = _index(source, listener)
    found = [split for split in pc.unique(readable["split"]).to_pylist() if split]
    split = next((name for name in ("test", "validation") if name in found), None)
    chosen = readable if split is None else readable.filter(pc.equal(readable["split"], split))
    unknown = sorted(set(pc.unique(chosen["label"]).to_pylist()) - set(classes))
    if unknown:
        raise ClassMismatchError(
            f"{source.location} holds {_named(unknown)}, which the model does not know; "
            f"its classes are {', '.join(classes)}. Rename or remove the folders"
        )
    if split is not None:
        return _image_set(source, split, chosen, classes)
    return _held_out(source, readable, classes, trained_on, listener) or _unsplit(source, readable, classes, listener)


def _held_out(
    source: ImageSource, table: pa.Table, classes: tuple[str, ...], trained_on: str | None, listener: Listener
) -> ImageSet | None:
    """What training did not learn from, where the default split of these images is the one of training."""
    try:
        sets = _split(source, table, classes, DataRecipe(), ignore)
    except DataError:
        return None
    if _fingerprint(sets) != trained_on:
        return None
    images = sets.get("test") or sets["validation"]
    listener(
        Notice(
            "note",
            f"{source.location} is what the model was trained on: only the {len(images):,} {images.split} images of "
            f"that split are evaluated, not the {len(sets['train']):,} it learned from",
        )
    )
    return images


def _unsplit(source: ImageSource, table: pa.Table, classes: tuple[str, ...], listener: Listener) -> ImageSet:
    found = set(pc.unique(table["split"]).to_pylist())
    images = _image_set(source, "all" if found == {None} else "train", table, classes)
    listener(
        Notice(
            "warning",
            f"{source.location} has no test/ and no validation/, so all its {len(images):,} images are evaluated; the "
            f"model may have been trained on some of them, and then the numbers are too good. Put images that it has "
            f"not seen into test/",
        )
    )
    return images


def _index(source: ImageSource, listener: Listener) -> tuple[pa.Table, tuple[UnreadableImage, ...]]:
    indexed = index_images(source, source.scan(listener), listener)
    bad = pc.is_valid(indexed["problem"])
    rows = indexed.filter(bad).select(["path", "problem"]).sort_by("path").to_pylist()
    unreadable = tuple(UnreadableImage(row["path"], row["problem"]) for row in rows)
    readable = indexed.filter(pc.invert(bad))
    if readable.num_rows == 0:
        raise DataError(
            f"{source.location}: none of {indexed.num_rows:,} files can be read as an image; the first is "
            f"{unreadable[0].path}: {unreadable[0].reason}"
        )
    lost = sorted(set(pc.unique(indexed["label"]).to_pylist()) - set(pc.unique(readable["label"]).to_pylist()))
    if lost:
        listener(Notice("warning", f"{_named(lost)} without a readable image: left out"))
    if unreadable:
        named = "; ".join(f"{image.path}: {image.reason}" for image in unreadable[:3])
        more = f"; and {len(unreadable) - 3:,} more" if len(unreadable) > 3 else ""
        listener(
            Notice(
                "warning",
                f"{len(unreadable):,} of {indexed.num_rows:,} images cannot be read and are left out: {named}{more}",
            )
        )
    return readable, unreadable


def _split(
    source: ImageSource, table: pa.Table, classes: tuple[str, ...], recipe: DataRecipe, listener: Listener
) -> dict[str, ImageSet]:
    found = set(pc.unique(table["split"]).to_pylist())
    if found == {None}:
        return _split_by_us(_image_set(source, "train", table, classes), recipe.split, recipe.split_seed)
    sets = {
        name: _image_set(source, name, table.filter(pc.equal(table["split"], name)), classes)
        for name in SIDES
        if name in found
    }
    _refuse_empty_splits(source, sets)
    _refuse_different_classes(source, sets)
    if "validation" in sets:
        return sets
    train, validation, _ = recipe.split
    shares = (train / (train + validation), validation / (train + validation), 0.0)
    listener(
        Notice(
            "note",
            f"{source.location} has no validation folder: {shares[1]:.0%} of the training images are set aside for "
            f"validation (--set data.split=[...], DataRecipe.split)",
        )
    )
    divided = _split_by_us(sets["train"], shares, recipe.split_seed)
    return {**divided, **({"test": sets["test"]} if "test" in sets else {})}


def _split_by_us(images: ImageSet, fractions: tuple[float, float, float], seed: int) -> dict[str, ImageSet]:
    sides = split_by_content(images.labels_n, images.contents, images.classes, fractions, seed)
    return {
        name: replace(images.take(np.flatnonzero(sides == side)), split=name)
        for side, name in enumerate(SIDES)
        if fractions[side] > 0
    }


def _image_set(source: ImageSource, split: str, table: pa.Table, classes: tuple[str, ...]) -> ImageSet:
    ordered = table.sort_by([("label", "ascending"), ("content", "ascending"), ("path", "ascending")]).combine_chunks()
    labels = pc.index_in(ordered["label"], value_set=pa.array(classes, pa.string()))
    return ImageSet(
        source=source,
        split=split,
        classes=classes,
        paths=_one_chunk(ordered["path"]),
        labels_n=labels.to_numpy().astype(np.int64),
        contents=_one_chunk(ordered["content"]),
    )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _limit(images: ImageSet, per_class: int) -> ImageSet:
    starts = np.searchsorted(images.labels_n, images.labels_n, side="left")
    return images.take(np.flatnonzero(np.arange(len(images)) - starts < per_class))


def _count(images: ImageSet) -> tuple[int, ...]:
    return tuple(np.bincount(images.labels_n, minlength=len(images.classes)).tolist())


def _fingerprint(sets: dict[str, ImageSet]) -> str:
    return hashlib.sha256(json.dumps([[name, sets[name].fingerprint] for name in sorted(sets)]).encode()).hexdigest()


def _refuse_empty_splits(source: ImageSource, sets: dict[str, ImageSet]) -> None:
    if "train" not in sets:
        raise DataError(f"{source.location} has no readable image in train/; put the training images there")


def _refuse_different_classes(source: ImageSource, sets: dict[str, ImageSet]) -> None:
    held = {name: {images.classes[k] for k in np.unique(images.labels_n)} for name, images in sets.items()}
    everything = set().union(*held.values())
    differences = [
        f"{name}/ lacks {_named(sorted(everything - names))}" for name, names in held.items() if everything - names
    ]
    if differences:
        raise ClassMismatchError(
            f"{source.location}: the folders do not hold the same classes: {'; '.join(differences)}. "
            f"Add the missing images, or rename or remove the folders that differ"
        )


def _named(classes: list[str], shown: int = 8) -> str:
    more = f" and {len(classes) - shown:,} more" if len(classes) > shown else ""
    return ("class " if len(classes) == 1 else "classes ") + ", ".join(map(repr, classes[:shown])) + more
