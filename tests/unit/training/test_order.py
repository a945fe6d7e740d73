"""Random choices, step sizes and inputs of training."""

import numpy as np
import pytest
import torch
from torch import nn

from retop.activations import ActivationStore, EntryKey
from retop.recipe import StageRecipe
from retop.records import Preprocessing
from retop.training import StoredInputs
from retop.training import inputs as training_inputs
from retop.training.optimiser import build_optimiser, learning_rate_at
from retop.training.order import batch_bounds, derive_seed, epoch_order, epoch_views


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own() -> None:
    orders = [epoch_order(seed, stage, epoch, 50) for seed in (0, 1) for stage in (1, 2) for epoch in (1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)
    assert np.array_equal(epoch_order(0, 1, 1, 50), orders[0])


def test_views_are_drawn_evenly() -> None:
    counts = sum(np.bincount(epoch_views(0, 2, epoch, 300, 4), minlength=4) for epoch in range(20))
    assert counts.min() > 1350
    assert counts.max() < 1650


def test_seeds_of_other_words_differ() -> None:
    seeds = {derive_seed(*parts) for parts in [("a", 1), ("a", 2), ("b", 1), ("a1",), (1, "a"), ("a", "1", 1)]}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(("num_images", "batch_size"), [(1, 32), (32, 32), (33, 32), (45, 16), (100, 7)])
def test_batches_cover_everything_and_differ_by_one_at_most(num_images: int, batch_size: int) -> None:
    bounds = batch_bounds(num_images, batch_size)
    sizes = [high - low for low, high in bounds]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == num_images == sum(sizes)
    assert len(bounds) == -(-num_images // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_the_step_size_rises_then_falls_to_nothing() -> None:
    recipe = StageRecipe(epochs=1, warmup_fraction=0.1)
    rates = [learning_rate_at(step, 100, 2.0, recipe) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert max(rates) == pytest.approx(2.0)
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert 0 < rates[-1] < 0.01
    level = StageRecipe(epochs=1, schedule="constant", warmup_fraction=0.0)
    assert {learning_rate_at(step, 100, 2.0, level) for step in range(1, 101)} == {2.0}


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_norms_and_biases_are_not_penalised(optimiser: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    network[3].weight.requires_grad_(False)
    built = build_optimiser(network, StageRecipe(epochs=1, optimiser=optimiser), 0.1, 0.5)  # type: ignore[arg-type]
    penalised, free = built.param_groups
    assert penalised["weight_decay"] == 0.5
    assert [p.shape for p in penalised["params"]] == [network[0].weight.shape]
    assert free["weight_decay"] == 0
    assert len(free["params"]) == 4


def view_key(view: int) -> EntryKey:
    preprocessing = Preprocessing(8, 8, 1.0, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return EntryKey("images", preprocessing, view, "", "graph", "weights", "cpu", "float32", "", "")


@pytest.mark.parametrize("read_ahead_bytes", [0, 2**20])
def test_stored_inputs_mix_views_row_by_row(monkeypatch: pytest.MonkeyPatch, read_ahead_bytes: int) -> None:
    monkeypatch.setattr(training_inputs, "READ_AHEAD_BYTES", read_ahead_bytes)
    store = ActivationStore()
    tensors = [
        torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(v)).to(memory_format=torch.channels_last)
        for v in range(3)
    ]
    entries = [store.fill(view_key(v), 20, lambda start, v=v: [(tensors[v][start:],)], "view") for v in range(3)]
    assert entries[0].row_bytes == 3 * 4 * 4 * 4
    inputs = StoredInputs(entries)
    generator = np.random.default_rng(0)
    rows, views = generator.integers(0, 20, 33), generator.integers(0, 3, 33)
    seen = list(inputs.batches(rows, views, 8))
    assert np.array_equal(np.concatenate([batch_rows for batch_rows, _ in seen]), rows)
    whole = torch.cat([batch for _, (batch,) in seen])
    assert torch.equal(whole, torch.stack([tensors[v][r] for r, v in zip(rows, views, strict=True)]))
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for _, (batch,) in seen)
