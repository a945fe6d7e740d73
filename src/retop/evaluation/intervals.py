"""Intervals for fractions: in closed form, and from a bootstrap where there is none.

Every interval has the form of Wilson's. Where the standard error comes from a bootstrap, it is expressed as the
number of images that would give a plain fraction the same standard error. So intervals stay inside [0, 1], hold
their estimate, and do not collapse to a point where every answer was right.
"""

# N images, S seeds, C cells of images that look alike to a statistic, R resamples

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from retop.errors import RunError
from retop.evaluation.resampling import CHUNK_VALUES, NUM_RESAMPLES, SeedsAndImages
from retop.records import Interval

Counts = npt.NDArray[np.int64]
Statistic = Callable[[Counts], npt.NDArray[np.float64]]


def wilson_interval(num_right: float, n: float, confidence: float = 0.95) -> Interval:
    """Score interval of a fraction.

    Args:
        num_right: right answers, 0 to `n`; a fraction of an answer where `n` is an effective number.
        n: images, above 0.
        confidence: coverage, above 0 and below 1.

    Returns:
        The fraction with its interval, inside [0, 1].

    Raises:
        RunError: `n` is not above 0, `num_right` is outside 0 to `n`, or `confidence` is outside 0 to 1.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    if not 0 < confidence < 1:
        raise RunError(f"confidence must lie between 0 and 1; received {confidence}")
    if not (n > 0 and 0 <= num_right <= n):
        raise RunError(
            f"an interval needs at least one image and no more right answers than images; received {num_right} of {n} "
            f"(is the split empty?)"
        )
    return _score_interval(num_right / n, n, NormalDist().inv_cdf((1 + confidence) / 2))


def bootstrap_interval(
    counts_c: Counts,
    statistic: Statistic,
    fallback_n: float,
    *,
    resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Interval of any statistic of counted images that lies between 0 and 1, from a bootstrap over images.

    Images that the statistic cannot tell apart form a cell (for a confusion matrix: the same true and predicted
    class). Drawing N images with replacement is then one multinomial draw over the cells, so that time and memory
    depend on the number of cells, not on N.

    Args:
        counts_c: [C] images in each cell; at least one image in all.
        statistic: from counts [R, C] to values [R] in [0, 1].
        fallback_n: effective number of images where no resample differs from another, e.g. every answer right.
        resamples: R, at least 2.
        seed: of the draws.
        confidence: coverage, above 0 and below 1.

    Returns:
        The statistic of `counts_c` with its interval.

    Raises:
        RunError: there is no image.

    Source: B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979). We take the
    standard error from it and the form from Wilson, because percentiles cover too rarely near 0 and 1.
    """
    n = int(counts_c.sum())
    if n == 0:
        raise RunError("an interval needs at least one image; received none (is the split empty?)")
    value = float(statistic(counts_c[None])[0])
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_VALUES // len(counts_c))
    drawn = [
        statistic(generator.multinomial(n, counts_c / n, size=min(chunk, resamples - start)))
        for start in range(0, resamples, chunk)
    ]
    quantile = NormalDist().inv_cdf((1 + confidence) / 2)
    error = float(np.std(np.concatenate(drawn), ddof=1))
    return _score_interval(value, _effective_n(value, error, fallback_n, math.inf), quantile)


def bootstrap_seeds_and_images(
    right_sn: npt.NDArray[np.bool_], *, resamples: int = NUM_RESAMPLES, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Mean accuracy over seeds, with an interval from a bootstrap over seeds and images.

    The interval speaks about other seeds and other images of the same kind. With one seed it is Wilson's interval
    and speaks about that one model only.

    Args:
        right_sn: [S, N] whether seed s answered image n rightly; S and N at least 1.
        resamples: R, at least 2.
        seed: of the draws.
        confidence: coverage, above 0 and below 1.

    Returns:
        The mean with its interval.

    Raises:
        RunError: there is no seed or no image.

    Source: A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007); the number of seeds drawn
    and the quantile as in `SeedsAndImages`.
    """
    num_seeds, n = right_sn.shape
    if num_seeds == 0 or n == 0:
        raise RunError(f"an interval needs at least one seed and one image; received {num_seeds} seeds, {n} images")
    if num_seeds == 1:
        return wilson_interval(int(right_sn.sum()), n, confidence)
    value = float(right_sn.mean())
    scheme = SeedsAndImages((right_sn,), (1.0,))
    effective = _effective_n(value, scheme.standard_error(resamples, seed), n, num_seeds * n)
    return _score_interval(value, effective, scheme.quantile(confidence))


def _effective_n(value: float, standard_error: float, fallback_n: float, most: float) -> float:
    """Images that would give a plain fraction this standard error."""
    if standard_error < 1e-9:
        return fallback_n
    return min(max(value * (1 - value) / standard_error**2, 1.0), most)


def _score_interval(value: float, n: float, quantile: float) -> Interval:
    square = quantile**2
    centre = (value + square / (2 * n)) / (1 + square / n)
    half = quantile / (1 + square / n) * math.sqrt(value * (1 - value) / n + square / (4 * n * n))
    return Interval(value, min(max(centre - half, 0.0), value), max(min(centre + half, 1.0), value))
