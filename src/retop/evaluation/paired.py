"""Two contenders on the same images."""

# N images, S seeds

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from retop.errors import RunError
from retop.evaluation.resampling import NUM_RESAMPLES, SeedsAndImages
from retop.records import Interval, PairedComparison

SIGNIFICANCE = 0.05


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact McNemar test: do two contenders differ on the images that divide them?

    Args:
        only_first: images that only the first answered rightly, 0 or more.
        only_second: images that only the second answered rightly, 0 or more.

    Returns:
        The p-value; 1 where no image divides them.

    Raises:
        RunError: a count is negative.

    Source: Q. McNemar, Psychometrika 12 (1947); the exact form is the binomial test of one half on the images that
    divide them.
    """
    if min(only_first, only_second) < 0:
        raise RunError(f"counts of images cannot be negative; received {only_first} and {only_second}")
    if only_first == only_second:
        return 1.0
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Holm's step-down correction: holds the chance of any false claim among all pairs.

    Args:
        p_values: [M] p-values in [0, 1].

    Returns:
        [M] corrected p-values in the same order, at most 1.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    p_m = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_m, kind="stable")
    stepped = np.maximum.accumulate(p_m[order] * np.arange(len(p_m), 0, -1))
    corrected = np.empty_like(p_m)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def paired_difference_interval(only_first: int, only_second: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of the difference of two fractions measured on the same images.

    Args:
        only_first: images that only the first answered rightly.
        only_second: images that only the second answered rightly.
        n: all images, at least 1 and at least the sum of the two.
        confidence: coverage, above 0 and below 1.

    Returns:
        Fraction of the first minus fraction of the second, with its interval, inside [-1, 1].

    Raises:
        RunError: a count is negative, there is no image, or fewer images than the two counts say.

    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17 (1998).
    """
    if n < 1 or min(only_first, only_second) < 0 or only_first + only_second > n:
        raise RunError(
            f"a paired difference needs counts that fit into n images; received {only_first}, {only_second} of {n}"
        )
    value = (only_first - only_second) / n
    quantile = NormalDist().inv_cdf((1 + confidence) / 2)
    low = _solve_score(only_first, only_second, n, quantile, -1.0, value)
    high = _solve_score(only_first, only_second, n, -quantile, value, 1.0)
    return Interval(value, min(low, value), max(high, value))


def compare_pair(
    first_right_sn: npt.NDArray[np.bool_],
    second_right_sn: npt.NDArray[np.bool_],
    names: tuple[str, str],
    *,
    resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> PairedComparison:
    """Compare two contenders that answered the same images.

    One seed each: exact McNemar and Tango's interval. Several: a bootstrap over seeds and images gives the standard
    error, and Student's t with Satterthwaite's degrees of freedom the p-value and the interval.

    Args:
        first_right_sn: [S, N] whether seed s of the first answered image n rightly.
        second_right_sn: [S', N] the same for the second; the same images in the same order.
        names: of the first and the second.
        resamples: of the bootstrap, at least 2.
        seed: of the bootstrap's draws.

    Returns:
        The comparison, corrected for no other pair (see `correct_pairs`).

    Raises:
        RunError: there is no image, or not the same number of images.
    """
    n = first_right_sn.shape[1]
    if n == 0 or second_right_sn.shape[1] != n:
        raise RunError(
            f"{names[0]} and {names[1]} cannot be compared: they answered {n} and {second_right_sn.shape[1]} images"
        )
    first_n, second_n = first_right_sn.mean(0), second_right_sn.mean(0)
    only_first, only_second = float((first_n * (1 - second_n)).sum()), float((second_n * (1 - first_n)).sum())
    error = 0.0
    if len(first_right_sn) > 1 or len(second_right_sn) > 1:
        scheme = SeedsAndImages((first_right_sn, second_right_sn), (1.0, -1.0))
        error = scheme.standard_error(resamples, seed)
    test: Literal["exact McNemar", "bootstrap over seeds and images"]
    # Where nothing varies there is nothing to resample: every seed answers alike, and the images alone must speak.
    if error > 1e-9:
        test = "bootstrap over seeds and images"
        p, difference = _studentised(scheme, error)
    else:
        test = "exact McNemar"
        p, difference = _exact(only_first, only_second, n)
    return PairedComparison(*names, n, only_first, only_second, difference, test, p, p, p < SIGNIFICANCE)


def correct_pairs(pairs: tuple[PairedComparison, ...]) -> tuple[PairedComparison, ...]:
    """Apply Holm's correction over all pairs.

    Args:
        pairs: every pair of contenders.

    Returns:
        The same pairs with `p_holm` and `established` filled.
    """
    corrected = holm([pair.p for pair in pairs])
    return tuple(
        replace(pair, p_holm=float(p), established=bool(p < SIGNIFICANCE))
        for pair, p in zip(pairs, corrected, strict=True)
    )


def smallest_decidable(confidence: float = 0.95) -> int:
    """Images that must divide two contenders, all in favour of one, before exact McNemar decides (one pair).

    Args:
        confidence: 1 minus the significance level.

    Returns:
        The number of images; 6 at 95 %.
    """
    return math.ceil(1 - math.log2(1 - confidence) + 1e-12)


def _exact(only_first: float, only_second: float, n: int) -> tuple[float, Interval]:
    counts = round(only_first), round(only_second)
    return exact_mcnemar(*counts), paired_difference_interval(*counts, n)


def _studentised(scheme: SeedsAndImages, error: float) -> tuple[float, Interval]:
    value = scheme.value
    half = scheme.quantile(1 - SIGNIFICANCE) * error
    interval = Interval(value, max(value - half, -1.0), min(value + half, 1.0))
    degrees = scheme.degrees_of_freedom()
    if math.isinf(degrees):
        return 2 * (1 - NormalDist().cdf(abs(value) / error)), interval
    from scipy.special import stdtr

    return 2 * float(stdtr(degrees, -abs(value) / error)), interval


def _solve_score(only_first: int, only_second: int, n: int, quantile: float, low: float, high: float) -> float:
    """Bisect for the difference whose score statistic is `quantile`; the statistic falls with the difference."""
    for _ in range(60):
        middle = (low + high) / 2
        if _tango_score(only_first, only_second, n, middle) > quantile:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _tango_score(only_first: int, only_second: int, n: int, difference: float) -> float:
    a = 2 * n
    b = -only_first - only_second + (2 * n - only_first + only_second) * difference
    c = -only_second * difference * (1 - difference)
    share_second = max((math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a), 0.0)
    variance = n * (2 * share_second + difference * (1 - difference))
    gap = only_first - only_second - n * difference
    if variance <= 1e-18:
        return 0.0 if abs(gap) < 1e-12 else math.copysign(math.inf, gap)
    return gap / math.sqrt(variance)
