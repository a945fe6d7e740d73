"""What checkpoints and determinism cost: the same run with and without them, in turn. Nothing else may run beside."""

import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


# A small state that is saved often, and a large one: 15 million trained parameters, some 240 MB a checkpoint.
SUBJECTS = (Subject("pocket_resnet", 40), Subject("resnet50", 12))


@dataclass
class Saves:
    """What was spent on saving."""

    number: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0
    largest_bytes: int = field(default=0)


@contextmanager
def counted(saves: Saves) -> Iterator[None]:
    """Count every save of a checkpoint, and its seconds."""
    save = Checkpoints._save

    def timed(self: Checkpoints, folder: Path, work: Any) -> None:
        started = time.perf_counter()
        save(self, folder, work)
        seconds = time.perf_counter() - started
        saves.number += 1
        saves.seconds += seconds
        saves.first_seconds = saves.first_seconds or seconds
        saves.largest_bytes = max(saves.largest_bytes, *(path.stat().st_size for path in self._files()))

    with patch.object(Checkpoints, "_save", timed):
        yield


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


VARIANTS: dict[str, Callable[[], Any]] = {
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
        By backbone: seconds of the run as it is; by variant the median and range of the ratio of the seconds as it is
        to those of the variant of the same round, and whether the weights are the same; the share of the time that was
        spent inside saves.
    """
    write_split_shapes(work / "images", train=200, validation=40, side=SIDE)
    dataset = open_dataset(work / "images", DataRecipe())
    return {subject.backbone: _measure(work, subject, dataset, repeats) for subject in subjects}


def _measure(work: Path, subject: Subject, dataset: Dataset, repeats: int) -> dict[str, Any]:
    store = ActivationStore(work / "store")
    run(work / "first", subject, dataset, store)
    saves, as_it_is = Saves(), []
    ratios: dict[str, list[float]] = {name: [] for name in VARIANTS}
    same = dict.fromkeys(VARIANTS, True)
    for _ in range(repeats):
        with counted(saves):
            seconds, weights = run(work / "run", subject, dataset, store)
        as_it_is.append(seconds)
        for name, variant in VARIANTS.items():
            with variant():
                other, its_weights = run(work / "run", subject, dataset, store)
            ratios[name].append(seconds / other)
            same[name] &= its_weights == weights
    return {
        "rounds": repeats,
        "seconds as it is": [round(seconds, 2) for seconds in as_it_is],
        "saves in a run": saves.number / repeats,
        "bytes of the largest": saves.largest_bytes,
        "share of the time inside saves": round(saves.seconds / sum(as_it_is), 4),
        "of that, the first save": round(saves.first_seconds / as_it_is[0], 4),
        "as it is, to": {
            name: {
                "median": round(statistics.median(found), 4),
                "range": [round(min(found), 4), round(max(found), 4)],
                "same weights": same[name],
            }
            for name, found in ratios.items()
        },
    }


def run(folder: Path, subject: Subject, dataset: Dataset, store: ActivationStore) -> tuple[float, bytes]:
    """Seconds of one run, and its weights; nothing of it stays."""
    started = time.perf_counter()
    run_small(
        folder, dataset, subject.backbone, weights="random", store=store,
        settings={
            "stage2.epochs": subject.epochs, "stage2.patience": None, "image_size": SIDE, "head.dropout": 0.2,
            "isolating_tests": False,
        },
    )  # fmt: skip
    seconds = time.perf_counter() - started
    weights = model_bytes(folder)
    shutil.rmtree(folder)
    return seconds, weights


def rounds(share: float) -> int:
    """Rounds for a share of the full number."""
    return max(1, math.ceil(7 * share))
