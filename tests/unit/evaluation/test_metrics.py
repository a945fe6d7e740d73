"""Metrics against scikit-learn, and at the edges."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as reference

from retop.errors import RunError
from retop.evaluation import calibration_error, log_softmax, measure
from retop.records import Predictions


def predictions(n: int, num_classes: int, seed: int = 0, absent: tuple[int, ...] = ()) -> Predictions:
    generator = np.random.default_rng(seed)
    present = np.setdiff1d(np.arange(num_classes), absent)
    labels = generator.choice(present, n)
    logits = generator.normal(0, 1.5, (n, num_classes))
    logits[np.arange(n), labels] += 1.5
    classes = tuple(f"c{k}" for k in range(num_classes))
    return Predictions("test", tuple(f"{i}.jpg" for i in range(n)), classes, labels, logits.astype(np.float32))


@pytest.mark.parametrize("num_classes", [2, 5, 50])
def test_metrics_agree_with_scikit_learn(num_classes: int) -> None:
    given = predictions(400, num_classes)
    answer, probability = given.logits_nk.argmax(1), np.exp(log_softmax(given.logits_nk))
    labels, all_classes, occurring = given.labels_n, range(num_classes), np.unique(given.labels_n)
    found = measure(given, "float32")
    assert found.accuracy.value == reference.accuracy_score(labels, answer)
    expected_recall = reference.recall_score(labels, answer, labels=occurring, average="macro")
    assert found.balanced_accuracy.value == pytest.approx(expected_recall)
    assert found.macro_f1.value == pytest.approx(
        reference.f1_score(labels, answer, labels=occurring, average="macro", zero_division=0)
    )
    assert found.log_loss == pytest.approx(reference.log_loss(labels, probability, labels=all_classes), rel=1e-6)
    expected = reference.confusion_matrix(labels, answer, labels=all_classes)
    assert np.array_equal(found.confusion, expected)
    each = reference.precision_recall_fscore_support(labels, answer, labels=all_classes, zero_division=np.nan)
    ours = np.array([[one.precision, one.recall, one.f1, one.n] for one in found.classes], dtype=float)
    assert np.allclose(ours[:, [0, 1, 3]], np.array(each).T[:, [0, 1, 3]], equal_nan=True)


def test_absent_class_does_not_break_averages() -> None:
    given = predictions(200, 4, absent=(2,))
    found = measure(given, "float32")
    absent = found.classes[2]
    assert (absent.n, absent.recall) == (0, None)
    recalls = [one.recall for one in found.classes if one.n]
    assert found.balanced_accuracy.value == pytest.approx(np.mean(np.array(recalls, dtype=float)))


def test_class_neither_occurring_nor_answered_has_no_numbers() -> None:
    logits = np.array([[3, 0, -9], [0, 3, -9]], dtype=np.float32)
    found = measure(Predictions("test", ("a", "b"), ("x", "y", "z"), np.array([0, 1]), logits), "float32")
    assert (found.classes[2].precision, found.classes[2].recall, found.classes[2].f1) == (None, None, None)


def test_all_right_has_intervals_that_depend_on_the_smallest_class() -> None:
    labels = np.array([0] * 99 + [1])
    logits = np.eye(2, dtype=np.float32)[labels] * 9
    found = measure(Predictions("test", tuple(map(str, range(100))), ("x", "y"), labels, logits), "float32")
    assert found.balanced_accuracy.value == found.macro_f1.value == 1
    assert found.balanced_accuracy.low < 0.6 < found.accuracy.low


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[3e38, -3e38], [-3e38, 3e38]], dtype=np.float32)
    found = measure(Predictions("test", ("a", "b"), ("x", "y"), np.array([0, 0]), logits), "float32")
    assert np.isfinite(found.log_loss)
    assert found.num_right == 1


def test_calibration_error_of_a_known_case() -> None:
    confidence = np.array([0.9] * 10 + [0.6] * 10)
    right = np.array([True] * 7 + [False] * 3 + [True] * 6 + [False] * 4)
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.2)


def test_missed_images_come_most_confident_first_and_at_most_a_hundred() -> None:
    found = measure(predictions(2000, 10), "float32")
    confidences = [image.confidence for image in found.missed]
    assert found.n - found.num_right > 100 == len(found.missed)
    assert confidences == sorted(confidences, reverse=True)
    assert all(image.label != image.predicted for image in found.missed)


def test_empty_split_and_infinite_logits_are_refused_by_name() -> None:
    with pytest.raises(RunError, match="'test' holds no image"):
        measure(Predictions("test", (), ("x", "y"), np.zeros(0, np.int64), np.zeros((0, 2), np.float32)), "float32")
    broken = np.array([[0, 1], [np.nan, 0]], dtype=np.float32)
    with pytest.raises(RunError, match=r"1 of 2 .* b\.jpg"):
        measure(Predictions("test", ("a.jpg", "b.jpg"), ("x", "y"), np.array([0, 1]), broken), "float32")


def test_importing_evaluation_and_report_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'scipy', 'sklearn', 'matplotlib', 'plotly'}"
    code = f"import sys, retop.evaluation, retop.report; sys.exit(', '.join({heavy} & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)
