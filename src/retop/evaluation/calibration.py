"""From confidence to probability, and to "none of these"."""

# N images, K classes

import numpy as np
import numpy.typing as npt

from retop.errors import UsageError
from retop.evaluation.intervals import wilson_interval
from retop.evaluation.metrics import calibration_error, log_loss, log_softmax
from retop.records import Acceptance, AcceptancePoint, Calibration, Predictions

LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.05, 20.0
MOST_POINTS = 200

SAFE_GAP = 1e-5
"""Confidences that lie closer may change places between two ways of computing them."""


def calibrate(validation: Predictions) -> Calibration:
    """Fit the temperature on validation and record what every threshold would mean there.

    Args:
        validation: logits of N images, at least one, before temperature.

    Returns:
        The calibration; it refuses nothing.
    """
    temperature = fit_temperature(validation.logits_nk, validation.labels_n)
    before_nk, after_nk = (log_softmax(validation.logits_nk, t) for t in (1.0, temperature))
    right_n = before_nk.argmax(1) == validation.labels_n
    return Calibration(
        temperature=temperature,
        n=len(right_n),
        log_loss_before=log_loss(before_nk, validation.labels_n),
        log_loss_after=log_loss(after_nk, validation.labels_n),
        calibration_error_before=calibration_error(np.exp(before_nk.max(1)), right_n),
        calibration_error_after=calibration_error(np.exp(after_nk.max(1)), right_n),
        curve=acceptance_curve(np.exp(after_nk.max(1)), right_n),
    )


def fit_temperature(logits_nk: npt.NDArray[np.floating], labels_n: npt.NDArray[np.int64]) -> float:
    """The temperature under which the labels are most probable.

    The right class of an image counts (N + 1) / (N + K) and every other 1 / (N + K), so that a model that is right on
    all of few images does not become infinitely sure.

    Args:
        logits_nk: [N, K] before temperature.
        labels_n: [N] true classes.

    Returns:
        Between 0.05 and 20.

    Source: C. Guo et al., On calibration of modern neural networks, ICML 2017; the smoothed labels as in J. Platt,
    Probabilistic outputs for support vector machines, 1999, who has N + 2 for two classes.
    """
    # SciPy is loaded where it is needed: reports import this part and need none.
    from scipy.optimize import minimize_scalar

    n = len(labels_n)
    rows = np.arange(n)

    def loss(log_temperature: float) -> float:
        log_probability_nk = log_softmax(logits_nk, np.exp(log_temperature))
        return -float(n * log_probability_nk[rows, labels_n].sum() + log_probability_nk.sum())

    # The loss is convex in 1 / temperature, so it has one valley in the logarithm as well.
    bounds = (np.log(LEAST_TEMPERATURE), np.log(GREATEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x))


def acceptance_curve(
    confidence_n: npt.NDArray[np.floating], right_n: npt.NDArray[np.bool_]
) -> tuple[AcceptancePoint, ...]:
    """How many images each threshold accepts, and how many of those are right.

    Args:
        confidence_n: [N] probability of each answer.
        right_n: [N] whether it is right.

    Returns:
        Points from the lowest threshold, which accepts all, to the highest confidence; at most 200.
    """
    order = np.argsort(-confidence_n, kind="stable")
    sorted_n, right = confidence_n[order], np.cumsum(right_n[order])
    # Equal confidences are accepted together: only the last of them ends a group.
    ends = np.flatnonzero(np.append(np.diff(sorted_n) != 0, True))
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, min(len(ends), MOST_POINTS)).round().astype(int))]
    gap_n = sorted_n - np.append(sorted_n[1:], 0.0)
    return tuple(AcceptancePoint(float(sorted_n[i]), int(i + 1), int(right[i]), float(gap_n[i])) for i in chosen[::-1])


def choose_threshold(calibration: Calibration, target_accuracy: float) -> float:
    """The lowest threshold whose answers reach an accuracy on validation.

    The threshold is chosen by the images on which it is measured, so its accuracy elsewhere tends to be a little lower.
    It lies halfway between the confidences of two images, and between two that differ visibly if there are such: on
    the confidence of an image, two routes that round differently would treat that image differently.

    Args:
        calibration: of the model.
        target_accuracy: fraction right among the answered, above 0, at most 1.

    Returns:
        The threshold; 0 where all answers together reach the accuracy.

    Raises:
        UsageError: no threshold reaches it, or it is no such fraction.
    """
    if not 0 < target_accuracy <= 1:
        raise UsageError(f"the target accuracy must lie above 0 and at most at 1; received {target_accuracy}")
    reaching = [point for point in calibration.curve if point.num_right >= target_accuracy * point.num_accepted]
    if reaching:
        point = next((point for point in reaching if point.gap >= SAFE_GAP), reaching[0])
        return 0.0 if point is calibration.curve[0] else point.threshold - point.gap / 2
    best = max(calibration.curve, key=lambda point: point.num_right / point.num_accepted)
    raise UsageError(
        f"no threshold reaches an accuracy of {target_accuracy:g} on the {calibration.n:,} validation images; the best "
        f"is {best.num_right / best.num_accepted:.3f}, from {best.threshold:.4f} on. Ask for less "
        f"(--target-accuracy), or set the threshold yourself (--reject-below)"
    )


def acceptance_at(calibration: Calibration, threshold: float) -> Acceptance:
    """What a threshold means, by the validation images.

    Args:
        calibration: of the model.
        threshold: answers with a lower confidence are refused, 0 to 1.

    Returns:
        Coverage and accuracy with their intervals; taken at the next higher point of the curve.
    """
    point = next((p for p in calibration.curve if p.threshold >= threshold), AcceptancePoint(threshold, 0, 0))
    return Acceptance(
        threshold=threshold,
        coverage=wilson_interval(point.num_accepted, calibration.n),
        accuracy=wilson_interval(point.num_right, point.num_accepted) if point.num_accepted else None,
        n=calibration.n,
        num_accepted=point.num_accepted,
    )
