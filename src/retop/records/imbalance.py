"""What a recipe's correction for classes of different sizes comes to, class by class."""

# K classes

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retop.errors import UsageError
from retop.recipe import ImbalanceRecipe, Recipe
from retop.records.run import DataRecord

MOST_NAMED = 10
"""Classes that a sentence names one by one; of more it names the first and the last few."""

_FEW = 3


@dataclass(frozen=True)
class ClassShare:
    """How much one class counts in training."""

    label: str
    """Name of the class."""

    images: int
    """Its training images."""

    weight: float
    """Its weight in the loss; the mean over the training images is 1."""

    drawn: float
    """How often an epoch draws each of its images, in the mean."""


def class_shares(recipe: ImbalanceRecipe, classes: Sequence[str], images: Sequence[int]) -> tuple[ClassShare, ...]:
    """Compute what each class counts.

    Args:
        recipe: what was asked for.
        classes: K names.
        images: [K] training images of each.

    Returns:
        K shares; none where nothing is corrected.

    Raises:
        UsageError: a mapping lacks a class, or names one that is not there.
    """
    if recipe == ImbalanceRecipe():
        return ()
    counts_k = np.asarray(images, np.float64)
    weights_k = drawn_k = np.ones(len(counts_k))
    if recipe.sampling == "balanced":
        drawn_k = counts_k.sum() / (np.count_nonzero(counts_k) * np.maximum(counts_k, 1))
    elif recipe.class_weights == "balanced":
        weights_k = 1 / np.maximum(counts_k, 1)
    elif isinstance(recipe.class_weights, dict):
        _check_names(recipe.class_weights, classes)
        weights_k = np.array([recipe.class_weights[name] for name in classes])
    weights_k = weights_k * counts_k.sum() / (weights_k @ counts_k)
    return tuple(map(ClassShare, classes, map(int, images), weights_k.tolist(), drawn_k.tolist()))


def shares_of(recipe: Recipe, data: DataRecord) -> tuple[ClassShare, ...]:
    """What each class counts in a run on this data; see `class_shares`."""
    return class_shares(
        recipe.imbalance, data.classes, next(one.per_class for one in data.splits if one.name == "train")
    )


def _check_names(given: dict[str, float], classes: Sequence[str]) -> None:
    wrong = [f"{name!r} has no weight" for name in classes if name not in given]
    wrong += [f"there is no class {name!r}" for name in sorted(given.keys() - set(classes))]
    if wrong:
        raise UsageError(
            f"the class weights (--class-weights, imbalance.class_weights) do not fit the classes: {'; '.join(wrong)}"
        )


def describe_shares(shares: Sequence[ClassShare]) -> str:
    """The shares in a sentence; empty for none.

    Args:
        shares: of all classes.
    """
    if not shares:
        return ""
    if len({share.drawn for share in shares}) > 1:
        return _say_draws(shares)
    if len({share.weight for share in shares}) == 1:
        return "Classes count alike in training, as without a correction: it gives all of them the same weight."
    listed = [f"{share.label}: {_figure(share.weight)}" for share in sorted(shares, key=lambda share: share.weight)]
    said = "Weights of the classes in the loss (1 in the mean over the training images): "
    if len(listed) <= MOST_NAMED:
        return f"{said}{', '.join(listed)}."
    few, many = ", ".join(listed[:_FEW]), ", ".join(listed[-_FEW:])
    return f"{said}of {len(listed):,} classes the smallest are {few}; the largest are {many}."


def _say_draws(shares: Sequence[ClassShare]) -> str:
    least, most = (choose(shares, key=lambda share: share.images) for choose in (min, max))
    return (
        f"Balanced sampling: in the mean an epoch draws each image of the smallest class, {least.label} (n = "
        f"{least.images:,}), {_figure(least.drawn)} times and each of the largest, {most.label} (n = {most.images:,}), "
        f"{_figure(most.drawn)} times: {_figure(least.drawn / most.drawn)} times as often."
    )


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
