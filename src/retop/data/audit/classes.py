"""Classes: missing, small, unequal, or spelt in two ways."""

import re
import unicodedata
from collections.abc import Iterator

import numpy as np

from retop.data.audit.examined import Examined
from retop.data.audit.rules import ALIKE_NAMES, EMPTY_FOLDERS, FEW_IMAGES, IMBALANCE, MISSING_CLASS
from retop.data.sources.source import Leftovers, few
from retop.evaluation.numerals import count, word
from retop.records import Finding

FEWEST = 10
RATIO = 10.0


def find_class_troubles(images: Examined) -> Iterator[Finding]:
    """D08, D09, D10, D11."""
    classes = sorted(set(images.texts("label")))  # type: ignore[type-var]
    counts = _count(images, [str(name) for name in classes])
    yield from _missing(counts)
    sizes = counts.get("train") or counts["all"]
    where = "training images" if "train" in counts else "images"
    yield from _few(sizes, where)
    yield from _unequal(sizes, where)
    yield from _alike([str(name) for name in classes])


def find_empty_folders(leftovers: Leftovers) -> Iterator[Finding]:
    """D12."""
    empty = leftovers.empty_folders
    if empty.count:
        yield EMPTY_FOLDERS.finding(
            f"{count(empty.count, 'folder holds', 'folders hold')} no image: {empty}",
            "put images into them, or remove them",
            {"folders": list(empty.names), "count": empty.count},
        )


def _count(images: Examined, classes: list[str]) -> dict[str, dict[str, int]]:
    """Images of each class by split; under ``all`` without any split."""
    counts: dict[str, dict[str, int]] = {}
    for label, split in zip(images.texts("label"), images.texts("split"), strict=True):
        of_split = counts.setdefault(split or "all", dict.fromkeys(classes, 0))
        of_split[str(label)] += 1
    return counts


def _missing(counts: dict[str, dict[str, int]]) -> Iterator[Finding]:
    lacking = {split: [name for name, count in sizes.items() if count == 0] for split, sizes in counts.items()}
    lacking = {split: names for split, names in lacking.items() if names}
    if lacking:
        said = "; ".join(f"{split} lacks {few([repr(name) for name in names])}" for split, names in lacking.items())
        yield MISSING_CLASS.finding(
            said, "add images of the class to the split, or remove the class everywhere", {"lacking": lacking}
        )


def _few(sizes: dict[str, int], where: str) -> Iterator[Finding]:
    small = {name: size for name, size in sizes.items() if 0 < size < FEWEST}
    if small:
        named = few([f"{name!r} ({size})" for name, size in small.items()])
        yield FEW_IMAGES.finding(
            f"{len(small):,} of {count(len(sizes), 'class', 'classes')} {word(len(small), 'has', 'have')} fewer than "
            f"{FEWEST} {where}: {named}",
            "add images, or join or remove the classes",
            {"classes": small},
        )


def _unequal(sizes: dict[str, int], where: str) -> Iterator[Finding]:
    present = {name: count for name, count in sizes.items() if count}
    if len(present) < 2:
        return
    most, least = max(present, key=lambda name: present[name]), min(present, key=lambda name: present[name])
    ratio = present[most] / present[least]
    if ratio >= RATIO:
        yield IMBALANCE.finding(
            f"{most!r} has {present[most]:,} {where}, {least!r} has {present[least]:,}: {ratio:.0f} times fewer",
            "--class-weights balanced, or --set imbalance.sampling=balanced; judge by balanced accuracy and per class",
            {"ratio": float(np.round(ratio, 2)), "classes": present},
        )


def _alike(classes: list[str]) -> Iterator[Finding]:
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(_bare(name), []).append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    if alike:
        said = "; ".join(" and ".join(map(repr, group)) for group in alike[:5])
        yield ALIKE_NAMES.finding(
            f"{count(len(alike), 'class is', 'classes are')} spelt in several ways: {said}",
            "give one name to all images of the class",
            {"names": alike},
        )


def _bare(name: str) -> str:
    """A name without case, spaces, hyphens, underscores and dots."""
    return re.sub(r"[\s_.\-]+", "", unicodedata.normalize("NFKC", name).casefold())
