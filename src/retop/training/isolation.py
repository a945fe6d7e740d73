"""Isolating tests: small experiments with a finished network that tell causes apart which curves cannot.

N images, F features, K classes, C channels, H height, W width.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from retop.data import ImageSet
from retop.data.batches import decode_batches
from retop.predictor import Predictor
from retop.recipe import ViewsRecipe
from retop.records import IsolationRecord, Predictions, SampleResult, SuspectedLabel
from retop.training.order import derive_seed

FEWEST_IMAGES, MOST_IMAGES, ROWS_PER_IMAGE = 32, 256, 60
"""One image in 60 of those that pass the prefix keeps all passes over the sample below 5 %."""
NUM_PASSES = 3
MOST_FITTED = 1000
FOLDS = 5
NUM_FITS = FOLDS + 2
PENALTY_C = 0.01
BATCH = 32
BORDER_FRACTION = 0.14
THUMBNAIL_PIXELS = 8
MOST_SUSPECTED = 200
NO_AUGMENTATION = ViewsRecipe(preset="none", count=1)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FrozenFeatures:
    """Features of the network as it was before stage 2, view 0.

    Attributes:
        train_nf: [N, F] of the training images.
        validation_nf: [N, F] of the validation images.
    """

    train_nf: Floats
    validation_nf: Floats


def isolate(
    predictor: Predictor,
    predictions: Predictions,
    train: ImageSet,
    validation: ImageSet,
    features: FrozenFeatures | None,
    *,
    num_views: int,
    seed: int,
) -> IsolationRecord:
    """Make all isolating tests of one run.

    Args:
        predictor: the saved model; its batch norms are changed, so it is of no use afterwards.
        predictions: its answers on validation.
        train: training images.
        validation: validation images, in the order of `predictions`.
        features: None where they were not stored.
        num_views: V of the run; with the number of images it sets the size of the sample.
        seed: of the run.

    Returns:
        The record.
    """
    wanted = sample_size(len(train), num_views, len(validation))
    generator = np.random.default_rng(derive_seed("isolation", seed))
    rows = np.sort(generator.permutation(len(validation))[:wanted])
    labels_n = validation.labels_n[rows]
    images_nchw = torch.cat(
        list(
            decode_batches(
                validation, rows, np.zeros_like(rows), predictor.trained.preprocessing, NO_AUGMENTATION, BATCH
            )
        )
    )
    border = _answer(predictor, _border(images_nchw), labels_n)
    thumbnail = _answer(predictor, _thumbnail(images_nchw), labels_n)
    own = _result(torch.from_numpy(predictions.logits_nk[rows]), labels_n)
    statistics = _answer(predictor, images_nchw, labels_n) if _use_batch_statistics(predictor.classifier) else None
    refit = shuffled = crossed = None
    suspected: tuple[SuspectedLabel, ...] = ()
    if features is not None:
        picked = np.sort(generator.permutation(len(train))[:MOST_FITTED])
        train_nf, learned_n = _scaled(features.train_nf[picked], features), train.labels_n[picked]
        validation_nf = _scaled(features.validation_nf, features)
        num_classes = len(train.classes)
        refit = _fitted(train_nf, learned_n, validation_nf, validation.labels_n, num_classes)
        shuffled = _fitted(train_nf, generator.permutation(learned_n), validation_nf, validation.labels_n, num_classes)
        crossed, suspected = _cross_validate(train_nf, learned_n, train, picked, generator)
    return IsolationRecord(own, statistics, border, thumbnail, refit, shuffled, crossed, suspected)


def sample_size(num_train: int, num_views: int, num_validation: int) -> int:
    """Validation images that the tests look at.

    Args:
        num_train: training images.
        num_views: V.
        num_validation: validation images.
    """
    share = (num_train * num_views + num_validation) // ROWS_PER_IMAGE
    return min(num_validation, max(FEWEST_IMAGES, min(MOST_IMAGES, share)))


def _border(images_nchw: torch.Tensor) -> torch.Tensor:
    height, width = images_nchw.shape[2:]
    top, left = max(1, round(BORDER_FRACTION * height)), max(1, round(BORDER_FRACTION * width))
    masked = images_nchw.clone()
    masked[:, :, top : height - top, left : width - left] = 127
    return masked


def _thumbnail(images_nchw: torch.Tensor) -> torch.Tensor:
    small = functional.interpolate(images_nchw.float(), size=(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), mode="area")
    large = functional.interpolate(small, size=images_nchw.shape[2:], mode="bicubic", align_corners=False)
    return large.round().clamp(0, 255).to(torch.uint8)


def _use_batch_statistics(network: nn.Module) -> bool:
    """Let batch norms normalise by the batch without learning from it; whether there are any."""
    found = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for module in found:
        module.train()
        module.momentum = 0.0
    return bool(found)


def _answer(predictor: Predictor, images_nchw: torch.Tensor, labels_n: npt.NDArray[np.int64]) -> SampleResult:
    # Parts of equal size: a batch of one would be normalised by itself.
    parts = torch.tensor_split(images_nchw, max(1, round(len(images_nchw) / BATCH)))
    return _result(torch.from_numpy(np.concatenate([predictor.logits(part) for part in parts])), labels_n)


def _result(logits_nk: torch.Tensor, labels_n: npt.NDArray[np.int64]) -> SampleResult:
    labels = torch.from_numpy(labels_n.copy())
    loss = float(functional.cross_entropy(logits_nk.double(), labels))
    return SampleResult(len(labels_n), int((logits_nk.argmax(1) == labels).sum()), max(0.0, loss))


def _scaled(features_nf: Floats, features: FrozenFeatures) -> Floats:
    """Centred, and one scale for all: the head's own convention."""
    mean_f = features.train_nf.mean(axis=0)
    size = float(np.sqrt(np.mean((features.train_nf - mean_f) ** 2)))
    return np.asarray((features_nf - mean_f) / max(size, 1e-12), dtype=np.float32)


