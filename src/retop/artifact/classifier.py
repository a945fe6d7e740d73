"""The whole network as it is measured and used: 8-bit images in, logits out."""

# N batch, K classes, H, W

import torch
from torch import nn

from retop.backbones import Backbone, ImageNetwork
from retop.recipe import HeadRecipe


class Classifier(nn.Module):
    """A backbone and its head.

    Args:
        backbone: the network without classifier.
        head: features to logits; `plain_head` makes one that a file can hold.
        kind: of the head; ``mlp`` reads the flattened feature map instead of pooled features.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, kind: str) -> None:
        super().__init__()
        self.image_network = ImageNetwork(backbone, "map" if kind == "mlp" else "pooled")
        self.head = head

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        """Logits [N, K] of 8-bit images [N, 3, H, W]."""
        return self.head(self.image_network(images_nchw))  # type: ignore[no-any-return]


def plain_head(recipe: HeadRecipe, num_features: int, num_classes: int) -> nn.Module:
    """The head as a model folder holds it, without values."""
    if recipe.kind == "linear":
        return nn.Linear(num_features, num_classes)
    return nn.Sequential(
        nn.Dropout(recipe.dropout_fraction),
        nn.Linear(num_features, recipe.hidden),
        nn.ReLU(),
        nn.Linear(recipe.hidden, num_classes),
    )
