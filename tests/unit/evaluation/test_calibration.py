"""Temperature and thresholds keep what they promise."""

import numpy as np
import pytest
from scipy.special import softmax

from retop.errors import UsageError
from retop.evaluation import acceptance_at, calibrate, choose_threshold, log_softmax
from retop.evaluation.calibration import fit_temperature
from retop.records import Predictions


def drawn(n: int, temperature: float, seed: int = 0, num_classes: int = 4) -> Predictions:
    """Labels drawn from softmax(logits / temperature)."""
    generator = np.random.default_rng(seed)
    logits_nk = generator.normal(0, 3, (n, num_classes)).astype(np.float32)
    probability_nk = softmax(logits_nk.astype(np.float64) / temperature, axis=1)
    labels_n = (generator.random((n, 1)) > probability_nk.cumsum(axis=1)).sum(axis=1)
    classes = tuple("abcdefgh"[:num_classes])
    return Predictions(
        "validation", tuple(map(str, range(n))), classes, np.minimum(labels_n, num_classes - 1), logits_nk
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    made = drawn(20_000, temperature)
    assert fit_temperature(made.logits_nk, made.labels_n) == pytest.approx(temperature, rel=0.05)


def test_temperature_lowers_loss_and_calibration_error_of_an_overconfident_model() -> None:
    found = calibrate(drawn(5_000, 3.0))
    assert found.log_loss_after < found.log_loss_before
    assert found.calibration_error_after < found.calibration_error_before / 3


def test_a_model_that_is_always_right_on_few_images_does_not_become_infinitely_sure() -> None:
    logits_nk = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]] * 4
    temperature = fit_temperature(logits_nk, np.array([0, 1, 2, 0, 1]))
    # With q = (n + 1) / (n + K) for the right class, the best confidence of symmetric logits is q itself.
    assert softmax(logits_nk[0] / temperature)[0] == pytest.approx(6 / 8, abs=1e-3)


def test_the_curve_counts_what_each_threshold_accepts() -> None:
    given = drawn(300, 1.0)
    found = calibrate(given)
    confidence_n = np.exp(log_softmax(given.logits_nk, found.temperature)).max(1)
    right_n = given.logits_nk.argmax(1) == given.labels_n
    assert len(found.curve) <= 200
    for point in found.curve:
        accepted_n = confidence_n >= point.threshold
        assert (point.num_accepted, point.num_right) == (accepted_n.sum(), right_n[accepted_n].sum())
    assert found.curve[0].num_accepted == 300


def test_a_chosen_threshold_reaches_its_accuracy_and_no_lower_point_does() -> None:
    found = calibrate(drawn(2_000, 1.5))
    threshold = choose_threshold(found, 0.95)
    accepted = acceptance_at(found, threshold)
    assert accepted.accuracy is not None
    assert accepted.accuracy.value >= 0.95
    assert accepted.coverage.low < accepted.coverage.value == accepted.num_accepted / 2_000 < 1
    lower = [point for point in found.curve if point.threshold < threshold]
    assert lower
    assert all(point.num_right < 0.95 * point.num_accepted for point in lower)


def test_a_chosen_threshold_treats_every_image_alike_however_its_confidence_is_rounded() -> None:
    given = drawn(2_000, 1.5)
    found = calibrate(given)
    confidence_n = np.exp(log_softmax(given.logits_nk, found.temperature)).max(1)
    threshold = choose_threshold(found, 0.95)
    distance = np.abs(confidence_n - threshold).min()
    assert distance >= 4e-6
    above, below = (confidence_n[confidence_n >= threshold].min(), confidence_n[confidence_n < threshold].max())
    assert above - threshold == pytest.approx(threshold - below)
    assert acceptance_at(found, threshold).num_accepted == (confidence_n >= threshold).sum()


def test_a_target_that_all_answers_reach_refuses_nothing() -> None:
    found = calibrate(drawn(500, 0.3))
    assert choose_threshold(found, 0.2) == 0.0
    assert acceptance_at(found, 0.0).num_accepted == 500


def test_a_target_out_of_reach_says_what_can_be_had() -> None:
    logits_nk = np.tile(np.array([[2.0, 0.0]], np.float32), (10, 1))
    split = Predictions("validation", tuple(map(str, range(10))), ("a", "b"), np.array([0, 1] * 5), logits_nk)
    with pytest.raises(UsageError, match=r"the best is 0\.500"):
        choose_threshold(calibrate(split), 0.9)
    with pytest.raises(UsageError, match=r"received 1\.5"):
        choose_threshold(calibrate(split), 1.5)


def test_a_threshold_above_every_confidence_accepts_nothing() -> None:
    accepted = acceptance_at(calibrate(drawn(50, 1.0)), 1.0)
    assert accepted.num_accepted == 0
    assert accepted.accuracy is None