def _probabilities(
    train_nf: Floats, labels_n: npt.NDArray[np.int64], others_nf: Floats, num_classes: int
) -> npt.NDArray[np.float64]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probability_nk = np.full((len(others_nf), num_classes), 1e-9)
    present = np.unique(labels_n)
    if len(present) == 1:
        probability_nk[:, present] = 1.0
        return probability_nk
    model = LogisticRegression(C=PENALTY_C, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_nf, labels_n)
    probability_nk[:, model.classes_] = model.predict_proba(others_nf)
    return probability_nk


def _fitted(
    train_nf: Floats,
    labels_n: npt.NDArray[np.int64],
    validation_nf: Floats,
    validation_labels_n: npt.NDArray[np.int64],
    num_classes: int,
) -> SampleResult:
    probability_nk = _probabilities(train_nf, labels_n, validation_nf, num_classes)
    return _result(torch.from_numpy(np.log(np.maximum(probability_nk, 1e-9))), validation_labels_n)


def _cross_validate(
    train_nf: Floats,
    labels_n: npt.NDArray[np.int64],
    train: ImageSet,
    picked: npt.NDArray[np.int64],
    generator: np.random.Generator,
) -> tuple[SampleResult, tuple[SuspectedLabel, ...]]:
    fold_n = generator.permutation(len(labels_n)) % FOLDS
    probability_nk = np.zeros((len(labels_n), len(train.classes)))
    for fold in range(FOLDS):
        inside = fold_n == fold
        if inside.any() and not inside.all():
            probability_nk[inside] = _probabilities(
                train_nf[~inside], labels_n[~inside], train_nf[inside], len(train.classes)
            )
    answer_n = probability_nk.argmax(axis=1)
    confidence_n = probability_nk.max(axis=1)
    wrong = sorted(np.flatnonzero(answer_n != labels_n), key=lambda n: (-confidence_n[n], n))[:MOST_SUSPECTED]
    suspected = tuple(
        SuspectedLabel(
            train.path(int(picked[n])),
            train.classes[labels_n[n]],
            train.classes[answer_n[n]],
            float(confidence_n[n]),
        )
        for n in wrong
    )
    return _result(torch.from_numpy(np.log(np.maximum(probability_nk, 1e-9))), labels_n), suspected
