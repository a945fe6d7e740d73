"""Isolating tests: small experiments with a finished network that tell causes apart which curves cannot.

N images, F features, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from retop.backbones import Group
from retop.data import ImageSet
from retop.predictor import Predictor
from retop.records import (
    BATCH_STATISTICS,
    DepthResult,
    IsolationRecord,
    Predictions,
    SampleResult,
    SureAnswers,
    SuspectedLabel,
)
from retop.stopping import Stop
from retop.training.allowance import Allowance
from retop.training.costs import Costs, fit_seconds
from retop.training.depth import probe_depths
from retop.training.order import Rows, derive_seed
from retop.training.probing import FOLDS, FrozenFeatures, count_right, cross_validate, fit_logits, least_sharpness
from retop.training.sample import BATCH, Sample, decode_plainly, has_batch_norm, in_batches

SAMPLE_SIZES = (256, 128, 64)
"""Images that the tests look at: the most with which all tests fit into what they may take; else the fewest, and what
does not fit is left out."""
NUM_PASSES = 5
"""Of a sample's images, its batch statistics and another sample to learn from included."""
MOST_FITTED = 1000
NUM_FITS = FOLDS + 2
REGRESSIONS, DEPTHS = "regressions on the features", "probe at several depths"
BORDERS = "borders and thumbnails"
NOTHING = SampleResult(0, 0, 0.0)


@dataclass(frozen=True)
class _Regressions:
    """Of the frozen network's features; see `IsolationRecord`."""

    refit: SampleResult | None = None
    shuffled: SampleResult | None = None
    crossed: SampleResult | None = None
    suspected: tuple[SuspectedLabel, ...] = ()
    sure: SureAnswers | None = None


@dataclass(frozen=True)
class _Changed:
    """Answers to changed images; see `IsolationRecord`."""

    border: SampleResult = NOTHING
    middle: SampleResult = NOTHING
    thumbnail: SampleResult = NOTHING


UNCHANGED = _Changed()


@dataclass(frozen=True)
class _Sampled:
    """Of a sample of images; see `IsolationRecord`."""

    changed: _Changed = UNCHANGED
    depths: tuple[DepthResult, ...] = ()
    statistics: SampleResult | None = None


@dataclass(frozen=True)
class _Images:
    """Those that tests look at: rows of training to learn from, and of validation to ask."""

    train: ImageSet
    validation: ImageSet
    learned: Rows
    asked: Rows

    def first(self, number: int) -> "_Images":
        """At most so many of each."""
        return _Images(self.train, self.validation, self.learned[:number], self.asked[:number])


@dataclass(frozen=True)
class _Prices:
    """Seconds of what is done with a sample; `passing` is those of all its images through the network once."""

    decoding: float
    passing: float
    changing: float
    probing: float

    @property
    def together(self) -> float:
        """Of all tests."""
        return self.decoding + self.passing + self.changing + self.probing


def isolate(
    predictor: Predictor,
    predictions: Predictions,
    train: ImageSet,
    validation: ImageSet,
    open_features: Callable[[], FrozenFeatures] | None,
    *,
    frozen: Sequence[Group],
    seed: int,
    costs: Costs,
    allowance: Allowance,
) -> IsolationRecord:
    """Make all isolating tests of one run.

    Args:
        predictor: the saved model; its batch norms are changed, so it is of no use afterwards.
        predictions: its answers on validation.
        train: training images.
        validation: validation images, in the order of `predictions`.
        open_features: gives the features of the frozen network; None where they were not stored.
        frozen: groups of layers that were not trained, from the stem on.
        seed: of the run.
        costs: of what the tests do.
        allowance: what the tests may take; the first of them are the most telling for their work. Those that fail are
            written down in it.

    Returns:
        The record.
    """
    generator = np.random.default_rng(derive_seed("isolation", seed))
    # In an order of chance: a batch of one class would have the statistics of that class.
    rows = generator.permutation(len(validation))
    picked = generator.permutation(len(train))[:MOST_FITTED]

    features = _open_features(open_features, frozen, allowance)
    sizes = (features.train_nf.shape[1], len(train.classes)) if features is not None else (0, 0)
    regressions = None
    if features is not None:
        regress = partial(_regress, features, train, validation, picked, generator, allowance.stop)
        regressions = allowance.make(fit_seconds(NUM_FITS, len(picked), *sizes), regress, REGRESSIONS)

    frozen = frozen if features is not None else ()
    samples = [_Images(train, validation, picked, rows).first(number) for number in SAMPLE_SIZES]
    priced = [(sample, _price(sample, costs, frozen, sizes)) for sample in samples]
    images, prices = next((one for one in priced if one[1].together <= allowance.seconds), priced[-1])
    sampled = _test_sample(predictor, images, prices, features, frozen, allowance)
    regressions = regressions or _Regressions()
    return IsolationRecord(
        validation=count_right(predictions.logits_nk[images.asked], validation.labels_n[images.asked]),
        batch_statistics=sampled.statistics,
        border=sampled.changed.border,
        middle=sampled.changed.middle,
        thumbnail=sampled.changed.thumbnail,
        head_refit=regressions.refit,
        shuffled_labels=regressions.shuffled,
        cross_validated=regressions.crossed,
        suspected_labels=regressions.suspected,
        sure_answers=regressions.sure,
        depths=sampled.depths,
        skipped=tuple(allowance.skipped),
    )


