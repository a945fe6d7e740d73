"""When checkpoints are saved: often, but never for more than a twentieth of the time."""

import time
from pathlib import Path
from typing import Any

import torch

from retop.training import Checkpoints
from retop.training.checkpoints import LARGEST_OVERHEAD, Plain
from retop.training.state import State

SAVE_SECONDS, STEP_SECONDS, STEPS = 0.05, 0.02, 60


class Slow:
    """Work whose state takes long to capture, or says that it is large."""

    name = "slow"

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self.saves = 0

    def capture(self) -> tuple[Plain, State]:
        self.saves += 1
        time.sleep(SAVE_SECONDS)
        return {}, {"weights": torch.zeros(3)}

    def restore(self, plain: Plain, tensors: State) -> None:
        raise NotImplementedError


def work_on(work: Any, folder: Path) -> float:
    checkpoints = Checkpoints(folder)
    started = time.perf_counter()
    for _ in range(STEPS):
        time.sleep(STEP_SECONDS)
        checkpoints.keep(work, epoch_over=True)
    return time.perf_counter() - started


def test_saves_together_take_a_twentieth_of_the_time_but_for_the_first_that_nobody_has_timed(tmp_path: Path) -> None:
    work = Slow(0)
    seconds = work_on(work, tmp_path / "checkpoints")
    assert 1 <= work.saves <= 1 + LARGEST_OVERHEAD * seconds / SAVE_SECONDS


def test_a_large_state_waits_from_the_beginning(tmp_path: Path) -> None:
    work = Slow(2**30)
    work_on(work, tmp_path / "checkpoints")
    assert work.saves == 0
