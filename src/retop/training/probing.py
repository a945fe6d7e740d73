"""Logistic regressions on features of the frozen network: what can be had without training any of its layers.

N images, F features, K classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from retop.data import ImageSet
from retop.evaluation import log_softmax
from retop.records import SampleResult, SureAnswers, SuspectedLabel
from retop.stopping import Stop
from retop.training.logistic import LogisticRegression
from retop.training.regression import blas_threads

PENALTY_C, LEAST_PROBABILITY = 0.01, 1e-9
FOLDS = 5
MOST_SUSPECTED = 200
CERTAIN = 3.0
SURE = 0.8
"""Confidence above which an answer counts as sure."""

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FrozenFeatures:
    """Features of the network as it was before stage 2, view 0.

    Attributes:
        train_nf: [N, F] of the training images.
        validation_nf: [N, F] of the validation images.
    """

    train_nf: Floats
    validation_nf: Floats

    def scaled(self) -> "FrozenFeatures":
        """Centred, and one scale for all: the head's own convention."""
        mean_f = self.train_nf.mean(axis=0)
        size = max(float(np.sqrt(np.mean((self.train_nf - mean_f) ** 2))), 1e-12)
        return FrozenFeatures(
            np.asarray((self.train_nf - mean_f) / size, dtype=np.float32),
            np.asarray((self.validation_nf - mean_f) / size, dtype=np.float32),
        )


def fit_logits(train_nf: Floats, labels_n: Labels, others_nf: Floats, num_classes: int) -> npt.NDArray[np.float64]:
    """Fit a logistic regression and let it answer.

    Args:
        train_nf: [N, F], scaled.
        labels_n: [N] of them; classes may be missing.
        others_nf: [M, F] to be answered.
        num_classes: K.

    Returns:
        Logarithms of probabilities [M, K].
    """
    probability_nk = np.full((len(others_nf), num_classes), LEAST_PROBABILITY)
    present, place_n = np.unique(labels_n, return_inverse=True)
    if len(present) == 1:
        probability_nk[:, present] = 1.0
    else:
        with blas_threads(train_nf.size):
            model = LogisticRegression(train_nf, place_n, len(present), PENALTY_C)
            log_nk = model.log_probabilities(others_nf)
        probability_nk[:, present] = np.maximum(np.exp(log_nk), LEAST_PROBABILITY)
    return np.asarray(np.log(probability_nk))


def count_right(logits_nk: npt.NDArray[np.floating], labels_n: Labels) -> SampleResult:
    """Right answers and log loss.

    Args:
        logits_nk: [N, K].
        labels_n: [N].
    """
    logits, labels = torch.from_numpy(np.array(logits_nk)).double(), torch.from_numpy(labels_n.copy())
    loss = float(functional.cross_entropy(logits, labels))
    return SampleResult(len(labels_n), int((logits.argmax(1) == labels).sum()), max(0.0, loss))


def least_sharpness(logits_nk: npt.NDArray[np.float64], labels_n: Labels) -> float:
    """The smallest factor of the logits that these labels allow: least confidence, within three standard errors.

    A penalised regression, and one that has learned wrong labels, says less than it knows; labels of images that it
    has not learned from tell how much.

    Args:
        logits_nk: [N, K] of images that were not learned from.
        labels_n: [N] of them.

    Returns:
        The smallest factor whose likelihood is within `CERTAIN` of the largest.
    """
    factors = np.geomspace(0.1, 30, 120)
    costs = np.array([len(labels_n) * count_right(logits_nk * factor, labels_n).log_loss for factor in factors])
    return float(factors[np.flatnonzero(costs <= costs.min() + CERTAIN**2 / 2)[0]])


def cross_validate(
    train_nf: Floats,
    labels_n: Labels,
    train: ImageSet,
    picked: npt.NDArray[np.int64],
    generator: np.random.Generator,
    sharpness: float,
    stop: Stop,
) -> tuple[SampleResult, tuple[SuspectedLabel, ...], SureAnswers]:
    """Let every image be answered by a regression that did not learn from it.

    Args:
        train_nf: [N, F], scaled.
        labels_n: [N] of them.
        train: all training images.
        picked: [N] which of them the features are of.
        generator: deals the folds.
        sharpness: what logits are multiplied with before they say how sure an answer is.
        stop: whether somebody asked to stop; asked before every fold.

    Returns:
        How many labels are confirmed; the images whose label is not, the most confident first; and how often sure
        answers contradict a label.
    """
    fold_n = generator.permutation(len(labels_n)) % FOLDS
    logits_nk = np.zeros((len(labels_n), len(train.classes)))
    for fold in range(FOLDS):
        stop.check()
        inside = fold_n == fold
        if inside.any() and not inside.all():
            logits_nk[inside] = fit_logits(
                train_nf[~inside], labels_n[~inside], train_nf[inside], len(train.classes)
            )  # fmt: skip
    answer_n, confidence_n = logits_nk.argmax(axis=1), np.exp(log_softmax(logits_nk * sharpness).max(axis=1))
    wrong = sorted(np.flatnonzero(answer_n != labels_n), key=lambda n: (-confidence_n[n], n))[:MOST_SUSPECTED]
    suspected = tuple(
        SuspectedLabel(
            train.path(int(picked[n])),
            train.classes[labels_n[n]],
            train.classes[answer_n[n]],
            float(min(confidence_n[n], 1.0)),
        )
        for n in wrong
    )
    sure_n = confidence_n > SURE
    sure = SureAnswers(
        int(sure_n.sum()),
        int((sure_n & (answer_n != labels_n)).sum()),
        float(np.maximum(1 - confidence_n[sure_n], 0).sum()),
    )
    return count_right(logits_nk, labels_n), suspected, sure