def _price(images: _Images, costs: Costs, frozen: Sequence[Group], sizes: tuple[int, int]) -> _Prices:
    num_asked, num_learned = len(images.asked), len(images.learned)
    passing, probing = costs.passing(num_asked, BATCH), 0.0
    if frozen:
        probing = costs.decoding(num_learned) + costs.passing(num_learned, BATCH) + passing
        probing += fit_seconds(len(frozen) + 1, num_learned, *sizes)
    return _Prices(costs.decoding(num_asked), passing, 2 * passing + costs.changing(num_asked), probing)


def _test_sample(
    predictor: Predictor,
    images: _Images,
    prices: _Prices,
    features: FrozenFeatures | None,
    frozen: Sequence[Group],
    allowance: Allowance,
) -> _Sampled:
    """Tests that decode images."""
    exchangeable = _can_exchange_statistics(predictor, allowance)
    asking = [BATCH_STATISTICS] * exchangeable + [BORDERS] + [DEPTHS] * bool(frozen)
    if not allowance.affords(prices.decoding + prices.passing, *asking):
        return _Sampled()
    sample = allowance.make(prices.decoding, lambda: Sample(predictor, images.validation, images.asked), *asking)
    if sample is None:
        return _Sampled()
    # Asked before, and answered last: it changes the batch norms.
    exchanging = exchangeable and allowance.covers(BATCH_STATISTICS, prices.passing)
    changed = allowance.make(prices.changing, partial(_change, sample), BORDERS)
    depths: tuple[DepthResult, ...] | None = None
    if features is not None and frozen:
        last = FrozenFeatures(features.train_nf[images.learned], features.validation_nf[images.asked])
        probe = partial(_probe_depths, sample, frozen, images.train, images.learned, last)
        depths = allowance.make(prices.probing, probe, DEPTHS)
    statistics = allowance.make(0.0, sample.use_batch_statistics, BATCH_STATISTICS) if exchanging else None
    return _Sampled(changed or UNCHANGED, depths or (), statistics)


def _open_features(
    give: Callable[[], FrozenFeatures] | None, frozen: Sequence[Group], allowance: Allowance
) -> FrozenFeatures | None:
    if give is not None:
        return allowance.make(0.0, give, REGRESSIONS, DEPTHS)
    if frozen:
        for test in (REGRESSIONS, DEPTHS):
            allowance.leave_out(test, "the frozen network's features were not stored; --cache DIR stores them")
    return None


def _regress(
    features: FrozenFeatures,
    train: ImageSet,
    validation: ImageSet,
    picked: npt.NDArray[np.int64],
    generator: np.random.Generator,
    stop: Stop,
) -> _Regressions:
    scaled, learned_n = features.scaled(), train.labels_n[picked]
    train_nf, validation_nf = scaled.train_nf[picked], scaled.validation_nf
    fit = (validation_nf, len(train.classes))
    refit_nk = fit_logits(train_nf, learned_n, *fit)
    stop.check()
    shuffled_nk = fit_logits(train_nf, generator.permutation(learned_n), *fit)
    sharpness = least_sharpness(refit_nk, validation.labels_n)
    return _Regressions(
        count_right(refit_nk, validation.labels_n),
        count_right(shuffled_nk, validation.labels_n),
        *cross_validate(train_nf, learned_n, train, picked, generator, sharpness, stop),
    )


def _can_exchange_statistics(predictor: Predictor, allowance: Allowance) -> bool:
    if not has_batch_norm(predictor):
        return False
    # Parts of a batch would have statistics of their own.
    at_once = predictor.images_at_once
    if at_once is not None:
        allowance.leave_out(BATCH_STATISTICS, f"memory holds no batch of more than {at_once:,}")
    return at_once is None


def _change(sample: Sample) -> _Changed:
    thumbnail = sample.reduce()
    border, middle = sample.exchange_middles() or (NOTHING, NOTHING)
    return _Changed(border, middle, thumbnail)


def _probe_depths(
    sample: Sample, frozen: Sequence[Group], train: ImageSet, learned: npt.NDArray[np.int64], last: FrozenFeatures
) -> tuple[DepthResult, ...]:
    return probe_depths(
        sample.predictor,
        frozen,
        in_batches(decode_plainly(sample.predictor, train, learned)),
        in_batches(sample.images_nchw),
        last,
        (train.labels_n[learned], sample.labels_n),
    )
