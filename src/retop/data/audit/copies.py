"""Exact and near copies: across classes, across splits, within a class."""

# N images, F features

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retop.data.audit.binding import AlikeAcross, Binding, Rows, groups_of
from retop.data.audit.examined import SHOWN_GROUPS, Examined
from retop.data.audit.rules import (
    ALIKE_EMBEDDINGS,
    COPIES,
    CROWDED,
    GROUP_LEAK,
    LABEL_CONFLICT,
    LEAK,
    NEAR_CONFLICT,
    NEAR_LEAK,
    Rule,
)
from retop.data.likeness import COLOUR_BYTES, HASH_BYTES, count_crowded, find_near
from retop.evaluation.numerals import count, word
from retop.records import Finding

SIMILARITY = 0.98
"""Cosine from which two embeddings count as nearly equal."""

BLOCK = 1_024
"""Rows and columns of cosines that are looked at together."""

_LEAVE_OUT = "leave out the copies that training sees: retop check DATA --write-exclusions FILE, then --exclude FILE"


def find_copies(images: Examined) -> Iterator[Finding]:
    """D03, D04, D05: images with equal contents."""
    groups = groups_of(images.numbers("content"))
    labels, sides = images.numbers("label"), images.parts()
    conflicts = [group for group in groups if len(set(labels[group])) > 1]
    if conflicts:
        files = sum(map(len, conflicts))
        yield LABEL_CONFLICT.finding(
            f"{count(len(conflicts), 'image stands', 'images stand')} in more than one class ({files:,} of "
            f"{len(images):,} files)",
            "move each file to the class that it shows, or leave out all of them: retop check DATA --write-exclusions "
            "FILE, then --exclude FILE",
            _evidence(images, conflicts, {"images": len(conflicts)}, np.concatenate(conflicts))
            | _labels(images, conflicts),
        )
    yield from _leaks(images, groups, LEAK, "exact copies")
    within = [part for group in groups for part in _same_label_and_side(group, labels, sides)]
    if within:
        spare = sum(len(part) - 1 for part in within)
        yield COPIES.finding(
            f"{spare:,} of {len(images):,} files {word(spare, 'repeats', 'repeat')} another one of "
            f"{word(spare, 'its', 'their')} class",
            "nothing has to be done; to count each image once, remove the spare files",
            _evidence(images, within, {"spare_files": spare}),
        )


def find_near_copies(images: Examined) -> Iterator[Finding]:
    """D06, D07: images that look alike but have other contents. D18: not all of them were compared."""
    rows, hashes = _hashes(images)
    crossing, conflicts = _near_groups(images, rows, hashes)
    yield from _leaks(images, crossing, NEAR_LEAK, "near copies")
    if conflicts:
        files = sum(map(len, conflicts))
        yield NEAR_CONFLICT.finding(
            f"{count(len(conflicts), 'group')} of images that look alike "
            f"{word(len(conflicts), 'stands', 'stand')} in more than one class ({files:,} of {len(images):,} files)",
            "look at them (--page FILE) and move or remove those with a wrong label",
            _evidence(images, conflicts, {"groups": len(conflicts)}) | _labels(images, conflicts),
            suspected=True,
            isolating_test="look at the pairs side by side on the page",
        )
    crowded = count_crowded(hashes)
    if crowded:
        yield CROWDED.finding(
            f"{crowded:,} of {len(images):,} images share a part of their hash with so many others that each of them "
            f"was compared with some of these only",
            "nothing has to be done; to be surer, hand embeddings in: retop.check(data, embeddings=(paths, vectors))",
            {"images": crowded},
        )


