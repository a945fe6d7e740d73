"""Properties of the files that tell the class without looking at the picture."""

# N images, K classes

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from retop.data.audit.examined import Examined
from retop.data.audit.rules import GIVE_AWAY
from retop.data.sources.names import class_name
from retop.records import Finding

FEWEST_IMAGES = 60
FEWEST_OF_CLASS = 15
FOLDS = 5
TELLING = 0.5
"""A class counts as given away if the property finds its images this much more often than others (recall minus
false-alarm rate, on images that the rule was not made from)."""

_BINS = 12
_CATEGORIES = 40

Numbers = NDArray[np.int64]


def find_give_aways(images: Examined) -> Iterator[Finding]:
    """D13: for each property, a rule from one value or range to one class, tested on images that did not make it.

    The value of a property is predicted to mean the class that most of its images have, learned on four fifths of the
    images and tested on the last, five times. A class is given away where recall minus false-alarm rate is at least
    one half. Source: Youden, Index for rating diagnostic tests, 1950.
    """
    labels = images.numbers("label")
    names = np.unique(np.array(images.texts("label"), dtype=object))
    names_in_order = _names_in_order(images, labels, len(names))
    if len(images) < FEWEST_IMAGES or len(names) < 2:
        return
    told = {}
    for name, values in _properties(images).items():
        scores = youden(values, labels, len(names))
        given = {names_in_order[k]: round(float(score), 3) for k, score in enumerate(scores) if score >= TELLING}
        if given:
            told[name] = given
    if told:
        said = "; ".join(
            f"{name} gives away " + ", ".join(f"{label!r} ({score:.2f})" for label, score in list(given.items())[:3])
            for name, given in told.items()
        )
        yield GIVE_AWAY.finding(
            f"{said} (recall minus false alarms on held-out images, n = {len(images):,}; 0 is chance, 1 is certain)",
            "make the property alike in all classes: collect or export the images of all classes in the same way, or "
            "convert them to one size, format and quality",
            {"properties": told, "n": len(images)},
            suspected=True,
            isolating_test="convert all images to one size, format and quality, train again, and compare the accuracy",
        )


def youden(values: Numbers, labels: Numbers, num_classes: int) -> NDArray[np.float64]:
    """How well a property finds each class, cross-validated.

    Args:
        values: [N] numbers of the property's values.
        labels: [N] class numbers.
        num_classes: K.

    Returns:
        [K] recall minus false-alarm rate; 0 for classes with too few images to say.
    """
    # The n-th image of a class lies in fold n modulo 5, whatever the order of the classes.
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=num_classes)
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.concatenate([np.arange(count) for count in counts]) % FOLDS
    predicted = np.full(len(labels), -1)
    num_values = int(values.max(initial=0)) + 1
    for held_out in range(FOLDS):
        learned = fold != held_out
        table = np.zeros((num_values, num_classes))
        np.add.at(table, (values[learned], labels[learned]), 1)
        # Shares of the classes, so that a large class does not win every value.
        share = table / np.maximum(table.sum(axis=0), 1)
        best = np.where(share.sum(axis=1) > 0, share.argmax(axis=1), -1)
        predicted[~learned] = best[values[~learned]]
    scores = np.zeros(num_classes)
    for k in np.flatnonzero(counts >= FEWEST_OF_CLASS):
        of_class = labels == k
        hits, alarms = predicted[of_class] == k, predicted[~of_class] == k
        scores[k] = hits.mean() - alarms.mean() if len(alarms) else 0.0
    return scores


def _names_in_order(images: Examined, labels: Numbers, num_classes: int) -> list[str]:
    first = np.zeros(num_classes, dtype=np.int64)
    for k in range(num_classes):
        first[k] = np.argmax(labels == k)
    return [str(images.table["label"][int(row)].as_py()) for row in first]


def _properties(images: Examined) -> dict[str, Numbers]:
    width, height = (images.table[name].to_numpy().astype(np.float64) for name in ("width", "height"))
    folders = np.array([str(path).rpartition("/")[0] for path in images.texts("path")])
    labels = np.array([str(label) for label in images.texts("label")])
    found = {
        "pixel size": _binned(width * height),
        "aspect": _binned(width / np.maximum(height, 1)),
        "format": images.numbers("format") + 1,
        "mode": images.numbers("mode") + 1,
        "JPEG quality": _binned(images.table["quality"].to_numpy(zero_copy_only=False).astype(np.float64)),
    }
    # In class folders the folder is the label.
    if not all(class_name(folder).endswith(label) for folder, label in zip(folders, labels, strict=True)):
        found["source folder"] = _categories(folders)
    return {name: values for name, values in found.items() if len(np.unique(values)) > 1}


def _binned(values: NDArray[np.float64]) -> Numbers:
    """Ranges with about equally many images; frequent single values, and none, have their own."""
    known = np.isfinite(values)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, _BINS + 1))) if known.any() else np.zeros(0)
    return np.where(known, 1 + np.searchsorted(edges, np.nan_to_num(values), side="right"), 0)


def _categories(values: NDArray[np.str_]) -> Numbers:
    """The most frequent values; all others are one."""
    unique, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    frequent = np.argsort(-counts)[:_CATEGORIES]
    places = np.zeros(len(unique), dtype=np.int64)
    places[frequent] = 1 + np.arange(len(frequent))
    return places[numbers]
