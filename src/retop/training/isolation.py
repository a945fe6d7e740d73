"""Isolating tests: small experiments with a finished network that tell causes apart which curves cannot.

N images, F features, K classes, C channels, H height, W width.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from retop.backbones import Group
from retop.data import ImageSet
from retop.data.batches import decode_batches
from retop.predictor import Predictor
from retop.recipe import ViewsRecipe
from retop.records import (
    BATCH_STATISTICS,
    DepthResult,
    IsolationRecord,
    Predictions,
    SampleResult,
    SureAnswers,
    SuspectedLabel,
)
from retop.training.allowance import Allowance, fit_flops
from retop.training.depth import probe_depths
from retop.training.order import derive_seed
from retop.training.probing import FOLDS, FrozenFeatures, count_right, cross_validate, fit_logits, least_sharpness

T = TypeVar("T")

FEWEST_IMAGES, MOST_IMAGES, PASSES_PER_IMAGE = 64, 256, 100
NUM_PASSES = 5
"""One image in 100 of those that pass the network in a run keeps all passes over the sample at 5 % of
those, which are but a part of its time."""
MOST_FITTED = 1000
NUM_FITS = FOLDS + 2
BATCH = 32
BORDER_FRACTION = 0.14
THUMBNAIL_PIXELS = 8
REGRESSIONS, DEPTHS = "regressions on the features", "probe at several depths"
BORDERS = "borders and thumbnails"
NO_AUGMENTATION = ViewsRecipe(preset="none", count=1)


def isolate(
    open_model: Callable[[], Predictor],
    predictions: Predictions,
    train: ImageSet,
    validation: ImageSet,
    open_features: Callable[[], FrozenFeatures] | None,
    *,
    frozen: Sequence[Group],
    num_views: int,
    seed: int,
    pass_flops: float,
    allowance: Allowance,
) -> IsolationRecord:
    """Make all isolating tests of one run.

    Args:
        open_model: gives the saved model; its batch norms are changed, so it is of no use afterwards.
        predictions: its answers on validation.
        train: training images.
        validation: validation images, in the order of `predictions`.
        open_features: gives the features of the frozen network; None where they were not stored.
        frozen: groups of layers that were not trained, from the stem on.
        num_views: V of the run; with the number of images it sets the size of the sample.
        seed: of the run.
        pass_flops: operations of one image through the network.
        allowance: what the tests may take; the first of them are the most telling for their work. Those that fail are
            written down in it.

    Returns:
        The record.
    """
    wanted = sample_size(len(train), num_views, len(validation))
    generator = np.random.default_rng(derive_seed("isolation", seed))
    # In an order of chance: a batch of one class would have the statistics of that class.
    rows = generator.permutation(len(validation))[:wanted]
    labels_n = validation.labels_n[rows]
    donor_n = other_donors(labels_n)
    other_n = labels_n[donor_n] != labels_n
    own = count_right(predictions.logits_nk[rows], labels_n)
    refit = shuffled = crossed = statistics = None
    suspected: tuple[SuspectedLabel, ...] = ()
    sure: SureAnswers | None = None
    depths: tuple[DepthResult, ...] = ()
    border = middle = thumbnail = SampleResult(0, 0, 0.0)
    sample_flops = len(rows) * pass_flops
    picked = generator.permutation(len(train))[:MOST_FITTED]
    if open_features is None and frozen:
        for test in (REGRESSIONS, DEPTHS):
            allowance.leave_out(test, "the frozen network's features were not stored; --cache DIR stores them")
    features = _opened(open_features, allowance, REGRESSIONS, DEPTHS) if open_features else None
    sizes = (len(picked), features.train_nf.shape[1], len(train.classes)) if features else (0, 0, 0)
    if features is not None and allowance.covers(REGRESSIONS, fit_flops(NUM_FITS, *sizes)):
        with allowance.attempt(REGRESSIONS):
            scaled, learned_n = features.scaled(), train.labels_n[picked]
            train_nf, validation_nf = scaled.train_nf[picked], scaled.validation_nf
            fit = (validation_nf, len(train.classes))
            refit_nk = fit_logits(train_nf, learned_n, *fit)
            dealt_n = generator.permutation(learned_n)
            shuffled = count_right(fit_logits(train_nf, dealt_n, *fit), validation.labels_n)
            crossed, suspected, sure = cross_validate(
                train_nf, learned_n, train, picked, generator, least_sharpness(refit_nk, validation.labels_n)
            )
            refit = count_right(refit_nk, validation.labels_n)

    def open_sample() -> tuple[Predictor, torch.Tensor]:
        predictor = open_model()
        return predictor, _decode(predictor, validation, rows)

    asking = (BATCH_STATISTICS, BORDERS, *([DEPTHS] if features is not None and frozen else []))
    sample = _opened(open_sample, allowance, *asking)
    if sample is None:
        return IsolationRecord(
            own, None, border, thumbnail, refit, shuffled, crossed, suspected, depths, middle, sure,
            tuple(allowance.skipped),
        )  # fmt: skip
    predictor, images_nchw = sample
    # Parts of a batch would have statistics of their own. Asked before, and answered last: it changes the batch norms.
    whole = _has_batch_norm(predictor.classifier)
    if whole and predictor.images_at_once is not None:
        allowance.leave_out(BATCH_STATISTICS, f"memory holds no batch of more than {predictor.images_at_once:,}")
        whole = False
    whole = whole and allowance.covers(BATCH_STATISTICS, sample_flops)
    if allowance.covers(BORDERS, 2 * sample_flops):
        with allowance.attempt(BORDERS):
            reduced = _answer(predictor, _thumbnail(images_nchw), labels_n)
            # Where all images are of one class there is none of another to take a middle from.
            if other_n.any():
                exchanged_nk = _logits(predictor, exchange_middles(images_nchw, donor_n)[other_n])
                border, middle = (count_right(exchanged_nk, one_n[other_n]) for one_n in (labels_n, labels_n[donor_n]))
            thumbnail = reduced
    if features is not None and frozen:
        learned = picked[:wanted]
        fitted = fit_flops(len(frozen) + 1, len(learned), *sizes[1:])
        if allowance.covers(DEPTHS, (len(rows) + len(learned)) * pass_flops + fitted):
            with allowance.attempt(DEPTHS):
                depths = probe_depths(
                    predictor,
                    frozen,
                    _parts(_decode(predictor, train, learned)),
                    _parts(images_nchw),
                    FrozenFeatures(features.train_nf[learned], features.validation_nf[rows]),
                    (train.labels_n[learned], labels_n),
                )
    if whole:
        with allowance.attempt(BATCH_STATISTICS):
            _use_batch_statistics(predictor.classifier)
            statistics = _answer(predictor, images_nchw, labels_n)
    return IsolationRecord(
        own, statistics, border, thumbnail, refit, shuffled, crossed, suspected, depths, middle, sure,
        tuple(allowance.skipped),
    )  # fmt: skip


def _opened(give: Callable[[], T], allowance: Allowance, *tests: str) -> T | None:
    """What tests need; None where it cannot be had, which is written down for each of them."""
    given: list[T] = []
    with allowance.attempt(*tests):
        given.append(give())
    return given[0] if given else None


def _decode(predictor: Predictor, images: ImageSet, rows: npt.NDArray[np.int64]) -> torch.Tensor:
    preprocessing = predictor.trained.preprocessing
    return torch.cat(
        list(decode_batches(images, rows, np.zeros_like(rows), preprocessing, NO_AUGMENTATION, BATCH))
    )  # fmt: skip


def sample_size(num_train: int, num_views: int, num_validation: int) -> int:
    """Validation images that the tests look at.

    Args:
        num_train: training images.
        num_views: V.
        num_validation: validation images.
    """
    share = (num_train * num_views + 2 * num_validation) // PASSES_PER_IMAGE
    return min(num_validation, max(FEWEST_IMAGES, min(MOST_IMAGES, share)))


def other_donors(labels_n: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For every image another one, of another class unless a class has more than half of the images.

    Args:
        labels_n: [N].

    Returns:
        [N] places; each occurs once.
    """
    order, donor_n = np.argsort(labels_n, kind="stable"), np.empty(len(labels_n), dtype=np.int64)
    donor_n[order] = np.roll(order, int(np.bincount(labels_n).max()))
    return donor_n


