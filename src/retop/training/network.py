"""What a stage runs and what it learns from."""

# N batch, K classes

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from retop.training.inputs import Inputs
from retop.training.order import Rows, balanced_order, epoch_order

Labels = npt.NDArray[np.int64]


class LateNetwork(nn.Module):
    """What a stage runs: the suffix of the backbone, and the head.

    Args:
        suffix: crossings to features; the identity where features are the input.
        head: features to logits.
    """

    def __init__(self, suffix: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.suffix = suffix
        self.head = head

    def forward(self, *crossings: torch.Tensor) -> torch.Tensor:
        """Logits [N, K] of a batch of crossings."""
        return self.head(self.suffix(*crossings))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class LabelledInputs:
    """Inputs and labels of one split.

    Attributes:
        inputs: N images.
        labels_n: [N] class numbers.
        rows: the images that are used.
        class_weights_k: [K] weight of each class in the loss of training; None for all alike.
        balanced: whether an epoch draws the classes in equal shares.
    """

    inputs: Inputs
    labels_n: Labels
    rows: Rows
    class_weights_k: torch.Tensor | None = None
    balanced: bool = False

    def order(self, seed: int, stage: int, epoch: int) -> Rows:
        """The rows of one epoch in their order."""
        if self.balanced:
            return self.rows[balanced_order(seed, stage, epoch, self.labels_n[self.rows])]
        return self.rows[epoch_order(seed, stage, epoch, len(self.rows))]


def trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that a stage changes."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
