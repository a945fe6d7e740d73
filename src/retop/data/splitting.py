"""Sides chosen by content: the same images give the same split, or the same folds, on every machine and path."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retop.errors import DataError
from retop.evaluation import numerals

SIDES = ("train", "validation", "test")


def split_by_content(
    labels_n: NDArray[np.int64],
    contents: pa.FixedSizeBinaryArray,
    classes: Sequence[str],
    fractions: Sequence[float],
    seed: int,
    sides: Sequence[str] = SIDES,
) -> NDArray[np.int8]:
    """Divide images into train, validation and test, or into folds, class by class.

    Within a class the different contents are ordered by SHA-256 of seed and content and cut at the fractions. Copies
    of one content share a side, in other classes too; those count towards the shares of each class.

    Args:
        labels_n: class number of each image.
        contents: SHA-256 of each image, 32 bytes.
        classes: class names.
        fractions: share of each side; they add up to 1, and some may be 0.
        seed: chooses another split.
        sides: names of the sides, for messages.

    Returns:
        Side of each image, its place in `sides`.

    Raises:
        DataError: a class has too few different images, or its copies in other classes leave it none for a side.
    """
    encoded = contents.dictionary_encode()
    content_n = encoded.indices.to_numpy()
    rank = draw_order(encoded.dictionary, seed)
    side_of_content = np.full(len(rank), -1, dtype=np.int8)
    for k, name in enumerate(classes):
        members = np.unique(content_n[labels_n == k])
        members = members[np.argsort(rank[members])]
        _assign(side_of_content, members, name, fractions, sides)
    sides_n: NDArray[np.int8] = side_of_content[content_n]
    return sides_n


def draw_order(contents: pa.FixedSizeBinaryArray, seed: int) -> NDArray[np.int64]:
    """The rank of each of some different contents in the order of SHA-256 of seed and content."""
    prefix = f"{seed}/".encode()
    drawn = [hashlib.sha256(prefix + content.as_py()).digest() for content in contents]
    rank = np.empty(len(drawn), dtype=np.int64)
    rank[sorted(range(len(drawn)), key=drawn.__getitem__)] = np.arange(len(drawn))
    return rank


def _assign(
    side_of_content: NDArray[np.int8],
    members: NDArray[np.int64],
    name: str,
    fractions: Sequence[float],
    sides: Sequence[str],
) -> None:
    taken_sides = side_of_content[members]
    free = members[taken_sides < 0]
    taken = [int((taken_sides == side).sum()) for side in range(len(sides))]
    wanted = cut_at_fractions(len(members), fractions, name, sides)
    counts = _fill_up(wanted, taken, len(free))
    lacking = [sides[s] for s in range(len(sides)) if fractions[s] > 0 and taken[s] + counts[s] == 0]
    if lacking:
        raise DataError(
            f"class {name!r}: its images are copies of images in other classes, so that none is left for "
            f"{' and '.join(lacking)}; remove the copies or add images"
        )
    side_of_content[free] = np.repeat(np.arange(len(sides), dtype=np.int8), counts)


def cut_at_fractions(count: int, fractions: Sequence[float], name: str, sides: Sequence[str] = SIDES) -> list[int]:
    """Divide a number of images by largest remainder, with at least one wherever the fraction is above 0.

    Args:
        count: images of the class.
        fractions: shares that add up to 1.
        name: the class, for the message.
        sides: names of the shares, for the message.

    Returns:
        Images for each share; they add up to `count`.

    Raises:
        DataError: there are fewer images than shares above 0.
    """
    needed = sum(fraction > 0 for fraction in fractions)
    if count < needed:
        named = " and ".join(side for side, fraction in zip(sides, fractions, strict=True) if fraction > 0)
        raise DataError(
            f"class {name!r} has {numerals.count(count, 'different image')}, and {named} need at least one "
            f"each; add images or remove the class{_way_out(sides, needed)}"
        )
    exact = [count * fraction for fraction in fractions]
    # 0.7 * 10 is a little below 7 in binary.
    counts = [math.floor(share + 1e-9) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda s: counts[s] - exact[s])
    for s in by_remainder[: count - sum(counts)]:
        counts[s] += 1
    for s, fraction in enumerate(fractions):
        if fraction > 0 and counts[s] == 0:
            counts[counts.index(max(counts))] -= 1
            counts[s] = 1
    return counts


def _way_out(sides: Sequence[str], needed: int) -> str:
    if sides != SIDES:
        return ", or make fewer folds (--folds, DataRecipe.folds)"
    return ", or do without test images (--split 80/20/0, DataRecipe.split)" if needed > 2 else ""


def _fill_up(wanted: list[int], taken: list[int], free: int) -> list[int]:
    counts = [max(want - have, 0) for want, have in zip(wanted, taken, strict=True)]
    while sum(counts) > free:
        counts[counts.index(max(counts))] -= 1
    return counts
