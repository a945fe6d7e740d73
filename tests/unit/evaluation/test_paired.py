"""Tests of pairs."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from retop.errors import RunError
from retop.evaluation import (
    compare_pair,
    correct_pairs,
    exact_mcnemar,
    holm,
    paired_difference_interval,
    smallest_decidable,
)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 0), (6, 0), (10, 3), (40, 60), (7, 7)])
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert exact_mcnemar(first, second) == pytest.approx(expected)


def test_six_images_decide_and_five_do_not() -> None:
    assert smallest_decidable() == 6
    assert exact_mcnemar(6, 0) < 0.05 <= exact_mcnemar(5, 0)


@pytest.mark.parametrize("num_pairs", [1, 3, 6, 10, 45])
def test_smallest_decidable_is_smallest_after_holm(num_pairs: int) -> None:
    needed = smallest_decidable(1 - 0.05 / num_pairs)
    assert num_pairs * exact_mcnemar(needed, 0) < 0.05 <= num_pairs * exact_mcnemar(needed - 1, 0)


def test_holm_of_a_known_case_keeps_the_order_given() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert len(holm([])) == 0


def score_at(first: int, second: int, n: int, difference: float) -> float:
    """Tango's statistic with the constrained maximum of the likelihood found numerically."""

    def loss(share: float) -> float:
        other, rest = share + difference, 1 - 2 * share - difference
        return -sum(
            k * np.log(max(p, 1e-300)) for k, p in ((first, other), (second, share), (n - first - second, rest))
        )

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    return (first - second - n * difference) / np.sqrt(n * (2 * share + difference - difference**2))


@pytest.mark.parametrize(
    ("first", "second", "n"), [(10, 3, 100), (3, 10, 100), (150, 86, 1600), (1, 1, 20), (9, 2, 30)]
)
def test_ends_of_the_paired_interval_are_where_the_score_equals_the_quantile(first: int, second: int, n: int) -> None:
    interval = paired_difference_interval(first, second, n)
    assert score_at(first, second, n, interval.low) == pytest.approx(1.959964, abs=1e-3)
    assert score_at(first, second, n, interval.high) == pytest.approx(-1.959964, abs=1e-3)


def test_paired_interval_mirrors_when_names_swap() -> None:
    one, other = paired_difference_interval(9, 2, 40), paired_difference_interval(2, 9, 40)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.parametrize(("first", "second", "n"), [(0, 0, 1), (0, 0, 20), (20, 0, 20), (0, 1, 1)])
def test_paired_interval_at_the_edges_stays_in_range(first: int, second: int, n: int) -> None:
    interval = paired_difference_interval(first, second, n)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high


def test_impossible_counts_are_refused() -> None:
    for counts in ((-1, 2, 10), (6, 6, 10), (0, 0, 0)):
        with pytest.raises(RunError, match="received"):
            paired_difference_interval(*counts)
    with pytest.raises(RunError, match="negative"):
        exact_mcnemar(-1, 2)


def test_one_seed_each_is_decided_by_mcnemar() -> None:
    first, second = np.ones((1, 30), dtype=bool), np.ones((1, 30), dtype=bool)
    second[0, :8] = False
    first[0, 29] = False
    found = compare_pair(first, second, ("a", "b"))
    assert (found.test, found.only_first_right, found.only_second_right) == ("exact McNemar", 8, 1)
    assert found.p == exact_mcnemar(8, 1)
    assert found.difference == paired_difference_interval(8, 1, 30)


def test_several_seeds_are_decided_by_the_bootstrap() -> None:
    generator = np.random.default_rng(0)
    good, bad = generator.random((3, 400)) < 0.95, generator.random((3, 400)) < 0.80
    found = compare_pair(good, bad, ("a", "b"))
    assert found.test == "bootstrap over seeds and images"
    assert found.established
    assert found.difference.low > 0
    assert found.only_first_right - found.only_second_right == pytest.approx(400 * found.difference.value)


def test_a_lucky_seed_establishes_nothing() -> None:
    generator = np.random.default_rng(1)
    loose = generator.random((3, 1000)) < np.array([[0.70], [0.90], [0.98]])
    steady = generator.random((3, 1000)) < 0.80
    assert not compare_pair(loose, steady, ("a", "b")).established


def test_seeds_without_any_spread_let_the_images_speak() -> None:
    found = compare_pair(np.ones((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool), ("a", "b"))
    assert found.test == "exact McNemar"
    assert found.p == pytest.approx(0.25)
    assert not found.established


def test_correction_takes_every_pair_into_account() -> None:
    first, second = np.ones((1, 30), dtype=bool), np.ones((1, 30), dtype=bool)
    second[0, :6] = False
    pair, nothing = compare_pair(first, second, ("a", "b")), compare_pair(first, first, ("a", "c"))
    assert pair.established
    corrected = correct_pairs((pair, nothing))
    assert [one.established for one in corrected] == [False, False]
    assert corrected[0].p_holm == pytest.approx(2 * pair.p)


def test_pairs_on_different_images_are_refused() -> None:
    with pytest.raises(RunError, match="a and b"):
        compare_pair(np.ones((1, 3), dtype=bool), np.ones((1, 4), dtype=bool), ("a", "b"))
