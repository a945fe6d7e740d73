"""Intervals in closed form and from the bootstrap."""

import numpy as np
import pytest
from scipy.stats import binomtest

from retop.errors import RunError
from retop.evaluation import bootstrap_interval, bootstrap_seeds_and_images, wilson_interval


@pytest.mark.parametrize(("num_right", "n"), [(0, 1), (9, 10), (18, 20), (590, 600), (600, 600)])
def test_wilson_agrees_with_scipy(num_right: int, n: int) -> None:
    expected = binomtest(num_right, n).proportion_ci(0.95, "wilson")
    interval = wilson_interval(num_right, n)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nine_of_ten_means_between_60_and_98_percent() -> None:
    interval = wilson_interval(9, 10)
    assert (round(interval.low, 2), round(interval.high, 2)) == (0.60, 0.98)


@pytest.mark.parametrize(("num_right", "n", "confidence"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 5, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_what_is_no_fraction(num_right: int, n: int, confidence: float) -> None:
    with pytest.raises(RunError, match="received"):
        wilson_interval(num_right, n, confidence)


def test_one_seed_gives_wilson() -> None:
    right_sn = np.arange(50)[None] % 10 > 0
    assert bootstrap_seeds_and_images(right_sn) == wilson_interval(45, 50)


def test_bootstrap_of_a_plain_fraction_is_close_to_wilson() -> None:
    interval = bootstrap_interval(np.array([270, 30]), lambda rc: rc[:, 0] / rc.sum(1), 300, resamples=20_000)
    expected = wilson_interval(270, 300)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_all_right_does_not_collapse_to_a_point() -> None:
    interval = bootstrap_seeds_and_images(np.ones((3, 20), dtype=bool))
    assert interval.value == interval.high == 1
    assert interval.low < wilson_interval(20, 20).low + 1e-12


def test_more_spread_between_seeds_widens_the_interval() -> None:
    generator = np.random.default_rng(0)
    steady = generator.random((3, 500)) < 0.9
    loose = generator.random((3, 500)) < np.array([[0.8], [0.9], [1.0]])
    widths = [interval.high - interval.low for interval in map(bootstrap_seeds_and_images, (steady, loose))]
    assert widths[1] > 2 * widths[0]


def test_bootstrap_repeats_itself() -> None:
    right_sn = np.random.default_rng(0).random((3, 200)) < 0.9
    assert bootstrap_seeds_and_images(right_sn) == bootstrap_seeds_and_images(right_sn)


def test_bootstrap_of_a_million_images_takes_little_memory() -> None:
    import tracemalloc

    right_sn = np.random.default_rng(0).random((3, 1_000_000)) < 0.9
    tracemalloc.start()
    bootstrap_seeds_and_images(right_sn)
    assert tracemalloc.get_traced_memory()[1] < 300e6
    tracemalloc.stop()


def test_intervals_need_images() -> None:
    with pytest.raises(RunError, match="at least one"):
        bootstrap_seeds_and_images(np.ones((2, 0), dtype=bool))
    with pytest.raises(RunError, match="at least one"):
        bootstrap_interval(np.zeros(3, dtype=np.int64), lambda rc: rc[:, 0] * 1.0, 1)
