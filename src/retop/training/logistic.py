"""Logistic regression for many small fits, without a library that takes longer to load than they take.

N images, F features, K classes, D values of all weights.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Function = Callable[[Doubles], tuple[float, Doubles]]

ITERATIONS, MEMORY = 200, 10
TOLERANCE = 1e-4
"""Largest slope of the mean loss at which a fit is finished, as in scikit-learn."""
SMALLEST_STEP = 1e-8


class LogisticRegression:
    """Multinomial logistic regression with an L2 penalty.

    It is scikit-learn's: for two classes the penalty is that of one row of weights.

    Args:
        features_nf: [N, F], scaled.
        labels_n: [N] from 0 to K - 1.
        num_classes: K, at least 2.
        c: inverse strength of the penalty.

    Raises:
        ValueError: a feature is not finite.
    """

    def __init__(self, features_nf: Floats, labels_n: npt.NDArray[np.int64], num_classes: int, c: float) -> None:
        if not np.isfinite(features_nf).all():
            raise ValueError("features are not finite")
        num_images, num_features = features_nf.shape
        penalty = (2.0 if num_classes == 2 else 1.0) / (c * num_images)
        right = np.arange(num_images), labels_n

        def loss_and_slope(weights_d: Doubles) -> tuple[float, Doubles]:
            weights_kf = weights_d.reshape(num_classes, -1)
            logs_nk = _log_probabilities(features_nf, weights_kf)
            error_nk = np.exp(logs_nk)
            error_nk[right] -= 1.0
            error_nk /= num_images
            slope_kf = penalty * weights_kf
            slope_kf[:, :-1] += error_nk.T.astype(np.float32) @ features_nf
            slope_kf[:, -1] = error_nk.sum(axis=0)
            loss = penalty / 2 * np.square(weights_kf[:, :-1]).sum() - logs_nk[right].mean()
            return float(loss), slope_kf.ravel()

        start_d = np.zeros(num_classes * (num_features + 1))
        self._weights_kf = minimise(loss_and_slope, start_d).reshape(num_classes, -1)

    def log_probabilities(self, features_nf: Floats) -> Doubles:
        """Logarithms of probabilities [N, K] of images [N, F]."""
        return _log_probabilities(features_nf, self._weights_kf)


def _log_probabilities(features_nf: Floats, weights_kf: Doubles) -> Doubles:
    """Of weights [K, F + 1], the last of which are added."""
    logits_nk = features_nf @ weights_kf[:, :-1].T.astype(np.float32) + weights_kf[:, -1]
    logits_nk -= logits_nk.max(axis=1, keepdims=True)
    return np.asarray(logits_nk - np.log(np.exp(logits_nk).sum(axis=1, keepdims=True)))


def minimise(loss_and_slope: Function, start_d: Doubles) -> Doubles:
    """Minimise a strictly convex function by L-BFGS.

    Source: Nocedal and Wright, Numerical Optimization (2006), algorithm 7.5. Steps are halved until they go down far
    enough (Armijo), and no more is asked of them: of a strictly convex function every move has a positive curvature.

    Args:
        loss_and_slope: of a point [D].
        start_d: the point to begin at.

    Returns:
        The first point where no slope exceeds `TOLERANCE`, or the best that was found.
    """
    point_d = start_d
    loss, slope_d = loss_and_slope(point_d)
    moves: list[tuple[Doubles, Doubles, float]] = []
    for _ in range(ITERATIONS):
        if np.abs(slope_d).max() <= TOLERANCE:
            break
        direction_d = _direction(slope_d, moves)
        fall, step = float(slope_d @ direction_d), 1.0
        next_loss, next_slope_d = loss_and_slope(point_d + direction_d)
        while next_loss > loss + 1e-4 * step * fall:
            step /= 2
            if step < SMALLEST_STEP:
                return point_d
            next_loss, next_slope_d = loss_and_slope(point_d + step * direction_d)
        move_d, change_d = step * direction_d, next_slope_d - slope_d
        curvature = float(move_d @ change_d)
        # Rounding may hide it next to the minimum.
        if curvature > 0:
            moves = [*moves[1 - MEMORY :], (move_d, change_d, curvature)]
        point_d, loss, slope_d = point_d + move_d, next_loss, next_slope_d
    return point_d


def _direction(slope_d: Doubles, moves: list[tuple[Doubles, Doubles, float]]) -> Doubles:
    """Down the slope, bent by what the latest moves told of the curvature."""
    if not moves:
        return -slope_d / max(1.0, float(np.linalg.norm(slope_d)))
    direction_d, shares = -slope_d, []
    for move_d, change_d, curvature in reversed(moves):
        shares.append(float(move_d @ direction_d) / curvature)
        direction_d = direction_d - shares[-1] * change_d
    _, change_d, curvature = moves[-1]
    direction_d *= curvature / float(change_d @ change_d)
    for (move_d, change_d, curvature), share in zip(moves, reversed(shares), strict=True):
        direction_d += (share - float(change_d @ direction_d) / curvature) * move_d
    return direction_d
