"""Quality of one split's predictions."""

# N images, K classes, C cells of the confusion matrix that hold an image, R resamples

import numpy as np
import numpy.typing as npt

from retop.errors import RunError
from retop.evaluation.intervals import Statistic, bootstrap_interval, wilson_interval
from retop.records import CalibratedMetrics, ClassMetrics, Interval, Metrics, MissedImage, Predictions

NUM_BINS = 15
MOST_MISSED = 100

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def measure(predictions: Predictions, precision: str, temperature: float | None = None) -> Metrics:
    """Measure everything that is known about a model's answers on one split.

    Means over classes (balanced accuracy, macro F1) are over the classes that occur among the true labels, so that
    a class without images in this split neither helps nor harms.

    Args:
        predictions: logits of N images; at least one.
        precision: arithmetic in which they were computed, e.g. ``"float32"``.
        temperature: of the model; None where it has none. Logits come before it.

    Returns:
        The metrics.

    Raises:
        RunError: there is no image, or a logit is not finite.
    """
    _check(predictions)
    log_probability_nk = log_softmax(predictions.logits_nk)
    answer_n = np.argmax(predictions.logits_nk, axis=1)
    confidence_n = np.exp(log_probability_nk.max(axis=1))
    scaled_nk = log_softmax(predictions.logits_nk, temperature or 1.0)
    scaled_confidence_n = np.exp(scaled_nk.max(axis=1))
    label_n = predictions.labels_n
    right_n = answer_n == label_n
    confusion_kk = confusion_matrix(label_n, answer_n, len(predictions.classes))
    balanced, macro_f1 = _class_mean_intervals(confusion_kk)
    return Metrics(
        split=predictions.split,
        n=len(label_n),
        num_right=int(right_n.sum()),
        accuracy=wilson_interval(int(right_n.sum()), len(label_n)),
        balanced_accuracy=balanced,
        macro_f1=macro_f1,
        log_loss=log_loss(log_probability_nk, label_n),
        calibration_error=calibration_error(confidence_n, right_n),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion_kk),
        classes=_class_metrics(confusion_kk, predictions.classes),
        missed=_missed(predictions, answer_n, scaled_confidence_n),
        precision=precision,
        calibrated=None
        if temperature is None
        else CalibratedMetrics(
            temperature, log_loss(scaled_nk, label_n), calibration_error(scaled_confidence_n, right_n)
        ),
    )


