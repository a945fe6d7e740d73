"""A changed input never hits an old entry of the store."""

import dataclasses
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from images import write_shapes
from retop.activations import ActivationStore, EntryKey, weights_digest
from retop.activations.fill import view_key
from retop.activations.key import arithmetic_key, augmentation_key, library_versions
from retop.backbones import ImageNetwork, build_backbone, choose_boundary, split_network
from retop.data import open_dataset
from retop.data.views import PIXELS_VERSION
from retop.recipe import DataRecipe, ViewsRecipe
from retop.records import Preprocessing
from retop.training import choose_runtime

PREPROCESSING = Preprocessing(64, 64, 0.875, "center", "bicubic", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
VIEWS = ViewsRecipe("standard", 3)
KEY = EntryKey(
    images="a" * 64,
    preprocessing=PREPROCESSING,
    view=1,
    augmentation="standard 0",
    graph="def forward(self, x): return self.conv1(x)",
    weights="b" * 64,
    arithmetic="cpu AVX2 float32",
    stored="bfloat16",
    parent="",
    versions="torch 2.11.0",
)
CHOICES = {
    "crop_mode": ("center", "squash", "border"),
    "interpolation": ("bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"),
}


def change_text(text: str, draw: random.Random) -> str:
    """One character more, fewer or another."""
    place = draw.randrange(len(text) + 1)
    other = draw.choice(string.printable.replace(text[place : place + 1], ""))
    return text[:place] + other + text[place + draw.randrange(2) :]


def change_number(value: float, draw: random.Random) -> float:
    """The next number up or down, or any other."""
    return draw.choice([float(np.nextafter(value, 9)), float(np.nextafter(value, -9)), value + draw.random() + 1e-9])


def change(value: Any, name: str, draw: random.Random) -> Any:
    """Another value in one place."""
    if name in CHOICES:
        return draw.choice([other for other in CHOICES[name] if other != value])
    if isinstance(value, str):
        return change_text(value, draw)
    if isinstance(value, int):
        return value + draw.choice([-1, 1, 7, 1000])
    if isinstance(value, float):
        return change_number(value, draw)
    if isinstance(value, tuple):
        place = draw.randrange(len(value))
        return (*value[:place], change_number(value[place], draw), *value[place + 1 :])
    field = draw.choice(dataclasses.fields(value)).name
    return dataclasses.replace(value, **{field: change(getattr(value, field), field, draw)})


def test_a_thousand_single_changes_never_hit() -> None:
    store = ActivationStore()
    store.fill(KEY, 4, lambda start: [(torch.zeros(4 - start, 3),)], "the entry")
    assert store.find(KEY) is not None
    draw = random.Random(0)
    digests = {KEY.digest()}
    changed_fields = set()
    for _ in range(1000):
        name = draw.choice(dataclasses.fields(EntryKey)).name
        changed = dataclasses.replace(KEY, **{name: change(getattr(KEY, name), name, draw)})
        assert changed != KEY
        assert changed.digest() != KEY.digest(), name
        assert store.find(changed) is None, name
        assert not store.holds(changed)
        digests.add(changed.digest())
        changed_fields.add(name)
    assert changed_fields == {field.name for field in dataclasses.fields(EntryKey)}


def real_key(
    folder: Path,
    *,
    network: nn.Module | None = None,
    code: str = "the text",
    preprocessing: Preprocessing = PREPROCESSING,
    views: ViewsRecipe = VIEWS,
    view: int = 1,
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
) -> str:
    """The key as a run forms it, from images on disk, a network and a recipe."""
    runtime = choose_runtime("cpu", precision)
    frozen = runtime.frozen(network or small_network(), code)
    return view_key(open_dataset(folder, DataRecipe()).train, preprocessing, views, view, frozen).digest()


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).eval()


def change_pixel(folder: Path, draw: random.Random) -> None:
    """One bit of one pixel of one training image."""
    target = folder / open_dataset(folder, DataRecipe()).train.path(draw.randrange(20))
    with Image.open(target) as opened:
        pixels = np.asarray(opened).copy()
    pixels[draw.randrange(64), draw.randrange(64), draw.randrange(3)] ^= 1
    target.unlink()
    Image.fromarray(pixels).save(target.with_suffix(".png"))


