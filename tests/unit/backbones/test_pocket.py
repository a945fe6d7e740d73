"""The networks of half a million parameters, and the weights that come with the package."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional

from retop.backbones import build_backbone, embedded, embedded_backbones, known_backbones
from retop.backbones.state import load_weights, read_tensors
from retop.errors import WeightsError

POCKET = [entry.name for entry in known_backbones() if entry.name.startswith("pocket_")]
MOST_PARAMETERS = 500_000
MOST_BYTES = 1_000_000


@pytest.mark.parametrize("name", POCKET)
def test_a_pocket_backbone_takes_images_from_32_to_128_pixels(name: str) -> None:
    backbone = build_backbone(name, "random")
    for side in (32, 64, 128):
        images_nchw = torch.randn(2, 3, side, side)
        with torch.inference_mode():
            features_nf = backbone.network(images_nchw)
            map_nchw = backbone.network.forward_features(images_nchw)
        assert features_nf.shape == (2, backbone.num_features)
        assert map_nchw.shape[2:] == (side // 16, side // 16)
        assert torch.isfinite(features_nf).all()


@pytest.mark.parametrize("name", POCKET)
def test_a_pocket_backbone_fits_into_a_megabyte_as_float16(name: str) -> None:
    network = build_backbone(name, "random").network
    assert sum(parameter.numel() for parameter in network.parameters()) <= MOST_PARAMETERS
    state = {name: tensor.half() for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    assert len(safetensors.torch.save(state)) <= MOST_BYTES


@pytest.mark.parametrize("name", POCKET)
def test_the_classifier_can_be_replaced(name: str) -> None:
    network = build_backbone(name, "random").network
    network.reset_classifier(7)
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    assert network.get_classifier().out_features == 7


@pytest.mark.parametrize("name", embedded_backbones())
def test_embedded_weights_are_whole_small_and_described(name: str) -> None:
    folder = embedded.find_embedded(name)
    assert folder is not None
    tensors = read_tensors(folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_size <= MOST_BYTES
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    backbone = build_backbone(name, offline=True)
    assert backbone.weights.source == "package"
    assert (backbone.preprocessing.height, backbone.preprocessing.width) == (64, 64)
    state = backbone.network.state_dict()
    assert all(torch.equal(state[key], tensor.float()) for key, tensor in tensors.items())
    card = (folder / "card.md").read_text()
    assert backbone.weights.description is not None
    assert backbone.weights.description in card
    assert "ImageNet" in card


def matched_fraction(network: nn.Module, photos_nchw: torch.Tensor, again_nchw: torch.Tensor) -> float:
    """How often the second photograph of a place has the first one of that place as its nearest in the features."""
    with torch.inference_mode():
        first_nf, second_nf = network(photos_nchw), network(again_nchw)
    mean_f, std_f = first_nf.mean(0), first_nf.std(0) + 1e-6
    first_nf, second_nf = (functional.normalize((nf - mean_f) / std_f) for nf in (first_nf, second_nf))
    return float(((second_nf @ first_nf.T).argmax(1) == torch.arange(len(first_nf))).float().mean())


def photographed_places(seed: int) -> torch.Tensor:
    """80 places of scikit-learn's two photographs without their colours, shifted, scaled and mirrored by chance."""
    generator, places = np.random.default_rng(seed), []
    for photo in load_sample_images().images:
        grey_hw = torch.from_numpy(photo.mean(2, dtype=np.float32))
        for y, x in itertools.product(range(0, 350, 70), range(0, 560, 70)):
            (down, right), side = generator.integers(0, 17, 2), int(generator.integers(56, 76))
            place_hw = grey_hw[y + down : y + down + side, x + right : x + right + side]
            place_hw = place_hw.flip(1) if generator.random() < 0.5 else place_hw
            places.append(functional.interpolate(place_hw[None, None], (64, 64), mode="bilinear", antialias=True)[0])
    places_nchw = torch.stack(places)
    mean_n111, std_n111 = (of(places_nchw, (1, 2, 3), keepdim=True) for of in (torch.mean, torch.std))
    return ((places_nchw - mean_n111) / (std_n111 + 12)).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("name", embedded_backbones())
def test_embedded_weights_know_a_place_again_where_random_ones_do_not(name: str) -> None:
    """Weights that were mixed up, or that float16 broke, would know as little as random ones: about 40 % against 75."""
    torch.manual_seed(0)
    photos = photographed_places(0), photographed_places(1)
    learnt, drawn = (matched_fraction(build_backbone(name, *weights).network, *photos) for weights in ((), ("random",)))
    assert learnt > drawn + 0.2
    assert learnt > 0.65


def test_missing_embedded_weights_are_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(WeightsError, match=r"'pocket_vgg' are not in this copy of retop.*retop pretrain.*--weights"):
        build_backbone("pocket_vgg")


@pytest.mark.skipif(not embedded_backbones(), reason="this checkout has no embedded weights")
def test_without_a_hub_the_pocket_backbones_are_offered_and_not_taken() -> None:
    with pytest.raises(WeightsError, match=f"--backbones {','.join(embedded_backbones())}"):
        build_backbone("resnet50", offline=True)


@pytest.mark.parametrize("name", embedded_backbones())
def test_weights_without_a_classifier_do_not_ask_for_one(name: str) -> None:
    """The answer would cost building the network twice more, most of the time that loading takes."""
    folder = embedded.find_embedded(name)
    assert folder is not None
    network = build_backbone(name, "random").network

    def ask() -> set[str]:
        raise AssertionError("asked for the classifier's names")

    load_weights(network, folder / "model.safetensors", ask)
    assert torch.equal(
        network.state_dict()[key := next(iter(network.state_dict()))],
        build_backbone(name).network.state_dict()[key],
    )


def test_building_one_waits_for_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys, torch, timm; from retop.backbones import build_backbone; build_backbone('pocket_vgg'); "
        "sys.exit(', '.join({'pyarrow', 'psutil', 'sklearn', 'scipy', 'lightning_fabric'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
