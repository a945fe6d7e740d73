"""Optimisers and the course of their step size."""

import math

import torch
from torch import nn

from retop.recipe import StageRecipe


def build_optimiser(
    network: nn.Module, recipe: StageRecipe, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The stage's optimiser over the parameters that require gradients.

    Args:
        network: whatever requires gradients in it is trained.
        recipe: of the stage.
        learning_rate: peak step size.
        weight_decay: penalty on weights; norms and biases (anything with one dimension) have none.

    Returns:
        The optimiser.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # One kernel for all parameters: on a CPU AdamW is five to ten times faster with it, SGD two to five.
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            groups, learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
        )
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, learning_rate, betas=(recipe.momentum, 0.999), fused=True)


def learning_rate_at(step: int, num_steps: int, peak: float, recipe: StageRecipe) -> float:
    """The step size of one step: linear warm-up, then the recipe's schedule down to 0 (cosine) or level.

    Args:
        step: counted from 1.
        num_steps: of the whole stage.
        peak: largest step size.
        recipe: of the stage.

    Returns:
        The step size.

    Source:
        Loshchilov and Hutter, SGDR, 2017 (arXiv:1608.03983), without restarts.
    """
    warmup = recipe.warmup_fraction * num_steps
    if step <= warmup:
        return peak * step / warmup
    if recipe.schedule == "constant":
        return peak
    progress = (step - 1 - warmup) / max(1.0, num_steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the step size of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate
