"""Where a fit stands: with the weights, everything that its next step depends on."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from retop.device import seed_generators
from retop.errors import DivergedError
from retop.records import EpochRecord
from retop.schema import from_plain, to_plain

State = dict[str, torch.Tensor]

ROLL_BACK_FACTOR = 0.1


@dataclass
class Progress:
    """How far a fit is, in plain data.

    Attributes:
        learning_rate: peak step size in force; a roll-back lowers it.
        micro_batch: images that go through the network at once; None for the whole batch.
        history: one record per finished epoch, epoch 0 (before the first step) included.
        best_epoch: the best of them.
        epoch: the one at work, counted from 1.
        batch: batches of it that are done: the index of the next one.
        loss_sum: over the images of these batches.
        right: images of these batches that were answered rightly.
        largest_norm: of the gradients of these batches.
        seconds: that the epoch has taken so far.
        rolled_back: whether the step size has been lowered already.
    """

    learning_rate: float
    micro_batch: int | None = None
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    epoch: int = 1
    batch: int = 0
    loss_sum: float = 0.0
    right: float = 0.0
    largest_norm: float = 0.0
    seconds: float = 0.0
    rolled_back: bool = False

    @property
    def best(self) -> EpochRecord:
        """Record of the best epoch so far."""
        return self.history[self.best_epoch]


@dataclass
class FitState:
    """A fit at work. `capture` and `restore` carry all of it, and the network's weights, through a file.

    Attributes:
        name: tells it from the other fits of its run.
        network: what is trained, in place.
        optimiser: its optimiser.
        device: where it computes.
        progress: how far it is.
        best: weights of the best epoch.
        good: weights after the last finished epoch, to go back to.
        mixing: draws for mixup.
    """

    name: str
    network: nn.Module
    optimiser: torch.optim.Optimizer
    device: torch.device
    progress: Progress
    best: State = field(default_factory=dict)
    good: State = field(default_factory=dict)
    mixing: np.random.Generator = field(default_factory=np.random.default_rng)
    _began: float = field(default_factory=time.perf_counter)

    def begin_epoch(self, dropout_seed: int, mixing_seed: int) -> None:
        """Seed the generators, unless the epoch goes on after an interruption."""
        if self.progress.batch == 0:
            self._began = time.perf_counter()
            seed_generators(dropout_seed, self.device)
            self.mixing = np.random.default_rng(mixing_seed)

    @property
    def seconds(self) -> float:
        """Seconds of the epoch at work."""
        return time.perf_counter() - self._began

    def end_epoch(self, record: EpochRecord, better: bool) -> None:
        """Note an epoch (0 is the state before the first step) and turn to the next.

        Args:
            record: of the epoch.
            better: whether it is the best so far.
        """
        self.good = trained_state(self.network)
        before = self.progress
        self.progress = Progress(
            before.learning_rate,
            before.micro_batch,
            history=(*before.history, record),
            best_epoch=record.epoch if better else before.best_epoch,
            epoch=record.epoch + 1,
            rolled_back=before.rolled_back,
        )
        if better:
            self.best = self.good

    def roll_back(self, factor: float = 1.0) -> None:
        """Go back to the last finished epoch, with an optimiser that knows nothing.

        Args:
            factor: of the step size; less than 1 where it was too large.
        """
        self.network.load_state_dict(self.good, strict=False)
        self.optimiser.state.clear()
        before = self.progress
        self.progress = Progress(
            before.learning_rate * factor,
            before.micro_batch,
            history=before.history,
            best_epoch=before.best_epoch,
            epoch=before.epoch,
            rolled_back=before.rolled_back or factor < 1,
        )

    def generators(self) -> State:
        """States of torch's generators that this fit draws from."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type != "cpu":
            states["device"] = torch.get_device_module(self.device).get_rng_state()
        return states

    def set_generators(self, states: State) -> None:
        """Put torch's generators back.

        Args:
            states: as `generators` gave them.
        """
        torch.set_rng_state(states["cpu"])
        if self.device.type != "cpu":
            torch.get_device_module(self.device).set_rng_state(states["device"])

    @property
    def num_bytes(self) -> int:
        """Size of what `capture` gives, roughly: three copies of the weights, and the optimiser's moments."""
        moments = (value for values in self.optimiser.state.values() for value in values.values())
        kept = (*self.best.values(), *self.good.values(), *self.good.values(), *moments)
        return sum(value.nbytes for value in kept if isinstance(value, torch.Tensor))

    def capture(self) -> tuple[dict[str, Any], State]:
        """The state as plain data and tensors.

        Raises:
            DivergedError: weights are not finite; such a state is never saved.
        """
        for broken in not_finite(self.network):
            raise DivergedError(f"{self.name}: the weights {broken} are not finite. A smaller step size may do")
        self.progress.seconds = self.seconds
        numbers, moments = _split_optimiser(self.optimiser)
        plain = {
            "progress": to_plain(self.progress),
            "mixing": self.mixing.bit_generator.state,
            "optimiser": numbers,
            "good_is_best": self.good is self.best,
        }
        named = {
            "weights": trained_state(self.network),
            "best": self.best,
            "good": {} if self.good is self.best else self.good,
            "optimiser": moments,
            "generator": self.generators(),
        }
        return plain, {f"{part}/{name}": tensor for part, state in named.items() for name, tensor in state.items()}

    def restore(self, plain: dict[str, Any], tensors: State) -> None:
        """Take over a state that `capture` gave.

        Args:
            plain: its plain data.
            tensors: its tensors; they are copied.
        """
        parts: dict[str, State] = {part: {} for part in ("weights", "best", "good", "optimiser", "generator")}
        for path, tensor in tensors.items():
            part, _, name = path.partition("/")
            parts[part][name] = tensor.clone()
        self.progress = from_plain(Progress, plain["progress"])
        self.network.load_state_dict(parts["weights"], strict=False)
        # In the network's own memory format, so that copies of them are what they would have been.
        like = self.network.state_dict()
        for state in (parts["best"], parts["good"]):
            state.update({name: torch.empty_like(like[name]).copy_(tensor) for name, tensor in state.items()})
        self.best = parts["best"]
        self.good = self.best if plain["good_is_best"] else parts["good"]
        _join_optimiser(self.optimiser, plain["optimiser"], parts["optimiser"])
        self.set_generators(parts["generator"])
        self.mixing.bit_generator.state = plain["mixing"]
        self._began = time.perf_counter() - self.progress.seconds


