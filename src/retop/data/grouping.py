"""Groups of images that share a side of the split: the photos of one patient, one plant, one burst."""

# N images, K classes, U units, S sides

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retop.data.splitting import SIDES, draw_order
from retop.errors import DataError, UsageError
from retop.evaluation.numerals import count
from retop.events import Listener, Notice

Labels = NDArray[np.int64]


def groups_by_pattern(paths: pa.ChunkedArray, pattern: str, listener: Listener) -> pa.ChunkedArray:
    """The group that each path states.

    Args:
        paths: as the source names them.
        pattern: a regular expression that is searched in each path; its first bracket, or all of it, is the group.
        listener: receives a notice if some paths state none.

    Returns:
        A group for each path; null where the pattern is not found: the image is then a group of its own.

    Raises:
        UsageError: the pattern is not valid, or no path has it.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group-pattern '{pattern}' is no regular expression: {error}") from error
    chunks = []
    for chunk in paths.chunks:
        found = [compiled.search(path) for path in chunk.to_pylist()]
        # What is found may be empty, which groups nothing.
        chunks.append(pa.array([(m[1 if compiled.groups else 0] or None) if m else None for m in found], pa.string()))
    groups = pa.chunked_array(chunks, pa.string())
    if groups.null_count == len(groups):
        raise UsageError(
            f"--group-pattern '{pattern}' is found in none of {count(len(groups), 'path')}, such as {paths[0]}"
        )
    if groups.null_count:
        lacking = paths.filter(pc.is_null(groups))[0]
        listener(
            Notice(
                "warning",
                f"the group pattern '{pattern}' is not found in {groups.null_count:,} of {len(groups):,} paths, such "
                f"as {lacking}; each of them is a group of its own",
            )
        )
    return groups


def split_by_group(
    labels_n: Labels,
    contents: pa.FixedSizeBinaryArray,
    groups: pa.StringArray,
    classes: Sequence[str],
    fractions: Sequence[float],
    seed: int,
    sides: Sequence[str] = SIDES,
) -> NDArray[np.int8]:
    """Divide images such that those of one group, and copies of one content, share a side.

    What is bound together is a unit. Units are placed one after the other, those of the rarest classes first, then the
    largest, then by SHA-256 of seed and content; each goes to the side that still needs most of its images, in
    proportion to what the side is to have.

    Args:
        labels_n: class number of each image.
        contents: SHA-256 of each image, 32 bytes.
        groups: group of each image; null for a group of its own.
        classes: class names.
        fractions: share of each side; they add up to 1, and some may be 0.
        seed: chooses another split.
        sides: names of the sides, for messages.

    Returns:
        Side of each image, its place in `sides`.

    Raises:
        DataError: the units of a class are too few, or too large, for every side to have one.

    Source: after Sechidis et al., On the stratification of multi-label data, 2011. Where we differ: units hold several
    images, and ties are broken by content, never by chance.
    """
    unit_n = bind(contents, groups)
    counts_k = np.bincount(labels_n, minlength=len(classes))
    held = [Counter(labels_n[rows].tolist()) for rows in _rows_of(unit_n)]
    order = _order(unit_n, contents, held, counts_k, seed)
    targets_sk = np.outer(fractions, counts_k)
    placed_sk = np.zeros_like(targets_sk)
    side_u = np.zeros(len(held), dtype=np.int8)
    allowed = [side for side, fraction in enumerate(fractions) if fraction > 0]
    for unit in order:
        need = {
            side: sum(
                images * (1 - placed_sk[side, k] / targets_sk[side, k]) for k, images in sorted(held[unit].items())
            )
            for side in allowed
        }
        # Rounded, so that a last bit of difference between machines decides nothing.
        best = max(allowed, key=lambda side: (round(need[side], 9), fractions[side], -side))
        side_u[unit] = best
        for k, images in held[unit].items():
            placed_sk[best, k] += images
    _refuse_lacking(placed_sk, classes, allowed, sides, held)
    sides_n: NDArray[np.int8] = side_u[unit_n]
    return sides_n


def bind(contents: pa.FixedSizeBinaryArray, groups: pa.StringArray) -> Labels:
    """The unit of each image: images of one group or of one content, directly or through others, share one.

    Returns:
        [N] unit numbers from 0.
    """
    content_n = contents.dictionary_encode().indices.to_numpy()
    encoded = groups.dictionary_encode().indices
    group_n = encoded.to_numpy(zero_copy_only=False)
    alone = np.isnan(group_n) if group_n.dtype.kind == "f" else np.zeros(len(group_n), dtype=bool)
    first_free = 0 if encoded.null_count == len(encoded) else int(np.nanmax(group_n)) + 1
    group_n = np.where(alone, first_free + np.arange(len(group_n)), np.nan_to_num(group_n)).astype(np.int64)
    unit_n = np.arange(len(content_n))
    while True:
        before = unit_n
        for kind_n in (content_n, group_n):
            least = np.full(kind_n.max(initial=-1) + 1, len(unit_n))
            np.minimum.at(least, kind_n, unit_n)
            unit_n = least[kind_n]
        if np.array_equal(before, unit_n):
            return np.unique(unit_n, return_inverse=True)[1]


def _rows_of(unit_n: Labels) -> list[Labels]:
    order = np.argsort(unit_n, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(unit_n[order])) + 1)


def _order(
    unit_n: Labels, contents: pa.FixedSizeBinaryArray, held: Sequence[Counter[int]], counts_k: Labels, seed: int
) -> list[int]:
    """Units of the rarest classes first, then the largest, then by what is drawn from their contents."""
    encoded = contents.dictionary_encode()
    drawn_n = draw_order(encoded.dictionary, seed)[encoded.indices.to_numpy()]
    first_u = np.full(len(held), len(unit_n))
    np.minimum.at(first_u, unit_n, drawn_n)
    rarest = [min(int(counts_k[k]) for k in kinds) for kinds in held]
    return sorted(range(len(held)), key=lambda u: (rarest[u], -held[u].total(), int(first_u[u])))


def _refuse_lacking(
    placed_sk: NDArray[np.float64],
    classes: Sequence[str],
    allowed: Sequence[int],
    sides: Sequence[str],
    held: Sequence[Counter[int]],
) -> None:
    for k, name in enumerate(classes):
        lacking = [sides[side] for side in allowed if placed_sk[side, k] == 0]
        if lacking:
            units = sum(k in kinds for kinds in held)
            raise DataError(
                f"class {name!r}: its images belong to {count(units, 'group')}, so that none is left "
                f"for {' and '.join(lacking)}; add images of other groups, or choose other shares (--split, --folds)"
            )
