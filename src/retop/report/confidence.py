"""How far a model's confidence can be believed: reliability, and accuracy against coverage."""

# N images, B bins

from dataclasses import dataclass

import numpy as np

from retop.evaluation import log_softmax, right_answers, wilson_interval
from retop.records import Interval, Predictions

NUM_BINS = 10
MOST_POINTS = 100


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers of similar confidence."""

    low: float
    """Confidence above this."""

    high: float
    """Confidence up to this."""

    n: int
    """Answers in the bin."""

    confidence: float
    """Their mean confidence."""

    accuracy: Interval
    """Fraction of them that is right."""


@dataclass(frozen=True)
class ConfidenceFacts:
    """One model's confidence on one split."""

    name: str
    """Backbone or baseline."""

    split: str
    """``test`` or ``validation``."""

    n: int
    """Images."""

    bins: tuple[ReliabilityBin, ...]
    """Bins that hold an answer, the least confident first."""

    coverage: tuple[float, ...]
    """Fraction of images answered, if only the most confident answers are given."""

    accuracy_at_coverage: tuple[float, ...]
    """Fraction right among those answers."""

    threshold: tuple[float, ...]
    """Smallest confidence among those answers."""


def confidence_facts(name: str, predictions: Predictions, temperature: float = 1.0) -> ConfidenceFacts:
    """Compute the facts of reliability diagram and coverage curve.

    Args:
        name: of the backbone or baseline.
        predictions: of N images; at least one.
        temperature: of the model.

    Returns:
        The facts. Coverage has a point where the confidence changes: answers of equal confidence are given together.
    """
    confidence_n = np.exp(log_softmax(predictions.logits_nk, temperature).max(axis=1))
    right_n = right_answers(predictions)
    coverage, accuracy, threshold = _coverage(confidence_n, right_n)
    return ConfidenceFacts(
        name, predictions.split, len(right_n), _bins(confidence_n, right_n), coverage, accuracy, threshold
    )


def _bins(confidence_n: np.ndarray, right_n: np.ndarray) -> tuple[ReliabilityBin, ...]:
    place_n = np.clip(np.ceil(confidence_n * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    return tuple(
        ReliabilityBin(
            place / NUM_BINS,
            (place + 1) / NUM_BINS,
            int(inside.sum()),
            float(confidence_n[inside].mean()),
            wilson_interval(int(right_n[inside].sum()), int(inside.sum())),
        )
        for place in range(NUM_BINS)
        if (inside := place_n == place).any()
    )


def _coverage(
    confidence_n: np.ndarray, right_n: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    order = np.argsort(-confidence_n, kind="stable")
    sorted_n = confidence_n[order]
    accuracy_n = np.cumsum(right_n[order]) / np.arange(1, len(order) + 1)
    ends = np.flatnonzero(np.append(sorted_n[1:] < sorted_n[:-1], True))
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, min(len(ends), MOST_POINTS)).round().astype(int))]
    return (
        tuple(float(end + 1) / len(order) for end in ends),
        tuple(float(accuracy_n[end]) for end in ends),
        tuple(float(sorted_n[end]) for end in ends),
    )
