"""The network as everything runs it: 8-bit images in, features out.

N batch, C channels, H height, W width, F features.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from retop.backbones.build import Backbone


class Normalisation(nn.Module):
    """8-bit images to normalised values: (x / 255 - mean) / std, computed in float32.

    The output has the dtype to which the module was last cast.
    """

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.scale: Tensor
        self.shift: Tensor
        self.like: Tensor
        self.register_buffer("scale", torch.empty(0), persistent=False)
        self.register_buffer("shift", torch.empty(0), persistent=False)
        self.register_buffer("like", torch.empty(0), persistent=False)
        self._fill()

    def _fill(self) -> None:
        mean, std = torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.std, dtype=torch.float64)
        device = self.scale.device
        self.scale = (1 / (255 * std)).float().reshape(3, 1, 1).to(device)
        self.shift = (-mean / std).float().reshape(3, 1, 1).to(device)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Normalisation":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # A cast to half precision must not round mean and std.
        self._fill()
        return self

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Normalise.

        Args:
            images_nchw: [N, 3, H, W] uint8.

        Returns:
            [N, 3, H, W] of the module's dtype.
        """
        return torch.addcmul(self.shift, images_nchw.float(), self.scale).to(self.like.dtype)

    def extra_repr(self) -> str:
        """Mean and std, which the prefix's fingerprint reads."""
        return f"mean={self.mean}, std={self.std}"


class ImageNetwork(nn.Module):
    """A backbone with its normalisation inside.

    Training, the split and the predictor all run this module, so preprocessing cannot differ between them.

    Args:
        backbone: the network, without classifier. Its modules are shared, not copied.
        output: ``"pooled"`` gives the network's own pooled features [N, F]; ``"map"`` gives the last feature map,
            flattened to [N, C * H * W].
    """

    def __init__(self, backbone: Backbone, output: Literal["pooled", "map"] = "pooled") -> None:
        super().__init__()
        self.normalisation = Normalisation(backbone.preprocessing.mean, backbone.preprocessing.std)
        self.body = backbone.network
        self.output = output
        first = next(self.body.parameters())
        self.normalisation.to(device=first.device, dtype=first.dtype)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Features of images.

        Args:
            images_nchw: [N, 3, H, W] uint8, resized and cropped already.

        Returns:
            [N, F] pooled features, or [N, C * H * W].
        """
        x = self.normalisation(images_nchw)
        if self.output == "pooled":
            return self.body(x)  # type: ignore[no-any-return]
        features: Tensor = self.body.forward_features(x)  # type: ignore[operator]
        return features.flatten(1)