def find_alike_embeddings(images: Examined, paths: Sequence[str], embeddings_nf: NDArray[np.float32]) -> list[Finding]:
    """D17: images across splits whose embeddings are nearly equal.

    Blocks of 1,024 x 1,024 cosines are looked at, one at a time, and of the pairs in them only what they bind is kept:
    beside the embeddings this takes at most 100 MB, and 200 bytes for each image.

    Args:
        images: the data.
        paths: of the embeddings, in their order; images without one are not compared.
        embeddings_nf: [N, F].
    """
    row_n = pc.index_in(pa.array(paths, pa.string()), images.table["path"].combine_chunks())
    row_n = pc.fill_null(row_n, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    side_n = np.where(row_n >= 0, images.parts()[row_n], -1)
    known = np.flatnonzero(side_n >= 0)
    # Side by side, so that a block of one side alone need not be looked at.
    places = known[np.argsort(side_n[known], kind="stable")]
    sides, contents = side_n[places], images.numbers("content")[row_n[places]]
    bound = Binding(len(images))
    for top, left in _blocks(sides):
        first, second = _alike_embeddings(embeddings_nf, places, top, left)
        differ = (sides[first] != sides[second]) & (contents[first] != contents[second])
        bound.bind(row_n[places[first[differ]]], row_n[places[second[differ]]])
    groups = groups_of(bound.least_n)
    return list(_leaks(images, groups, ALIKE_EMBEDDINGS, "images with nearly equal embeddings"))


def _blocks(sides: Rows) -> Iterator[tuple[slice, slice]]:
    """Pairs of stretches of rows, each pair once, but for those of one side."""
    starts = range(0, len(sides), BLOCK)
    for top in starts:
        for left in range(top, len(sides), BLOCK):
            # The rows are in the order of their sides.
            if sides[top] != sides[min(left + BLOCK, len(sides)) - 1]:
                yield slice(top, top + BLOCK), slice(left, left + BLOCK)


def _alike_embeddings(embeddings_nf: NDArray[np.float32], places: Rows, top: slice, left: slice) -> tuple[Rows, Rows]:
    cosines = _unit(embeddings_nf[places[top]]) @ _unit(embeddings_nf[places[left]]).T
    first, second = np.nonzero(cosines >= SIMILARITY)
    return first + top.start, second + left.start


def _unit(vectors_nf: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors_nf = vectors_nf.astype(np.float32)
    unit_nf: NDArray[np.float32] = vectors_nf / np.maximum(np.linalg.norm(vectors_nf, axis=1, keepdims=True), 1e-12)
    return unit_nf


def find_group_leaks(images: Examined) -> Iterator[Finding]:
    """D15: groups with images on several sides, or in several folds."""
    sides = images.parts()
    crossing = [group for group in groups_of(images.numbers("group")) if len(set(sides[group]) - {-1}) > 1]
    if crossing:
        files = sum(map(len, crossing))
        yield GROUP_LEAK.finding(
            f"{count(len(crossing), 'group')} ({files:,} of {len(images):,} images) "
            f"{word(len(crossing), 'has', 'have')} images in more than one split or fold",
            "put each group into one split or fold, or let retop split by group: give the images without a split",
            _evidence(images, crossing, {"groups": len(crossing)}),
        )


def _leaks(images: Examined, groups: list[Rows], rule: Rule, what: str) -> Iterator[Finding]:
    sides = images.parts()
    crossing = [group for group in groups if len(set(sides[group]) - {-1}) > 1]
    if not crossing:
        return
    if (images.sides() < 0).all():
        yield _fold_leak(images, crossing, rule, what)
        return
    spoilt = np.concatenate([group[sides[group] == sides[group].max()] for group in crossing])
    # What is kept is what is measured on: the copy in test before that in validation, that before training.
    spare = np.concatenate([group[sides[group] < sides[group].max()] for group in crossing])
    counts = {
        name: int(sum((sides[group] == side).any() for group in crossing))
        for side, name in enumerate(("train", "validation", "test"))
    }
    said = ", ".join(f"{count(sets, 'touches', 'touch')} {name}" for name, sets in counts.items() if sets)
    evidence = _evidence(images, crossing, {"groups": len(crossing), **counts}, spare)
    spoilt_tests = images.paths_of(spoilt[sides[spoilt] == 2])
    evidence["test"] = spoilt_tests
    evidence["leaks"] = _learned_from(images, crossing, sides)
    yield rule.finding(
        f"{count(len(crossing), 'set')} of {what} {word(len(crossing), 'lies', 'lie')} in more than one split "
        f"({said}); {len(spoilt_tests):,} of {count(int((sides == 2).sum()), 'test image')} "
        f"{word(len(spoilt_tests), 'is', 'are')} concerned",
        _LEAVE_OUT,
        evidence,
        suspected=rule is not LEAK,
        isolating_test=None if rule is LEAK else "look at the pairs side by side on the page (--page FILE)",
    )


def _learned_from(images: Examined, crossing: list[Rows], sides: Rows) -> dict[str, list[str]]:
    """All validation and test images that have copies in training, and those of test that have them in validation only.

    Args:
        images: the data.
        crossing: groups of copies on more than one side.
        sides: [N] of the images.
    """
    parts: dict[str, list[Rows]] = {"train": [], "validation": []}
    for group in crossing:
        first = int(sides[group][sides[group] >= 0].min())
        parts["train" if first == 0 else "validation"].append(group[sides[group] > first])
    empty = np.zeros(0, np.int64)
    return {name: images.paths_of(np.concatenate([empty, *rows])) for name, rows in parts.items()}


def _fold_leak(images: Examined, crossing: list[Rows], rule: Rule, what: str) -> Finding:
    """Every image is tested in its fold and learned from in others: all copies are concerned, and one is enough."""
    spoilt = np.concatenate(crossing)
    spare = np.concatenate([group[1:] for group in crossing])
    evidence = _evidence(images, crossing, {"groups": len(crossing)}, spare)
    evidence["test"] = images.paths_of(spoilt)
    evidence["leaks"] = {"train": evidence["test"], "validation": []}
    return rule.finding(
        f"{count(len(crossing), 'set')} of {what} {word(len(crossing), 'lies', 'lie')} in more than one fold; "
        f"{len(spoilt):,} of {len(images):,} images are concerned",
        _LEAVE_OUT,
        evidence,
        suspected=rule is not LEAK,
        isolating_test=None if rule is LEAK else "look at the pairs side by side on the page (--page FILE)",
    )


def _hashes(images: Examined) -> tuple[Rows, NDArray[np.uint8]]:
    """Rows with different contents that have a hash, and their hashes [N, 32]."""
    contents = images.numbers("content")
    known = np.flatnonzero([value is not None for value in images.texts("hash")])
    first_rows = known[np.unique(contents[known], return_index=True)[1]]
    return first_rows, np.frombuffer(b"".join(_values(images, "hash", first_rows)), np.uint8).reshape(-1, HASH_BYTES)


def _near_groups(images: Examined, first_rows: Rows, hashes: NDArray[np.uint8]) -> tuple[list[Rows], list[Rows]]:
    """Images that look like one on another side, and those that look like one of another class, in groups."""
    contents = images.numbers("content")
    picture_of_content = np.full(contents.max(initial=-1) + 1, -1)
    picture_of_content[contents[first_rows]] = np.arange(len(first_rows))
    across = [AlikeAcross(picture_of_content[contents], kinds) for kinds in (images.parts(), images.numbers("label"))]
    colours = np.frombuffer(b"".join(_values(images, "colours", first_rows)), np.uint8).reshape(-1, COLOUR_BYTES)
    for pairs in find_near(
        hashes, colours, lambda one, other: across[0].lacks(one, other) | across[1].lacks(one, other)
    ):
        for kinds in across:
            kinds.bind(*pairs.T)
    return across[0].groups(), across[1].groups()


def _values(images: Examined, column: str, rows: Rows) -> list[bytes]:
    return images.table[column].take(rows).to_pylist()  # type: ignore[no-any-return]


def _same_label_and_side(group: Rows, labels: Rows, sides: Rows) -> Iterator[Rows]:
    keys = labels[group] * (sides.max(initial=0) + 2) + sides[group] + 1
    for key in np.unique(keys):
        part = group[keys == key]
        if len(part) > 1:
            yield part


def _labels(images: Examined, groups: list[Rows]) -> dict[str, object]:
    """The class of each file; in a table or a Parquet file, its name does not tell."""
    labels = images.table["label"]
    return {"labels": [labels.take(group).to_pylist() for group in groups[:SHOWN_GROUPS]]}


def _evidence(
    images: Examined, groups: list[Rows], numbers: dict[str, int], exclude: Rows | None = None
) -> dict[str, object]:
    evidence: dict[str, object] = {**numbers, "files": [images.paths_of(group) for group in groups[:SHOWN_GROUPS]]}
    if exclude is not None:
        evidence["exclude"] = images.paths_of(np.unique(exclude))
    return evidence
