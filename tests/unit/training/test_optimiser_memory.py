"""A device without memory for the optimiser: some weights have moved, and the run goes back to where none had."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from retop.errors import MemoryRunError
from retop.events import Event, Notice
from retop.pipeline.frozen import HeldInputs
from retop.recipe import StageRecipe
from retop.training import LabelledInputs, LateNetwork, choose_runtime, loop
from retop.training.state import trained_state

STEPS_PER_EPOCH = 3
RECIPE = StageRecipe(epochs=3, batch_size=16, momentum=0.0, patience=None, min_steps=0)
RUNTIME = choose_runtime("cpu", "fp32")


def train(images_at_once: int | None = None) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Weights after a fit, and what was said."""
    torch.manual_seed(0)
    network = LateNetwork(nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, 3))
    inputs = HeldInputs(torch.randn(16 * STEPS_PER_EPOCH, 6))
    labelled = LabelledInputs(inputs, np.arange(len(inputs)) % 3, np.arange(len(inputs)))
    events: list[Event] = []
    loop.fit(
        network, network.train, labelled, None, labelled, RECIPE, learning_rate=0.1, weight_decay=0.0, seed=0, stage=2,
        runtime=replace(RUNTIME, images_at_once=images_at_once), on_epoch=lambda _: None, listener=events.append,
    )  # fmt: skip
    return trained_state(network), [event.message for event in events if isinstance(event, Notice)]


def fail_in(monkeypatch: pytest.MonkeyPatch, steps: range) -> None:
    """In these steps, counted from 0, one weight moves and then there is no memory for the others."""
    build, taken = loop.build_optimiser, [0]

    def half_way(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        taken[0] += 1
        if taken[0] - 1 in steps:
            optimiser.param_groups[0]["params"][0].data += 1.0
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    def built(*arguments: Any) -> torch.optim.Optimizer:
        optimiser = build(*arguments)
        optimiser.register_step_pre_hook(half_way)
        return optimiser

    monkeypatch.setattr(loop, "build_optimiser", built)


def test_the_first_step_without_memory_for_it_is_as_if_parts_had_been_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, silence = train(images_at_once=8)
    fail_in(monkeypatch, range(1))
    weights, said = train()
    assert silence == []
    assert len(said) == 1
    assert "epoch 1, step 1: the device has no memory for the optimiser" in said[0]
    assert "Going on from epoch 0; batches go through the network in parts of 8" in said[0]
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_a_later_step_without_memory_leaves_nothing_of_its_half(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = train()
    fail_in(monkeypatch, range(STEPS_PER_EPOCH + 1, STEPS_PER_EPOCH + 2))
    weights, said = train()
    assert "epoch 2, step 2" in said[0]
    assert "Going on from epoch 1" in said[0]
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)


def test_without_memory_for_any_step_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in(monkeypatch, range(1000))
    with pytest.raises(MemoryRunError, match=r"no memory for the optimiser.*--thaw.*--device"):
        train()
