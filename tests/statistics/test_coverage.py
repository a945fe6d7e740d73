"""Intervals cover and tests err as often as they say, by simulation.

Each bound allows 4 binomial standard errors of the simulation, so that a correct method fails about once in 30,000.
"""

import itertools
import math

import numpy as np
import pytest

from retop.evaluation import (
    bootstrap_seeds_and_images,
    compare_pair,
    exact_mcnemar,
    holm,
    measure,
    paired_difference_interval,
    wilson_interval,
)
from retop.records import Interval, Predictions


def slack(num_simulations: int, probability: float = 0.05) -> float:
    return 4 * math.sqrt(probability * (1 - probability) / num_simulations)


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("n", [10, 20, 200, 600])
def test_wilson_covers_on_average_over_accuracies(n: int) -> None:
    # At single accuracies Wilson scatters about 95 % (Brown, Cai and DasGupta 2001); its promise is the mean.
    accuracy = np.random.default_rng(n).uniform(0.5, 1.0, 4000)
    right = np.random.default_rng(n + 1).binomial(n, accuracy)
    covered = np.mean([covers(wilson_interval(int(k), n), p) for k, p in zip(right, accuracy, strict=True)])
    assert abs(covered - 0.95) < slack(4000) + 0.005


@pytest.mark.parametrize(("both", "first", "second"), [(0.85, 0.05, 0.05), (0.90, 0.06, 0.02), (0.5, 0.3, 0.1)])
@pytest.mark.parametrize("n", [30, 300])
def test_paired_interval_covers(both: float, first: float, second: float, n: int) -> None:
    cells = np.random.default_rng(n).multinomial(n, [both, first, second, 1 - both - first - second], size=2000)
    covered = np.mean([covers(paired_difference_interval(int(b), int(c), n), first - second) for _, b, c, _ in cells])
    # With few images that divide them the score interval is wider than needed, never narrower.
    assert 0.95 - slack(2000) - 0.01 < covered < (0.995 if n == 30 else 0.98)


@pytest.mark.parametrize(("recalls", "sizes"), [((0.95, 0.7), (80, 40)), ((0.99, 0.9, 0.8, 0.6), (60, 60, 30, 30))])
def test_bootstrap_interval_of_balanced_accuracy_covers(recalls: tuple[float, ...], sizes: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    classes, paths = tuple(map(str, range(len(sizes)))), tuple(map(str, range(len(labels))))
    covered = []
    for _ in range(300):
        right = generator.random(len(labels)) < np.array(recalls)[labels]
        answer = np.where(right, labels, (labels + 1) % len(sizes))
        logits = np.eye(len(sizes), dtype=np.float32)[answer]
        found = measure(Predictions("test", paths, classes, labels, logits), "float32")
        covered.append(covers(found.balanced_accuracy, float(np.mean(recalls))))
    assert 0.95 - slack(300) < np.mean(covered)


def answers(
    generator: np.random.Generator, difficulty_n: np.ndarray, num_seeds: int, level: float, spread: float
) -> np.ndarray:
    """Right answers of seeds that differ in level, on images that differ in difficulty."""
    seeds_s1 = generator.normal(0, spread, (num_seeds, 1))
    return level + seeds_s1 + difficulty_n + generator.normal(0, 1, (num_seeds, len(difficulty_n))) > 0


@pytest.mark.parametrize(("num_seeds", "spread"), [(2, 0.1), (3, 0.1), (5, 0.4)])
@pytest.mark.parametrize("n", [20, 300])
def test_interval_over_seeds_and_images_covers(num_seeds: int, spread: float, n: int) -> None:
    generator = np.random.default_rng(num_seeds * n)
    truth = 0.5 * (1 + math.erf(4 / math.sqrt(1 + spread**2 + 4) / math.sqrt(2)))
    covered = [
        covers(
            bootstrap_seeds_and_images(
                answers(generator, generator.normal(0, 2, n), num_seeds, 4, spread), resamples=400
            ),
            truth,
        )
        for _ in range(300)
    ]
    assert 0.95 - slack(300) < np.mean(covered)


@pytest.mark.parametrize("spread", [0.05, 0.4])
@pytest.mark.parametrize("num_seeds", [2, 3])
def test_equal_backbones_over_seeds_are_rarely_told_apart(num_seeds: int, spread: float) -> None:
    generator = np.random.default_rng(7)
    false_claims = 0
    for _ in range(300):
        difficulty = generator.normal(0, 1, 1000)
        first, second = (answers(generator, difficulty, num_seeds, 2, spread) for _ in range(2))
        false_claims += compare_pair(first, second, ("a", "b"), resamples=400).established
    assert false_claims / 300 < 0.05 + slack(300)


def test_mcnemar_with_holm_makes_any_false_claim_in_at_most_five_percent() -> None:
    generator = np.random.default_rng(0)
    false_claims, num_simulations = 0, 2000
    for _ in range(num_simulations):
        right = generator.normal(0, 1, 200) + generator.normal(1.5, 1, (4, 200)) > 0
        p = [exact_mcnemar(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in itertools.combinations(right, 2)]
        false_claims += bool(holm(p).min() < 0.05)
    assert false_claims / num_simulations < 0.05 + slack(num_simulations)


def test_mcnemar_finds_a_difference_that_is_there() -> None:
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        difficulty = generator.normal(0, 1, 600)
        first, second = difficulty + generator.normal(2.6, 1, 600) > 0, difficulty + generator.normal(1.6, 1, 600) > 0
        found += exact_mcnemar(int((first & ~second).sum()), int((second & ~first).sum())) < 0.05
    assert found / 200 > 0.95
