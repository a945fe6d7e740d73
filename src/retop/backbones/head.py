"""The new top of a network."""

# N batch, F features, K classes

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional

from retop.recipe import HeadRecipe


class LinearHead(nn.Module):
    """Dropout and one linear layer, on features that are centred and brought to unit size.

    The features of a frozen backbone share a large mean, and their size differs between backbones by orders of
    magnitude; both spoil the steps of plain SGD. Subtracting the mean and dividing by one number changes nothing
    that a linear layer can express, and `folded` gives the plain layer that computes the same.

    Args:
        num_features: F.
        num_classes: K.
        dropout: fraction of features dropped in training.
    """

    mean_f: torch.Tensor
    size: torch.Tensor

    def __init__(self, num_features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(num_features, num_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean_f", torch.zeros(num_features))
        self.register_buffer("size", torch.ones(()))

    def calibrate(self, features: Iterable[torch.Tensor]) -> None:
        """Learn the centre and the size of the features.

        Args:
            features: batches [N, F] of the training images, view 0.
        """
        count = 0
        total_f = torch.zeros(self.mean_f.shape, dtype=torch.float64)
        squares = torch.zeros((), dtype=torch.float64)
        for batch_nf in features:
            wide_nf = batch_nf.detach().cpu().double()
            count += len(wide_nf)
            total_f += wide_nf.sum(0)
            squares += wide_nf.square().sum()
        mean_f = total_f / count
        variance = (squares / count - mean_f.square().sum()) / len(mean_f)
        self.mean_f.copy_(mean_f)
        self.size.copy_(variance.clamp_min(1e-12).sqrt())

    def forward(self, features_nf: torch.Tensor) -> torch.Tensor:
        """Logits [N, K] of features [N, F]."""
        centred_nf = (features_nf - self.mean_f) / self.size
        return functional.linear(self.dropout(centred_nf), self.linear.weight, self.linear.bias)

    def folded(self) -> nn.Linear:
        """The plain linear layer that computes the same logits in evaluation."""
        plain = nn.Linear(self.linear.in_features, self.linear.out_features)
        weight_kf = self.linear.weight.detach().cpu().double() / self.size.cpu().double()
        bias_k = self.linear.bias.detach().cpu().double() - weight_kf @ self.mean_f.cpu().double()
        with torch.no_grad():
            plain.weight.copy_(weight_kf)
            plain.bias.copy_(bias_k)
        return plain


class MlpHead(nn.Sequential):
    """Dropout, dense with ReLU, linear, on the flattened feature map.

    Args:
        num_features: F, values of the flattened map.
        num_classes: K.
        dropout: fraction of features dropped in training.
        hidden: width of the dense layer.
    """

    def __init__(self, num_features: int, num_classes: int, dropout: float, hidden: int) -> None:
        super().__init__(
            nn.Dropout(dropout), nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
        )


Head = LinearHead | MlpHead


def build_head(recipe: HeadRecipe, num_features: int, num_classes: int, seed: int) -> Head:
    """A new head.

    Args:
        recipe: its kind and sizes.
        num_features: F, values per image that enter it.
        num_classes: K.
        seed: of its random weights.

    Returns:
        The head, in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if recipe.kind == "linear":
            return LinearHead(num_features, num_classes, recipe.dropout_fraction)
        return MlpHead(num_features, num_classes, recipe.dropout_fraction, recipe.hidden)
