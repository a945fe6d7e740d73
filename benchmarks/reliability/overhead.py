"""What checkpoints and determinism cost: the same run with and without them, in turn. Nothing else may run beside."""

import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import small_comparison  # noqa: F401  (puts the tests' folder onto the path)
import torch

from images import write_split_shapes
from retop.activations import ActivationStore
from retop.data import Dataset, open_dataset
from retop.pipeline import run as pipeline_run
from retop.recipe import DataRecipe
from retop.training import Checkpoints
from retop.training.state import FitState
from small_runs import model_bytes, run_small

SIDE = 64


@dataclass(frozen=True)
class Subject:
    """A run that is measured.

    Attributes:
        backbone: with random weights.
        epochs: of stage 2.
    """

    backbone: str
    epochs: int


# A small state that is saved often, and a large one: 15 million trained parameters, 180 MB a checkpoint.
SUBJECTS = (Subject("pocket_resnet", 10), Subject("resnet50", 1))


@dataclass
class Saves:
    """What was spent on saving."""

    number: int = 0
    seconds: float = 0.0
    run_seconds: float = 0.0
    largest_bytes: int = 0


@contextmanager
def counted(saves: Saves) -> Iterator[None]:
    """Count every save of a checkpoint, and its seconds."""
    save = Checkpoints._save

    def timed(self: Checkpoints, folder: Path, work: Any) -> int:
        started = time.perf_counter()
        num_bytes = save(self, folder, work)
        seconds = time.perf_counter() - started
        saves.number += 1
        saves.seconds += seconds
        saves.largest_bytes = max(saves.largest_bytes, num_bytes)
        return num_bytes

    started = time.perf_counter()
    with patch.object(Checkpoints, "_save", timed):
        yield
    saves.run_seconds += time.perf_counter() - started


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Nothing is saved before the run is over."""
    with patch.object(pipeline_run, "_open_checkpoints", lambda *_: Checkpoints()):
        yield


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Torch refuses every kernel whose sums have no fixed order."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def without_seeds() -> Iterator[None]:
    """Generators are neither seeded for every epoch nor kept for every step: what determinism asks of the loop."""
    with (
        patch.object(FitState, "generators", lambda self: {}),
        patch.object(FitState, "set_generators", lambda self, states: None),
        patch.object(FitState, "begin_epoch", _begin_epoch),
        without_checkpoints(),
    ):
        yield


def _begin_epoch(state: FitState, dropout_seed: int, mixing_seed: int) -> None:
    if state.progress.batch == 0:
        state._began = time.perf_counter()


AS_IT_IS = "as it is"
VARIANTS: dict[str, Callable[[], Any]] = {
    AS_IT_IS: nullcontext,
    "without checkpoints": without_checkpoints,
    "without seeds and checkpoints": without_seeds,
    "only deterministic kernels": deterministic_kernels,
}


def measure_overhead(work: Path, repeats: int, subjects: tuple[Subject, ...] = SUBJECTS) -> dict[str, Any]:
    """Time a run as it is, and without what is to be measured, in turn.

    Args:
        work: an empty folder.
        repeats: rounds, at least 1; the first one is preceded by one that fills the store and is thrown away.
        subjects: runs.

    Returns:
        By backbone: processor seconds of the run as it is; the share of the time by the clock that was spent inside
        saves; by variant the median and range of the ratio of the processor seconds as it is to those of the variant
        of the same round, and whether the weights are the same.
    """
    write_split_shapes(work / "images", train=60, validation=20, side=SIDE)
    dataset = open_dataset(work / "images", DataRecipe())
    return {subject.backbone: _measure(work, subject, dataset, repeats) for subject in subjects}


def _measure(work: Path, subject: Subject, dataset: Dataset, repeats: int) -> dict[str, Any]:
    store = ActivationStore(work / "store")
    run(work / "first", subject, dataset, store)
    saves = Saves()
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    weights: dict[str, set[bytes]] = {name: set() for name in VARIANTS}
    for number in range(repeats):
        # There and back: what gets slower with time is slower for all.
        for name in sorted(VARIANTS, reverse=number % 2 == 1):
            with VARIANTS[name](), counted(saves if name == AS_IT_IS else Saves()):
                taken, its_weights = run(work / "run", subject, dataset, store)
            seconds[name].append(taken)
            weights[name].add(its_weights)
    whole = seconds[AS_IT_IS]
    return {
        "rounds": repeats,
        "median processor seconds": round(statistics.median(whole), 2),
        "saves in a run": saves.number / repeats,
        "bytes of the largest": saves.largest_bytes,
        "share of the time inside saves": round(saves.seconds / saves.run_seconds, 4),
        "as it is, to": {
            name: {
                "median of the ratio": round(statistics.median(_ratios(whole, found)), 4),
                "range": [round(edge(_ratios(whole, found)), 4) for edge in (min, max)],
                "same weights": weights[name] == weights[AS_IT_IS],
            }
            for name, found in seconds.items()
            if name != AS_IT_IS
        },
    }


def _ratios(whole: list[float], others: list[float]) -> list[float]:
    return [one / other for one, other in zip(whole, others, strict=True)]


def run(folder: Path, subject: Subject, dataset: Dataset, store: ActivationStore) -> tuple[float, bytes]:
    """Processor seconds of one run, which others on the same cores change least, and its weights; nothing stays."""
    started = time.process_time()
    run_small(
        folder, dataset, subject.backbone, weights="random", store=store,
        settings={
            "stage2.epochs": subject.epochs, "stage2.patience": None, "image_size": SIDE, "head.dropout": 0.2,
            "isolating_tests": False,
        },
    )  # fmt: skip
    seconds = time.process_time() - started
    weights = model_bytes(folder)
    shutil.rmtree(folder)
    return seconds, weights


def rounds(share: float) -> int:
    """Rounds for a share of the full number."""
    return max(1, math.ceil(7 * share))
