"""Weights of the classes in the loss."""

# N training images, K classes

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from retop.recipe import ImbalanceRecipe
from retop.records import class_shares


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
    shares = class_shares(recipe, classes, np.bincount(labels_n, minlength=len(classes)).tolist())
    return torch.tensor([share.weight for share in shares], dtype=torch.float64).float()


def describe_imbalance(recipe: ImbalanceRecipe) -> str:
    """What a plan says of it, to be added to what is computed; empty for nothing."""
    if recipe.sampling == "balanced":
        return ", classes in equal shares"
    return "" if recipe.class_weights == "none" else ", classes weighted"
