"""The pocket backbones: small members of the four families, with weights inside the package.

Each has at most half a million parameters, takes images of 64 pixels by default and of 32 to 128 at all, and divides
height and width by 16. They are registered with timm under their own names, so that they are built, cut, saved and
loaded like any other.

N batch, C channels, H height, W width, F features.
"""

from typing import Any

import torch
from timm.layers.classifier import ClassifierHead
from timm.layers.conv_bn_act import ConvNormAct
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vgg import VGG
from timm.models.xception_aligned import XceptionAligned
from torch import nn

_VGG_LAYERS = (16, "M", 32, 32, "M", 64, 64, "M", 128, 128, "M", 144)


class PocketVGG(VGG):
    """timm's VGG with batch norm, few channels, and neither fc6 nor fc7."""

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, global_pool: str = "avg", drop_rate: float = 0.0
    ) -> None:
        # One hidden channel keeps timm from making fc6 and fc7, which are taken out again, as large as those of VGG16.
        super().__init__(list(_VGG_LAYERS), 0, in_chans, mlp_ratio=1 / 4096, norm_layer=nn.BatchNorm2d)
        self.num_classes = num_classes
        self.pre_logits = nn.Identity()  # type: ignore[assignment]
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.head_hidden_size = self.head.num_features


class PocketResNet(ResNet):
    """timm's ResNet-D with few channels and without the stem's pooling, which small images have no room for."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            BasicBlock,  # type: ignore[arg-type]
            layers=(1, 2, 1, 1),
            channels=(24, 48, 96, 128),
            stem_type="deep",
            stem_width=12,
            avg_down=True,
            **kwargs,
        )
        self.maxpool = nn.Identity()  # type: ignore[assignment]


class PocketXception(XceptionAligned):
    """timm's aligned Xception with a narrower stem, four blocks in its middle flow, and few channels."""

    def __init__(self, in_chans: int = 3, **kwargs: Any) -> None:
        blocks: list[dict[str, Any]] = [
            {"in_chs": 32, "out_chs": 64, "stride": 2},
            {"in_chs": 64, "out_chs": 128, "stride": 2},
            *({"in_chs": 128, "out_chs": 128, "stride": 1} for _ in range(4)),
            {"in_chs": 128, "out_chs": (128, 192, 256), "stride": 2},
        ]
        super().__init__(blocks, in_chans=in_chans, **kwargs)
        self.stem = _stem(in_chans, 16, 32)


class InceptionBlock(nn.Module):
    """Four branches side by side: 1 x 1; 3 x 3; two 3 x 3; pooling with 1 x 1.

    Source: Szegedy et al., Rethinking the Inception Architecture, 2016, figure 5 (arXiv:1512.00567).

    Args:
        in_channels: C of the input.
        one: channels of the 1 x 1 branch.
        three: channels of the 3 x 3 branch, before and after it.
        threes: channels of the branch with two 3 x 3, before and after them.
        pooled: channels of the pooling branch.
    """

    def __init__(
        self, in_channels: int, one: int, three: tuple[int, int], threes: tuple[int, int], pooled: int
    ) -> None:
        super().__init__()
        self.one = ConvNormAct(in_channels, one, 1)
        self.three = nn.Sequential(ConvNormAct(in_channels, three[0], 1), ConvNormAct(*three, 3))
        self.threes = nn.Sequential(
            ConvNormAct(in_channels, threes[0], 1), ConvNormAct(*threes, 3), ConvNormAct(threes[1], threes[1], 3)
        )
        self.pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1), ConvNormAct(in_channels, pooled, 1))
        self.out_channels = one + three[1] + threes[1] + pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] to [N, out_channels, H, W]."""
        return torch.cat((self.one(x), self.three(x), self.threes(x), self.pooled(x)), 1)


class ReductionBlock(nn.Module):
    """Three branches that halve height and width: 3 x 3; two 3 x 3; pooling.

    Source: Szegedy et al., 2016, figure 10.

    Args:
        in_channels: C of the input.
        three: channels of the 3 x 3 branch, before and after it.
        threes: channels of the branch with two 3 x 3, before and after them.
    """

    def __init__(self, in_channels: int, three: tuple[int, int], threes: tuple[int, int]) -> None:
        super().__init__()
        self.three = nn.Sequential(ConvNormAct(in_channels, three[0], 1), ConvNormAct(*three, 3, stride=2))
        self.threes = nn.Sequential(
            ConvNormAct(in_channels, threes[0], 1),
            ConvNormAct(*threes, 3),
            ConvNormAct(threes[1], threes[1], 3, stride=2),
        )
        self.pooled = nn.MaxPool2d(3, 2, 1)
        self.out_channels = in_channels + three[1] + threes[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] to [N, out_channels, H / 2, W / 2]."""
        return torch.cat((self.three(x), self.threes(x), self.pooled(x)), 1)


class PocketInception(nn.Module):
    """A stem, and three stages of one reduction and one inception block each."""

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, global_pool: str = "avg", drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.stem = _stem(in_chans, 16, 32)
        self.stages = nn.Sequential(
            _stage(ReductionBlock(32, (24, 32), (16, 24)), 32, (32, 48), (16, 24), 24),
            _stage(ReductionBlock(128, (48, 64), (32, 48)), 64, (48, 80), (24, 40), 40),
            _stage(ReductionBlock(224, (56, 72), (32, 56)), 72, (56, 80), (32, 56), 48),
        )
        self.num_features = self.head_hidden_size = 256
        self.head = ClassifierHead(self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """How timm groups the parameters: the stem, and one group for each stage."""
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)"}

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
        features: torch.Tensor = self.stages(self.stem(x))
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Logits [N, K], or pooled features [N, F]."""
        output: torch.Tensor = self.head(x, pre_logits=pre_logits)
        return output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, K], or pooled features [N, F] where there are no classes."""
        return self.forward_head(self.forward_features(x))


def _stem(in_chans: int, between: int, channels: int) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(in_chans, between, 3, stride=2), ConvNormAct(between, channels, 3))


def _stage(
    reduction: ReductionBlock, one: int, three: tuple[int, int], threes: tuple[int, int], pooled: int
) -> nn.Sequential:
    return nn.Sequential(reduction, InceptionBlock(reduction.out_channels, one, three, threes, pooled))


def _cfg(first_conv: str, classifier: str = "head.fc") -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 64, 64),
        "pool_size": (4, 4),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "first_conv": first_conv,
        "classifier": classifier,
    }


default_cfgs = generate_default_cfgs(
    {
        "pocket_vgg": _cfg("features.0"),
        "pocket_resnet": _cfg("conv1.0", "fc"),
        "pocket_xception": _cfg("stem.0.conv"),
        "pocket_inception": _cfg("stem.0.conv"),
    }
)


def _build(kind: type[nn.Module], name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    network: nn.Module = build_model_with_cfg(kind, name, pretrained, **arguments)
    return network


@register_model
def pocket_vgg(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Small VGG; timm's `create_model` calls this, as the three below."""
    return _build(PocketVGG, "pocket_vgg", pretrained, kwargs)


@register_model
def pocket_resnet(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Small ResNet."""
    return _build(PocketResNet, "pocket_resnet", pretrained, kwargs)


@register_model
def pocket_xception(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Small Xception."""
    return _build(PocketXception, "pocket_xception", pretrained, kwargs)


@register_model
def pocket_inception(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Small Inception."""
    return _build(PocketInception, "pocket_inception", pretrained, kwargs)
