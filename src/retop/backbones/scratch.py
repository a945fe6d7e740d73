"""The network that is trained from random weights, as a baseline for fine-tuning.

It is registered with timm under ``retop_scratch``, so that it is built, cut, saved and loaded like any other.

N batch, C channels, H height, W width, F features.
"""

import itertools
from typing import Any

import torch
from timm.layers.classifier import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

_WIDTHS = (24, 48, 96, 160, 192)


class ConvolutionBlock(nn.Sequential):
    """Convolution, batch norm and ReLU, twice; the first one halves height and width."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ScratchNetwork(nn.Module):
    """Five convolution blocks, global average pooling and a linear layer."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        widths: tuple[int, ...] = _WIDTHS,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        channels = (in_chans, *widths)
        self.blocks = nn.Sequential(
            *(ConvolutionBlock(before, after) for before, after in itertools.pairwise(channels))
        )
        self.num_features = self.head_hidden_size = widths[-1]
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """How timm groups the parameters: one group for each block."""
        return {"blocks": r"^blocks\.(\d+)"}

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        classifier: nn.Module = self.head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last linear layer; 0 classes leave the pooled features."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last feature map, [N, C, H, W]."""
        features: torch.Tensor = self.blocks(x)
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Logits [N, K], or pooled features [N, F]."""
        output: torch.Tensor = self.head(x, pre_logits=pre_logits)
        return output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, K], or pooled features [N, F] where there are no classes."""
        return self.forward_head(self.forward_features(x))


default_cfgs = generate_default_cfgs(
    {
        "retop_scratch": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 128, 128),
            "pool_size": (4, 4),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "blocks.0.0",
            "classifier": "head.fc",
        }
    }
)


@register_model
def retop_scratch(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The baseline network; timm's `create_model` calls this."""
    network: nn.Module = build_model_with_cfg(ScratchNetwork, "retop_scratch", pretrained, **kwargs)
    return network
