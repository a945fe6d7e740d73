"""What single images were answered: the worst, the most doubtful, and those behind each cell of a confusion matrix."""

# N images, K classes

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retop.evaluation import log_softmax
from retop.records import Predictions

MOST_SHOWN = 12
MOST_PER_CELL = 12
DOUBTFUL_MARGIN = 0.5


@dataclass(frozen=True)
class AnsweredImage:
    """One image and the model's answer."""

    path: str
    """As its source names it."""

    label: str
    """Class that the data gives."""

    predicted: str
    """Class that the model gave."""

    confidence: float
    """Probability the model gave to its answer."""

    runner_up: str
    """Class with the second largest probability."""

    runner_up_confidence: float
    """Probability the model gave to it."""


@dataclass(frozen=True)
class CellFacts:
    """Images in one cell of a confusion matrix."""

    label: str
    """True class: the row."""

    predicted: str
    """Predicted class: the column."""

    num_images: int
    """All images of the cell."""

    images: tuple[AnsweredImage, ...]
    """The most confident of them."""


@dataclass(frozen=True)
class AnswerFacts:
    """One model's answers on one split, image by image."""

    name: str
    """Backbone or baseline."""

    split: str
    """``test`` or ``validation``."""

    n: int
    """Images."""

    num_missed: int
    """Wrong answers."""

    worst: tuple[AnsweredImage, ...]
    """Wrong answers, the most confident first."""

    doubtful: tuple[AnsweredImage, ...]
    """Answers whose two largest probabilities are less than 0.5 apart, right or wrong, the closest first."""

    cells: tuple[CellFacts, ...]
    """Cells that hold an image: errors first, the fullest first."""

    @property
    def errors(self) -> tuple[CellFacts, ...]:
        """Cells of wrong answers."""
        return tuple(cell for cell in self.cells if cell.label != cell.predicted)


def answer_facts(name: str, predictions: Predictions, temperature: float = 1.0) -> AnswerFacts:
    """Find the images that tell most about a model.

    Args:
        name: of the backbone or baseline.
        predictions: of N images; at least one, and at least two classes.
        temperature: of the model.

    Returns:
        The facts; images of equal standing in the order of their paths.
    """
    images = _answers(predictions, temperature)
    missed = [image for image in images if image.predicted != image.label]
    doubtful = [image for image in images if _margin(image) < DOUBTFUL_MARGIN]
    return AnswerFacts(
        name=name,
        split=predictions.split,
        n=len(images),
        num_missed=len(missed),
        worst=tuple(sorted(missed, key=_confident_first)[:MOST_SHOWN]),
        doubtful=tuple(sorted(doubtful, key=lambda image: (_margin(image), image.path))[:MOST_SHOWN]),
        cells=_cells(images),
    )


def sample_images(predictions: Predictions, per_class: int) -> dict[str, tuple[str, ...]]:
    """A few images of every class, spread evenly over the paths in their order.

    Args:
        predictions: of the images; labels alone are read.
        per_class: most for each class.

    Returns:
        Paths by class name, for classes that have an image.
    """
    chosen = {}
    for place, label in enumerate(predictions.classes):
        paths = sorted(np.array(predictions.paths, dtype=object)[predictions.labels_n == place])
        picks = np.linspace(0, len(paths) - 1, min(per_class, len(paths))).round().astype(int)
        if len(paths):
            chosen[label] = tuple(str(paths[pick]) for pick in picks)
    return chosen


def _answers(predictions: Predictions, temperature: float) -> list[AnsweredImage]:
    probability_nk = np.exp(log_softmax(predictions.logits_nk, temperature))
    order_nk = np.argsort(-predictions.logits_nk, axis=1, kind="stable")
    classes = predictions.classes
    return [
        AnsweredImage(
            path,
            classes[predictions.labels_n[n]],
            classes[order_nk[n, 0]],
            float(probability_nk[n, order_nk[n, 0]]),
            classes[order_nk[n, 1]],
            float(probability_nk[n, order_nk[n, 1]]),
        )
        for n, path in enumerate(predictions.paths)
    ]


def _cells(images: Sequence[AnsweredImage]) -> tuple[CellFacts, ...]:
    cells: dict[tuple[str, str], list[AnsweredImage]] = {}
    for image in images:
        cells.setdefault((image.label, image.predicted), []).append(image)
    facts = [
        CellFacts(*cell, len(members), tuple(sorted(members, key=_confident_first)[:MOST_PER_CELL]))
        for cell, members in cells.items()
    ]
    return tuple(sorted(facts, key=lambda one: (one.label == one.predicted, -one.num_images, one.label, one.predicted)))


def _confident_first(image: AnsweredImage) -> tuple[float, str]:
    return -image.confidence, image.path


def _margin(image: AnsweredImage) -> float:
    return image.confidence - image.runner_up_confidence
