"""run.json and metrics.jsonl: what one run was and how it went."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from retop.errors import RunError, SchemaError
from retop.recipe import Recipe
from retop.records.isolation import IsolationRecord
from retop.records.metrics import Metrics
from retop.records.network import NetworkRecord
from retop.schema import from_plain

RUN_VERSION = 1


@dataclass(frozen=True)
class UnreadableImage:
    """An image that was left out because it cannot be decoded."""

    path: str
    """As the source names it."""

    reason: str
    """Why, in words."""


@dataclass(frozen=True)
class SplitRecord:
    """How many images one split holds."""

    name: str
    """``train``, ``validation`` or ``test``."""

    per_class: tuple[int, ...]
    """Images of each class, in the order of the class list."""


@dataclass(frozen=True)
class DataRecord:
    """The data of a run."""

    location: str
    """Absolute path, or address."""

    fingerprint: str
    """SHA-256 over every image's split, label and content; it does not depend on where the files lie."""

    classes: tuple[str, ...]
    """Class names, sorted; a label's number is its place here."""

    splits: tuple[SplitRecord, ...]
    """Train, validation and, where there is one, test."""

    split_by: Literal["folders", "table", "file", "retop"]
    """What made the split: folders or files of the data, a column of its table, ``--split-file``, or retop."""

    unreadable: tuple[UnreadableImage, ...]
    """Images left out."""

    excluded: int = 0
    """Images left out by ``--exclude``."""

    folds: int | None = None
    """Number of folds: every image is a test image in one of them. None without folds."""

    fold: int | None = None
    """The fold of this run, from 0: it is tested, the next one validates. None without folds, and for a whole
    comparison, whose `splits` are those of fold 0."""

    grouped: bool = False
    """Whether images belong to groups that share a side of the split."""

    images_per_class: int | None = None
    """Most training images of each class that were used; None for all."""


@dataclass(frozen=True)
class Environment:
    """Where and with what a run was made."""

    command: str
    """The command line, or the Python call."""

    started: str
    """Local time, ISO 8601 with offset."""

    retop: str
    """Version of retop."""

    python: str
    """Version of Python."""

    packages: dict[str, str]
    """Versions of torch, timm and the others that can change a number."""

    platform: str
    """Operating system."""

    processor: str
    """Name of the CPU."""

    cores: int
    """CPU cores that this process may use."""

    threads: int
    """Threads that torch uses."""

    memory_bytes: int
    """Memory of the machine, or the limit this process runs under."""

    device: str
    """``cpu``, ``cuda`` or ``mps``."""

    accelerator: str | None
    """Name of the GPU; None on a CPU."""


@dataclass(frozen=True)
class EpochRecord:
    """One line of metrics.jsonl."""

    stage: Literal[1, 2]
    """1: head; 2: head and late layers."""

    epoch: int
    """Counted from 1. Epoch 0 is the state before the stage's first step."""

    learning_rate: float
    """Step size at the end of the epoch."""

    train_loss: float | None
    """Mean over the epoch, as trained: with augmentation, dropout and label smoothing. None in epoch 0."""

    train_accuracy: float | None
    """Fraction right, as trained. None in epoch 0, and where mixup makes it meaningless."""

    train_eval_loss: float | None
    """Loss after the epoch on a fixed sample of training images under evaluation conditions: view 0, no
    dropout; the sample is as large as the validation split, at most."""

    train_eval_accuracy: float | None
    """Fraction right under the same conditions."""

    validation_loss: float | None
    """Mean negative log-probability on validation, after the epoch. None where another tool's history has none."""

    validation_accuracy: float
    """Fraction right on validation, after the epoch."""

    gradient_norm: float | None
    """Largest norm of the gradient in the epoch, before clipping. None in epoch 0."""

    seconds: float
    """Time of the epoch, validation included."""

    @property
    def comparable_loss(self) -> float:
        """Validation loss to order epochs by: infinite where there is none."""
        return math.inf if self.validation_loss is None else self.validation_loss


@dataclass(frozen=True)
class StageRecord:
    """How one stage went."""

    stage: Literal[1, 2]
    """1: head; 2: head and late layers."""

    epochs_run: int
    """Epochs that were trained."""

    best_epoch: int
    """Epoch whose weights were kept; 0 is the state before the first step."""

    learning_rate: float
    """Peak step size."""

    learning_rate_chosen_by: Literal["recipe", "range test"]
    """Where the step size came from."""

    weight_decay: float
    """Penalty that was used."""

    weight_decay_chosen_by: Literal["recipe", "validation"]
    """Where the penalty came from."""

    validation_accuracy: float
    """On validation, with the weights that were kept."""

    validation_loss: float
    """On validation, with the weights that were kept."""

    stopped: Literal["finished", "patience"]
    """Whether all epochs ran."""

    parameters_trained: int
    """Number of parameters that this stage trained."""


@dataclass(frozen=True)
class TimingRecord:
    """Seconds and disk of one part of a run."""

    part: str
    """``build``, ``prefix``, ``features``, ``stage 1``, ``stage 2``, ``evaluation``, ``isolating tests``, and ``other``
    for what lies between them. Figures and report come after the record, so they are in none."""

    seconds: float
    """Measured."""

    planned_seconds: float | None
    """What the plan had said; None where it said nothing."""

    disk_bytes: int | None = None
    """Disk that it took, measured: what ``prefix`` and ``features`` added to the store, checkpoints at their largest
    for what was at work (the run's end removes them), and what else the run's folder holds, the model above all,
    under ``other``. None in records that do not say it."""


@dataclass(frozen=True)
class RunRecord:
    """run.json, written last: it exists if the run finished."""

    name: str
    """Name of the run's folder, e.g. ``vgg16-0``."""

    kind: Literal["fine-tuned", "scratch", "probe"]
    """``fine-tuned``: both stages; ``scratch``: a small network from random weights; ``probe``: logistic
    regression on frozen features."""

    seed: int
    """The run's seed."""

    recipe: Recipe
    """The recipe, ``--set`` and all overrides applied."""

    data: DataRecord
    """The data."""

    network: NetworkRecord
    """The network."""

    precision: dict[str, str]
    """Arithmetic by use: ``prefix``, ``stored``, ``training``, ``evaluation``."""

    stages: tuple[StageRecord, ...]
    """Stages that were trained, in order."""

    validation: Metrics
    """Quality on validation, from the model folder through the predictor. Selection has touched it."""

    test: Metrics | None
    """Quality on test, from the model folder through the predictor; None where there is no test split."""

    timings: tuple[TimingRecord, ...]
    """Seconds and disk by part."""

    environment: Environment
    """Where and with what."""

    warnings: tuple[str, ...] = field(default=())
    """Warnings that were shown."""

    isolation: IsolationRecord | None = None
    """Tests that isolate causes; None where they were switched off or not made yet."""

    version: int = RUN_VERSION
    """Version of this record."""

    @property
    def contender(self) -> str:
        """What is compared: backbone or baseline, the name without seed and fold."""
        fold = "" if self.data.fold is None else f"-f{self.data.fold}"
        return self.name.removesuffix(fold).removesuffix(f"-{self.seed}")


def read_epochs(path: Path) -> tuple[EpochRecord, ...]:
    """Read metrics.jsonl.

    Args:
        path: the file.

    Returns:
        One record per line, in order.

    Raises:
        RunError: the file is missing or a line is not an epoch's record.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(from_plain(EpochRecord, json.loads(line), allow_unknown=True) for line in lines if line)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, SchemaError) as error:
        raise RunError(f"{path} holds a line that is not an epoch's record: {error}") from error
