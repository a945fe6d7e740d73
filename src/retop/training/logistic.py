"""Logistic regression for many small fits: scikit-learn takes longer to load than they take.

N images, F features, K classes, D values of all weights.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

ITERATIONS = 200
TOLERANCE = 1e-4
"""Largest slope of the mean loss at which a fit is finished, as in scikit-learn."""


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

        from scipy.optimize import minimize

        start_d = np.zeros(num_classes * (num_features + 1))
        options = {"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 0.0}
        found = minimize(loss_and_slope, start_d, jac=True, method="L-BFGS-B", options=options)
        self._weights_kf = found.x.reshape(num_classes, -1)

    def log_probabilities(self, features_nf: Floats) -> Doubles:
        """Logarithms of probabilities [N, K] of images [N, F]."""
        return _log_probabilities(features_nf, self._weights_kf)


def _log_probabilities(features_nf: Floats, weights_kf: Doubles) -> Doubles:
    """Of weights [K, F + 1], the last of which are added."""
    logits_nk = features_nf @ weights_kf[:, :-1].T.astype(np.float32) + weights_kf[:, -1]
    logits_nk -= logits_nk.max(axis=1, keepdims=True)
    return np.asarray(logits_nk - np.log(np.exp(logits_nk).sum(axis=1, keepdims=True)))