def exchange_middles(images_nchw: torch.Tensor, donor_n: npt.NDArray[np.int64]) -> torch.Tensor:
    """Give every image the middle of another one; its border stays.

    Args:
        images_nchw: [N, C, H, W].
        donor_n: [N] whose middle each gets.
    """
    height, width = images_nchw.shape[2:]
    top, left = max(1, round(BORDER_FRACTION * height)), max(1, round(BORDER_FRACTION * width))
    middle = slice(None), slice(None), slice(top, height - top), slice(left, width - left)
    exchanged = images_nchw.clone()
    exchanged[middle] = images_nchw[torch.from_numpy(donor_n)][middle]
    return exchanged


def _thumbnail(images_nchw: torch.Tensor) -> torch.Tensor:
    small = functional.interpolate(images_nchw.float(), size=(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), mode="area")
    large = functional.interpolate(small, size=images_nchw.shape[2:], mode="bicubic", align_corners=False)
    return large.round().clamp(0, 255).to(torch.uint8)


def _has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def _use_batch_statistics(network: nn.Module) -> None:
    """Let batch norms normalise by the batch without learning from it."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 0.0


def _parts(images_nchw: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Batches of equal size: a batch of one would be normalised by itself."""
    return torch.tensor_split(images_nchw, max(1, round(len(images_nchw) / BATCH)))


def _answer(predictor: Predictor, images_nchw: torch.Tensor, labels_n: npt.NDArray[np.int64]) -> SampleResult:
    return count_right(_logits(predictor, images_nchw), labels_n)


def _logits(predictor: Predictor, images_nchw: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.concatenate([predictor.logits(part) for part in _parts(images_nchw)])