def log_softmax(logits_nk: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Logarithms of probabilities, in float64 and without overflow.

    Args:
        logits_nk: [N, K] finite logits.
        temperature: by which they are divided, above 0.

    Returns:
        [N, K] natural logarithms of probabilities.
    """
    shifted_nk = logits_nk.astype(np.float64) / temperature
    shifted_nk -= shifted_nk.max(axis=1, keepdims=True)
    return np.asarray(shifted_nk - np.log(np.exp(shifted_nk).sum(axis=1, keepdims=True)))


def log_loss(log_probability_nk: Floats, label_n: Integers) -> float:
    """Mean negative log-probability of the right class.

    Args:
        log_probability_nk: [N, K] natural logarithms of probabilities.
        label_n: [N] true classes.

    Returns:
        Nats, 0 or more.
    """
    return max(0.0, -float(np.mean(log_probability_nk[np.arange(len(label_n)), label_n])))


def right_answers(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """Whether each image was answered rightly.

    Args:
        predictions: logits of N images.

    Returns:
        [N] booleans.
    """
    return np.asarray(np.argmax(predictions.logits_nk, axis=1) == predictions.labels_n)


def confusion_matrix(label_n: Integers, answer_n: npt.NDArray[np.integer], num_classes: int) -> Integers:
    """Count images by true and predicted class.

    Args:
        label_n: [N] true classes, 0 to K - 1.
        answer_n: [N] predicted classes, 0 to K - 1.
        num_classes: K.

    Returns:
        [K, K] counts; row is the true class, column the predicted one.
    """
    cells = np.bincount(label_n * num_classes + answer_n, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def calibration_error(confidence_n: Floats, right_n: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error over 15 bins of equal width.

    Args:
        confidence_n: [N] probability of the answer, in (0, 1].
        right_n: [N] whether the answer was right.

    Returns:
        Mean over images of |confidence - accuracy| of their bin, in [0, 1].

    Source: M. P. Naeini et al., AAAI 2015; C. Guo et al., On calibration of modern neural networks, ICML 2017. Bins
    are closed above.
    """
    bin_n = np.clip(np.ceil(confidence_n * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    gap_b = np.bincount(bin_n, weights=confidence_n - right_n, minlength=NUM_BINS)
    return float(np.abs(gap_b).sum() / len(right_n))


def _check(predictions: Predictions) -> None:
    if len(predictions.paths) == 0:
        raise RunError(f"the split {predictions.split!r} holds no image, so nothing can be measured on it")
    wrong = np.flatnonzero(np.isfinite(predictions.logits_nk).sum(axis=1) < predictions.logits_nk.shape[1])
    if len(wrong):
        raise RunError(
            f"{len(wrong)} of {len(predictions.paths)} predictions on {predictions.split!r} are not finite, first that "
            f"of {predictions.paths[wrong[0]]}; lower the step size (--set stage2.learning_rate=...) or use "
            f"--precision fp32"
        )


def _class_mean_intervals(confusion_kk: Integers) -> tuple[Interval, Interval]:
    true_c, answer_c = np.nonzero(confusion_kk)
    count_c = confusion_kk[true_c, answer_c]
    occurring = np.flatnonzero(confusion_kk.sum(axis=1))
    # A mean of class recalls varies as a fraction of this many images would.
    effective_n = len(occurring) ** 2 / float(np.sum(1 / confusion_kk[occurring].sum(axis=1)))
    balanced, macro_f1 = _mean_recall(true_c, answer_c), _mean_f1(true_c, answer_c)
    return bootstrap_interval(count_c, balanced, effective_n), bootstrap_interval(count_c, macro_f1, effective_n)


def _mean_recall(true_c: npt.NDArray[np.intp], answer_c: npt.NDArray[np.intp]) -> Statistic:
    sums_ck, hits_ck, _ = _indicators(true_c, answer_c)

    def statistic(count_rc: Integers) -> Floats:
        total_rk, hit_rk = count_rc @ sums_ck, count_rc @ hits_ck
        return _mean_where(hit_rk, total_rk, total_rk > 0)

    return statistic


def _mean_f1(true_c: npt.NDArray[np.intp], answer_c: npt.NDArray[np.intp]) -> Statistic:
    sums_ck, hits_ck, answers_ck = _indicators(true_c, answer_c)

    def statistic(count_rc: Integers) -> Floats:
        total_rk, hit_rk, answered_rk = count_rc @ sums_ck, count_rc @ hits_ck, count_rc @ answers_ck
        return _mean_where(2 * hit_rk, total_rk + answered_rk, total_rk > 0)

    return statistic


def _indicators(true_c: npt.NDArray[np.intp], answer_c: npt.NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
    """Which cells belong to each occurring class: as its images, as its hits, as its answers."""
    occurring = np.unique(true_c)
    sums_ck = (true_c[:, None] == occurring).astype(np.float64)
    answers_ck = (answer_c[:, None] == occurring).astype(np.float64)
    return sums_ck, sums_ck * answers_ck, answers_ck


def _mean_where(top_rk: Floats, bottom_rk: Floats, counted_rk: npt.NDArray[np.bool_]) -> Floats:
    ratio_rk = np.where(counted_rk, top_rk / np.maximum(bottom_rk, 1), 0.0)
    return np.asarray(ratio_rk.sum(axis=1) / counted_rk.sum(axis=1))


def _class_metrics(confusion_kk: Integers, classes: tuple[str, ...]) -> tuple[ClassMetrics, ...]:
    hits, totals, answers = np.diag(confusion_kk), confusion_kk.sum(axis=1), confusion_kk.sum(axis=0)
    return tuple(
        ClassMetrics(name, int(total), _ratio(hit, answer), _ratio(hit, total), _ratio(2 * hit, total + answer))
        for name, hit, total, answer in zip(classes, hits, totals, answers, strict=True)
    )


def _ratio(top: int, bottom: int) -> float | None:
    return float(top / bottom) if bottom else None


def _missed(
    predictions: Predictions, answer_n: npt.NDArray[np.integer], confidence_n: Floats
) -> tuple[MissedImage, ...]:
    wrong = np.flatnonzero(answer_n != predictions.labels_n)
    order = sorted(wrong, key=lambda n: (-confidence_n[n], predictions.paths[n]))[:MOST_MISSED]
    return tuple(
        MissedImage(
            predictions.paths[n],
            predictions.classes[predictions.labels_n[n]],
            predictions.classes[answer_n[n]],
            float(confidence_n[n]),
        )
        for n in order
    )
