"""Weights of the classes in the loss."""

# N training images, K classes

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from retop.errors import UsageError
from retop.recipe import ImbalanceRecipe


def class_weights(
    recipe: ImbalanceRecipe, labels_n: npt.NDArray[np.int64], classes: Sequence[str]
) -> torch.Tensor | None:
    """The weight of each class, scaled so that the mean over the training images is 1.

    Args:
        recipe: what was asked for.
        labels_n: [N] class numbers of the training images.
        classes: K names.

    Returns:
        [K] float32; None for all alike.

    Raises:
        UsageError: a mapping lacks a class, or names one that is not there.
    """
    if recipe.class_weights == "none":
        return None
    counts_k = np.bincount(labels_n, minlength=len(classes)).astype(np.float64)
    if recipe.class_weights == "balanced":
        weights_k = 1 / np.maximum(counts_k, 1)
    else:
        _check_names(recipe.class_weights, classes)
        weights_k = np.array([recipe.class_weights[name] for name in classes])
    return torch.from_numpy(weights_k * counts_k.sum() / (weights_k @ counts_k)).float()


def _check_names(given: dict[str, float], classes: Sequence[str]) -> None:
    wrong = [f"{name!r} has no weight" for name in classes if name not in given]
    wrong += [f"there is no class {name!r}" for name in sorted(given.keys() - set(classes))]
    if wrong:
        raise UsageError(
            f"the class weights (--class-weights, imbalance.class_weights) do not fit the classes: {'; '.join(wrong)}"
        )


def describe_imbalance(recipe: ImbalanceRecipe) -> str:
    """What a plan says of it, to be added to what is computed; empty for nothing."""
    if recipe.sampling == "balanced":
        return ", classes in equal shares"
    return "" if recipe.class_weights == "none" else ", classes weighted"