def trained_state(network: nn.Module) -> State:
    """A copy of everything that training can change: trained parameters, and buffers."""
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in network.named_buffers()}
    return {name: value.clone() for name, value in network.state_dict().items() if name in trained | buffers}


def not_finite(network: nn.Module) -> Iterator[str]:
    """Names of everything that training can change and that holds a value which is not finite."""
    for name, tensor in trained_state(network).items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            yield name


def _split_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, dict[str, Any]], State]:
    """What the optimiser remembers of each parameter, by the parameter's number: plain values, and tensors."""
    remembered = optimiser.state_dict()["state"]
    plain = {
        str(number): {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
        for number, values in remembered.items()
    }
    tensors = {
        f"{number}/{key}": value
        for number, values in remembered.items()
        for key, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    return plain, tensors


def _join_optimiser(optimiser: torch.optim.Optimizer, plain: dict[str, dict[str, Any]], tensors: State) -> None:
    """The inverse of `_split_optimiser`; moments get the memory format of their parameter, on which roundings hang."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {int(number): dict(values) for number, values in plain.items()}
    for path, tensor in tensors.items():
        number, _, key = path.partition("/")
        parameter = parameters[int(number)]
        same = tensor.shape == parameter.shape
        state[int(number)][key] = torch.empty_like(parameter).copy_(tensor) if same else tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