def test_changes_of_real_inputs_never_hit(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path, 10)
    draw = random.Random(0)
    inputs: dict[str, object] = {real_key(folder): "as it is"}
    assert real_key(folder) in inputs

    def check(changed: object, digest: str) -> None:
        assert inputs.setdefault(digest, changed) == changed, changed

    for _ in range(60):
        network = small_network()
        tensor = draw.choice([value for value in network.state_dict().values() if value.is_floating_point()])
        place, bit = draw.randrange(tensor.numel()), draw.randrange(31)
        tensor.view(-1).view(torch.int32)[place] ^= 1 << bit
        check(("weights", tuple(tensor.shape), tensor.flatten().tolist()), real_key(folder, network=network))
        code, preprocessing = change_text("the text", draw), change(PREPROCESSING, "preprocessing", draw)
        check(code, real_key(folder, code=code))
        check(preprocessing, real_key(folder, preprocessing=preprocessing))
        views = ViewsRecipe("standard", 3, draw.randrange(1, 10**9))
        check(views, real_key(folder, views=views))
    for view in (0, 2):
        check(view, real_key(folder, view=view))
    check("original", real_key(folder, views=ViewsRecipe("original", 3)))
    check("bf16", real_key(folder, precision="bf16"))
    for number in range(20):
        change_pixel(folder, draw)
        check(("pixel", number), real_key(folder))


def test_every_boundary_of_a_network_has_a_key_of_its_own(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path, 10)
    backbone = build_backbone("test_resnet", "random")
    digests = set()
    for group in backbone.groups:
        boundary = choose_boundary(backbone, group.name)
        split = split_network(ImageNetwork(backbone, "pooled").eval(), boundary.parameter_names, (64, 64))
        digests.add(real_key(folder, network=split.prefix, code=split.fingerprint_code))
    assert len(digests) == len(backbone.groups) > 2


def test_equal_keys_hit() -> None:
    store = ActivationStore()
    store.fill(KEY, 4, lambda start: [(torch.zeros(4 - start, 3),)], "the entry")
    assert ActivationStore().find(dataclasses.replace(KEY)) is not None


def test_every_bit_of_a_weight_counts() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = weights_digest(layers)
    draw = random.Random(0)
    tensors = [tensor for tensor in layers.state_dict().values() if tensor.ndim]
    for _ in range(200):
        raw = draw.choice(tensors).view(-1).view(torch.uint8)
        place, bit = draw.randrange(len(raw)), 1 << draw.randrange(8)
        raw[place] ^= bit
        assert weights_digest(layers) != before
        raw[place] ^= bit
    assert weights_digest(layers) == before


def test_weights_digest_knows_names_shapes_and_formats_but_not_memory_layout() -> None:
    layer = nn.Conv2d(3, 4, 3)
    before = weights_digest(layer)
    assert weights_digest(layer.to(memory_format=torch.channels_last)) == before
    assert weights_digest(nn.Sequential(layer)) != before
    flat = nn.Module()
    flat.weight, flat.bias = nn.Parameter(layer.weight.detach().reshape(4, 27)), layer.bias
    assert weights_digest(flat) != before
    assert weights_digest(layer.bfloat16()) != before


def test_preset_and_seed_separate_views_but_all_presets_share_view_zero() -> None:
    recipes = [ViewsRecipe(preset, 4, seed) for preset in ("standard", "original") for seed in (0, 1)]
    assert len({augmentation_key(recipe, 1) for recipe in recipes}) == 4
    assert {augmentation_key(recipe, 0) for recipe in recipes} == {""}


def test_device_and_arithmetic_are_in_the_key() -> None:
    devices: list[Callable[[], str]] = [
        lambda: arithmetic_key(torch.device("cpu"), torch.float32),
        lambda: arithmetic_key(torch.device("cpu"), torch.bfloat16),
        lambda: arithmetic_key(torch.device("mps"), torch.float32),
    ]
    assert len({key() for key in devices}) == 3


def test_releases_that_can_change_a_number_are_in_the_key() -> None:
    for library in ("retop", "torch", "timm", "pillow", "numpy"):
        assert f"{library} " in library_versions()
    assert f" pixels {PIXELS_VERSION} " in library_versions()
