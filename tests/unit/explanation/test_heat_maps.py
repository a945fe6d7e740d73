"""Heat maps exist for every family of networks and follow the class and the object."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retop.artifact import Classifier
from retop.artifact.classifier import plain_head
from retop.backbones import build_backbone
from retop.explanation import heat_map, overlay
from retop.recipe import HeadRecipe


def classifier(backbone: str, kind: str = "linear") -> Classifier:
    built = build_backbone(backbone, "random", seed=0)
    torch.manual_seed(0)
    side = built.preprocessing.height
    features = built.num_features
    if kind == "mlp":
        features = built.network.forward_features(torch.zeros(1, 3, side, side)).numel()
    head = plain_head(HeadRecipe(kind=kind), features, 3)  # type: ignore[arg-type]
    for parameter in head.parameters():
        # Features after ReLU speak for every class then, so that no map is empty.
        parameter.data.abs_()
    return Classifier(built, head, kind).eval()


@pytest.mark.parametrize(
    "backbone",
    [
        "test_resnet",
        "test_convnext",
        "test_efficientnet",
        "test_vit",
        "test_mambaout",
        "retop_scratch",
        "pocket_vgg",
        "pocket_inception",
        "pocket_xception",
        "swin_tiny_patch4_window7_224",
    ],
)
def test_every_family_has_a_map_of_the_images_size(backbone: str) -> None:
    network = classifier(backbone)
    side = network.image_network.body.pretrained_cfg["input_size"][1]  # type: ignore[index,union-attr]
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    maps = [heat_map(network, pixels, number) for number in range(3)]
    assert all(found.shape == (side, side) and found.min() >= 0 and found.max() <= 1 for found in maps)
    assert any(found.max() > 0.5 for found in maps)
    assert not np.allclose(maps[0], maps[1])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_an_mlp_head_has_a_map_too() -> None:
    assert heat_map(classifier("test_resnet", "mlp"), np.full((160, 160, 3), 90, np.uint8), 1).shape == (160, 160)


def test_the_map_is_grad_cam(tmp_path: Path) -> None:
    """For a network that averages its last map, Grad-CAM is the head's row times the map, where it is positive."""
    network = classifier("test_resnet")
    pixels = np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        map_chw = network.image_network.body.forward_features(network.image_network.normalisation(images))[0]  # type: ignore[operator]
        plain = torch.relu(torch.einsum("c,chw->hw", network.head.weight[2], map_chw))  # type: ignore[arg-type]
    large = torch.nn.functional.interpolate((plain / plain.max())[None, None], size=(160, 160), mode="bilinear")
    np.testing.assert_allclose(heat_map(network, pixels, 2), large[0, 0].numpy(), atol=1e-4)


def test_an_overlay_is_the_image_in_grey_where_nothing_speaks() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    shown = np.asarray(overlay(pixels, np.zeros((8, 8), np.float32)))
    np.testing.assert_array_equal(shown, np.repeat(pixels.mean(2, keepdims=True).astype(np.uint8), 3, axis=2))
