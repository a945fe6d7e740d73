"""Folded batch norms compute what they computed before."""

import pytest
import torch
from torch import fx, nn

from retop.backbones import ImageNetwork, build_backbone
from retop.backbones.folding import fold_batch_norms, fold_network
from retop.backbones.tracing import trace


def noisy(network: nn.Module) -> nn.Module:
    """Batch norms that do something."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "legacy_xception", "inception_v3"])
def test_folding_changes_no_feature_and_no_weight(name: str) -> None:
    backbone = build_backbone(name, "random")
    noisy(backbone.network)
    network = ImageNetwork(backbone).eval()
    part = trace(network, (96, 96)).module
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norms(part)
    with torch.inference_mode():
        expected, received = network(images), folded(images)
    assert torch.allclose(received, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_every_batch_norm_behind_a_convolution_is_gone() -> None:
    part = trace(ImageNetwork(build_backbone("test_resnet", "random")).eval(), (64, 64)).module
    assert any(isinstance(module, nn.BatchNorm2d) for module in part.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fold_batch_norms(part).modules())


def test_a_convolution_whose_result_is_used_twice_keeps_its_batch_norm() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            values = self.convolution(images)
            return self.norm(values) + values

    part = fx.symbolic_trace(noisy(Shared()).eval())
    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(fold_batch_norms(part)(images), part(images))


def test_a_network_without_batch_norms_or_without_a_graph_stays_as_it_is() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.norm(images.float()) if images.float().sum() > 0 else images.float()

    plain = ImageNetwork(build_backbone("test_vit", "random")).eval()
    assert fold_network(plain, (64, 64)) is plain
    branching = ImageNetwork(build_backbone("test_resnet", "random"))
    branching.body = Branching().eval()
    assert fold_network(branching.eval(), (64, 64)) is branching
