"""A source's images, readable and split: what everything after this works on.

Shape letters: N images of a set.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retop.data.sources import ImageSource
from retop.data.survey import Survey
from retop.errors import UnreadableImageError
from retop.records import SPLIT_SCHEMA, DataRecord, SplitRecord


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

    groups: pa.StringArray
    """[N], what must share a side of the split; null for nothing."""

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
            self,
            paths=self.paths.take(chosen),
            labels_n=self.labels_n[rows],
            contents=self.contents.take(chosen),
            groups=self.groups.take(chosen),
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

    survey: Survey
    """Where the images are and what is known of them."""

    classes: tuple[str, ...]
    """Class names, sorted; labels are places in it."""

    train: ImageSet
    """What is learned from."""

    validation: ImageSet
    """What choices are made by."""

    test: ImageSet | None
    """What the reported numbers come from; None where there is none."""

    record: DataRecord
    """The same in words and numbers, for run.json."""

    folds: tuple[ImageSet, ...] = field(default=())
    """The test images of each fold; nothing where there are no folds. The sets above are those of the first fold."""

    @property
    def source(self) -> ImageSource:
        """Where the images are."""
        return self.survey.source

    def in_fold(self, fold: int | None) -> "Dataset":
        """The sets of one fold: it is tested, the next one validates, the others are learned from.

        Args:
            fold: from 0; None for the data without folds.
        """
        if fold is None:
            return self
        test, validation = (self.folds[place % len(self.folds)] for place in (fold, fold + 1))
        rest = [images for images in self.folds if images is not test and images is not validation]
        sets = {
            "train": limit(replace(merge(rest), split="train"), self.record.images_per_class),
            "validation": replace(validation, split="validation"),
            "test": replace(test, split="test"),
        }
        record = replace(self.record, fingerprint=fingerprint_of(sets), splits=count_splits(sets), fold=fold)
        return replace(self, train=sets["train"], validation=sets["validation"], test=sets["test"], record=record)

    def split_table(self) -> pa.Table:
        """Which image lies where: the table of split.parquet."""
        folded = [("", number, images) for number, images in enumerate(self.folds)]
        sided = [(images.split, None, images) for images in (self.train, self.validation, self.test) if images]
        parts = [_split_rows(images, split, fold) for split, fold, images in folded or sided]
        rows = pa.concat_tables(parts)
        facts = self.survey.table.select(["path", "width", "height"])
        joined = rows.join(facts, "path", join_type="left outer").select(SPLIT_SCHEMA.names)
        return joined.sort_by([("label", "ascending"), ("path", "ascending")])


def image_set(source: ImageSource, split: str, table: pa.Table, classes: tuple[str, ...]) -> ImageSet:
    """The images of some rows of an index, in their order."""
    ordered = table.sort_by([("label", "ascending"), ("content", "ascending"), ("path", "ascending")]).combine_chunks()
    labels = pc.index_in(ordered["label"], value_set=pa.array(classes, pa.string()))
    return ImageSet(
        source=source,
        split=split,
        classes=classes,
        paths=_one_chunk(ordered["path"]),
        labels_n=labels.to_numpy().astype(np.int64),
        contents=_one_chunk(ordered["content"]),
        groups=_one_chunk(ordered["group"]),
    )


def merge(sets: list[ImageSet]) -> ImageSet:
    """Several sets of one source as one, in the order of all sets: by label, content and path."""
    merged = replace(
        sets[0],
        paths=pa.concat_arrays([images.paths for images in sets]),
        labels_n=np.concatenate([images.labels_n for images in sets]),
        contents=pa.concat_arrays([images.contents for images in sets]),
        groups=pa.concat_arrays([images.groups for images in sets]),
    )
    keys = pa.table({"label": merged.labels_n, "content": merged.contents, "path": merged.paths})
    order = pc.sort_indices(keys, [("label", "ascending"), ("content", "ascending"), ("path", "ascending")])
    return merged.take(order.to_numpy().astype(np.int64))


def limit(images: ImageSet, per_class: int | None) -> ImageSet:
    """The first images of each class; all of them for None."""
    if per_class is None:
        return images
    starts = np.searchsorted(images.labels_n, images.labels_n, side="left")
    return images.take(np.flatnonzero(np.arange(len(images)) - starts < per_class))


def count_splits(sets: dict[str, ImageSet]) -> tuple[SplitRecord, ...]:
    """Images of each class in each split."""
    return tuple(
        SplitRecord(name, tuple(np.bincount(images.labels_n, minlength=len(images.classes)).tolist()))
        for name, images in sets.items()
    )


def fingerprint_of(sets: dict[str, ImageSet]) -> str:
    """SHA-256 over the fingerprints of several sets."""
    return hashlib.sha256(json.dumps([[name, sets[name].fingerprint] for name in sorted(sets)]).encode()).hexdigest()


def _split_rows(images: ImageSet, split: str, fold: int | None) -> pa.Table:
    classes = pa.array(images.classes, pa.string())
    hexadecimal = [content.as_py().hex() for content in images.contents]
    return pa.table(
        {
            "path": images.paths,
            "label": classes.take(pa.array(images.labels_n)),
            "split": pa.array([split or None] * len(images), pa.string()),
            "fold": pa.array([fold] * len(images), pa.int32()),
            "group": images.groups,
            "content": pa.array(hexadecimal, pa.string()),
        }
    )


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
