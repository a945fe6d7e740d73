"""A changed input never hits an old entry of the store."""

import dataclasses
import random
import string
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from retop.activations import ActivationStore, EntryKey, weights_digest
from retop.activations.key import arithmetic_key, augmentation_key, library_versions
from retop.recipe import ViewsRecipe
from retop.records import Preprocessing

PREPROCESSING = Preprocessing(64, 64, 0.875, "center", "bicubic", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
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
