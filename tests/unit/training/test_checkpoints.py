"""When checkpoints are saved: often, but never for more than a twentieth of the time."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from retop.errors import OutputError
from retop.events import Event
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


@dataclass
class Step:
    number: int


def saved(folder: Path, count: int) -> list[Path]:
    """Checkpoints, each of which holds one more finished step."""
    checkpoints = Checkpoints(folder)
    for number in range(count):
        checkpoints.once(f"step {number}", Step, None, lambda number=number: Step(number))
        checkpoints.keep_finished()
    return sorted(folder.iterdir())


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def opened(folder: Path) -> tuple[Checkpoints, bool, list[str]]:
    told: list[Event] = []
    checkpoints = Checkpoints(folder, listener=told.append)
    return checkpoints, checkpoints.open(), [str(getattr(event, "message", "")) for event in told]


def test_a_damaged_checkpoint_goes_when_there_is_a_newer_one_and_pushes_no_sound_one_out(tmp_path: Path) -> None:
    sound, newest = saved(tmp_path, 3)
    damage(newest)
    checkpoints, found, told = opened(tmp_path)
    assert found
    assert told == [f"{newest} is damaged; the checkpoint before it is used"]
    assert newest.exists()
    checkpoints.once("more", Step, None, lambda: Step(9))
    checkpoints.keep_finished()
    after = sorted(tmp_path.iterdir())
    assert after[0] == sound
    assert after[1].name > newest.name
    assert len(after) == 2


def test_where_all_are_damaged_the_run_begins_anew_and_says_so(tmp_path: Path) -> None:
    files = saved(tmp_path, 3)
    for path in files:
        damage(path)
    _, found, told = opened(tmp_path)
    assert not found
    assert sorted(told) == [f"{path} is damaged; there is none before it, so the run begins anew" for path in files]
    assert sorted(tmp_path.iterdir()) == files


def test_a_checkpoint_that_cannot_be_read_today_is_neither_passed_over_nor_deleted(tmp_path: Path) -> None:
    before, newest = saved(tmp_path, 3)
    aside = newest.rename(tmp_path / "aside")
    newest.mkdir()
    with pytest.raises(OutputError, match="cannot be read: Is a directory"):
        opened(tmp_path)
    newest.rmdir()
    aside.rename(newest)
    assert sorted(tmp_path.iterdir()) == [before, newest]
    assert opened(tmp_path)[1]


def test_files_of_other_names_are_let_alone(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "1-x.safetensors").touch()
    assert opened(tmp_path)[1]
    assert (tmp_path / "1-x.safetensors").exists()


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
