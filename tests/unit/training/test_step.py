"""A step whose batch goes through in parts: what it leaves is what parts leave that were never interrupted."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from retop.events import Event, Notice
from retop.recipe import StageRecipe
from retop.training import Runtime, choose_runtime
from retop.training.optimiser import build_optimiser
from retop.training.state import FitState, Progress
from retop.training.step import backward, mix, training_loss

RECIPE = StageRecipe(epochs=1)
RUNTIME = choose_runtime("cpu", "fp32")


class Scarce(nn.Module):
    """Has no memory for more than so many images, which a network finds out after its first layers."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return x


def make_step(
    network: nn.Module, micro_batch: int | None, runtime: Runtime = RUNTIME, mixup: float = 0.0
) -> tuple[float, list[str]]:
    torch.manual_seed(1)
    events = list[Event]()
    optimiser = build_optimiser(network, RECIPE, 0.1, 0.0)
    state = FitState("stage 2", network, optimiser, runtime.device, Progress(0.1, micro_batch))
    inputs_nf, labels_n = torch.randn(12, 5), torch.arange(12) % 3
    batch = mix((inputs_nf,), labels_n, mixup, np.random.default_rng(0))
    loss, _ = backward(network, batch, partial(training_loss, recipe=RECIPE), runtime, state, events.append)
    return loss, [event.message for event in events if isinstance(event, Notice)]


@pytest.mark.parametrize("learns", [True, False])
def test_a_pass_that_failed_leaves_nothing_in_statistics_gradients_and_generators(learns: bool) -> None:
    network = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), Scarce(3), nn.Linear(8, 3)).train()
    network[1].train(learns)
    other = copy.deepcopy(network)
    loss, messages = make_step(network, None)
    expected, silence = make_step(other, 3)
    assert loss == expected
    assert [len(messages), len(silence)] == [2, 0]
    assert all("batch_norm=frozen" in message for message in messages) == learns
    for (name, tensor), same in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(tensor, same), name
    for parameter, same in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter.grad, same.grad)


class Narrow(Runtime):
    """A device with room for so many images of a batch, before any of them goes through the network."""

    most = 3

    def placed(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if len(tensors[0]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().placed(tensors)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_no_more_of_a_batch_is_on_the_device_than_has_room_there(mixup: float) -> None:
    network = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    other = copy.deepcopy(network)
    loss, messages = make_step(network, None, Narrow(RUNTIME.fabric, RUNTIME.dtype, RUNTIME.stored), mixup)
    expected, _ = make_step(other, 3, mixup=mixup)
    assert loss == expected
    assert len(messages) == 2
    for parameter, same in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter.grad, same.grad)
