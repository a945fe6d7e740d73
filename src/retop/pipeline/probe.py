"""The yardstick: logistic regression on the features of the frozen network."""

# N images, F features, K classes

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from retop.backbones.head import LinearHead
from retop.training.regression import fitting

PENALTIES_C = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)
MAX_ITERATIONS = 1000

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def fit_probe(
    train_nf: Features,
    train_labels_n: Labels,
    validation_nf: Features,
    validation_labels_n: Labels,
    num_classes: int,
    class_weights_k: Sequence[float] | None = None,
) -> tuple[LinearHead, float]:
    """Fit scikit-learn's L2 logistic regression, its penalty chosen by the loss on validation.

    Both arrays of features are scaled in place, so that the fit needs no memory beside them: N x F x 4 bytes each.

    Args:
        train_nf: [N, F] features of the training images, view 0; changed.
        train_labels_n: [N].
        validation_nf: [N, F] features of the validation images, not the same array; changed.
        validation_labels_n: [N].
        num_classes: K.
        class_weights_k: [K] weight of each class in the loss; None for all alike.

    Returns:
        The head with the fitted weights, and the C that was chosen.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    head = LinearHead(train_nf.shape[1], num_classes, dropout=0.0)
    head.calibrate([torch.from_numpy(train_nf)])
    for features_nf in (train_nf, validation_nf):
        features_nf -= head.mean_f.numpy()
        features_nf /= head.size.numpy()
    weights = None if class_weights_k is None else dict(enumerate(class_weights_k))
    best_loss, best_c = np.inf, PENALTIES_C[0]
    for c in PENALTIES_C:
        model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS, class_weight=weights)
        with fitting(train_nf.size):
            model.fit(train_nf, train_labels_n)
        probabilities_nk = model.predict_proba(validation_nf)
        loss = log_loss(validation_labels_n, probabilities_nk, labels=range(num_classes))
        if loss < best_loss:
            best_loss, best_c = loss, c
            _assign(head, model.coef_, model.intercept_)
    return head.eval(), best_c


def _assign(head: LinearHead, coefficients: npt.NDArray[np.float64], intercepts: npt.NDArray[np.float64]) -> None:
    """Two classes have one row in scikit-learn: the log-odds of the second."""
    if len(coefficients) == 1:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(coefficients))
        head.linear.bias.copy_(torch.from_numpy(intercepts))
