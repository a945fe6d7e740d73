"""Exact and near copies: across classes, across splits, within a class."""

# N images, F features

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from retop.data.audit.examined import SHOWN_GROUPS, Examined, bind_pairs, groups_of
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
from retop.records import Finding

Rows = NDArray[np.int64]
SIMILARITY = 0.98
"""Cosine from which two embeddings count as nearly equal."""

_BLOCK = 2_048
_LEAVE_OUT = "leave out the copies that training sees: --write-exclusions FILE, then --exclude FILE"


def find_copies(images: Examined) -> Iterator[Finding]:
    """D03, D04, D05: images with equal contents."""
    groups = groups_of(images.numbers("content"))
    labels, sides = images.numbers("label"), images.parts()
    conflicts = [group for group in groups if len(set(labels[group])) > 1]
    if conflicts:
        count = sum(map(len, conflicts))
        yield LABEL_CONFLICT.finding(
            f"{len(conflicts):,} images stand in more than one class ({count:,} of {len(images):,} files)",
            "move each file to the class that it shows, or leave out all of them: --write-exclusions FILE, then "
            "--exclude FILE",
            _evidence(images, conflicts, {"images": len(conflicts)}, np.concatenate(conflicts))
            | _labels(images, conflicts),
        )
    yield from _leaks(images, groups, LEAK, "exact copies")
    within = [part for group in groups for part in _same_label_and_side(group, labels, sides)]
    if within:
        spare = sum(len(part) - 1 for part in within)
        yield COPIES.finding(
            f"{spare:,} of {len(images):,} files repeat another one of their class",
            "nothing has to be done; to count each image once, remove the spare files",
            _evidence(images, within, {"spare_files": spare}),
        )


def find_near_copies(images: Examined) -> Iterator[Finding]:
    """D06, D07: images that look alike but have other contents. D18: not all of them were compared."""
    rows, hashes = _hashes(images)
    pairs = _near_pairs(images, rows, hashes)
    labels, sides = images.numbers("label"), images.parts()
    across = pairs[(sides[pairs[:, 0]] != sides[pairs[:, 1]]) & (sides[pairs] >= 0).all(axis=1)]
    yield from _leaks(images, bind_pairs(across), NEAR_LEAK, "near copies")
    conflicts = bind_pairs(pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]])
    if conflicts:
        count = sum(map(len, conflicts))
        yield NEAR_CONFLICT.finding(
            f"{len(conflicts):,} groups of images that look alike stand in more than one class "
            f"({count:,} of {len(images):,} files)",
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

    Args:
        images: the data.
        paths: of the embeddings, in their order; images without one are not compared.
        embeddings_nf: [N, F].
    """
    places = {path: row for row, path in enumerate(images.texts("path"))}
    known = [(places[path], at) for at, path in enumerate(paths) if path in places]
    rows = np.array([row for row, _ in known], dtype=np.int64)
    unit_nf = embeddings_nf[[at for _, at in known]].astype(np.float32)
    unit_nf /= np.maximum(np.linalg.norm(unit_nf, axis=1, keepdims=True), 1e-12)
    sides, contents = images.parts()[rows], images.numbers("content")[rows]
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(unit_nf), _BLOCK):
        first, second = np.nonzero(unit_nf[start : start + _BLOCK] @ unit_nf.T >= SIMILARITY)
        first = first + start
        kept = (first < second) & (sides[first] != sides[second]) & (contents[first] != contents[second])
        found.append(rows[np.stack([first[kept], second[kept]], axis=1)])
    return list(
        _leaks(images, bind_pairs(np.concatenate(found)), ALIKE_EMBEDDINGS, "images with nearly equal embeddings")
    )


def find_group_leaks(images: Examined) -> Iterator[Finding]:
    """D15: groups with images on several sides, or in several folds."""
    sides = images.parts()
    crossing = [group for group in groups_of(images.numbers("group")) if len(set(sides[group]) - {-1}) > 1]
    if crossing:
        count = sum(map(len, crossing))
        yield GROUP_LEAK.finding(
            f"{len(crossing):,} groups ({count:,} of {len(images):,} images) have images in more than one split or "
            f"fold",
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
    said = ", ".join(f"{count:,} touch {name}" for name, count in counts.items() if count)
    evidence = _evidence(images, crossing, {"groups": len(crossing), **counts}, spare)
    spoilt_tests = images.paths_of(spoilt[sides[spoilt] == 2])
    evidence["test"] = spoilt_tests
    evidence["leaks"] = _learned_from(images, crossing, sides)
    yield rule.finding(
        f"{len(crossing):,} sets of {what} lie in more than one split ({said}); "
        f"{len(spoilt_tests):,} of {int((sides == 2).sum()):,} test images are concerned",
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
        f"{len(crossing):,} sets of {what} lie in more than one fold; {len(spoilt):,} of {len(images):,} images are "
        f"concerned",
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


def _near_pairs(images: Examined, first_rows: Rows, hashes: NDArray[np.uint8]) -> Rows:
    """Pairs of rows that look alike; of exact copies one each is compared, with all its rows in the answer."""
    contents = images.numbers("content")
    colours = np.frombuffer(b"".join(_values(images, "colours", first_rows)), np.uint8).reshape(-1, COLOUR_BYTES)
    pairs = first_rows[find_near(hashes, colours)]
    rows_of = {int(contents[group[0]]): group for group in groups_of(contents)}
    spread = [
        (one, other)
        for first, second in pairs.tolist()
        for one in rows_of.get(int(contents[first]), (first,))
        for other in rows_of.get(int(contents[second]), (second,))
    ]
    return np.array(spread, dtype=np.int64).reshape(-1, 2)


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
