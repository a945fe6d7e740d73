"""Trackers: TensorBoard and MLflow receive the numbers of metrics.jsonl and run.json while a run is made.

A number of an epoch is called ``stage2/validation_accuracy`` and stands at its epoch; one of the finished run is called
``test/accuracy``. A run that goes on after an interruption writes its tracks anew: its checkpoint holds every epoch.
"""

import importlib.util
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, get_args

from retop.errors import UsageError
from retop.events import Listener, Notice, ignore
from retop.recipe import Recipe
from retop.records import EpochRecord, Metrics
from retop.schema import to_plain

TrackerName = Literal["tensorboard", "mlflow"]
TENSORBOARD, MLFLOW = "tensorboard", "mlruns"
FOLDER_TAG = "retop.folder"


class Tracker(Protocol):
    """One place that receives numbers."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Receive numbers of one step."""
        ...

    def close(self, finished: bool) -> None:
        """Nothing more will come."""
        ...


class TensorBoardTracker:
    """An event file in a folder of its own.

    Args:
        folder: what an earlier process left in it goes.
        about: what the run is, shown as text.
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        rows = "".join(f"| {key} | {value} |\n" for key, value in about.items())
        self._writer.add_text("run", f"| | |\n|---|---|\n{rows}")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            # Single precision, which is the default of this call, would not be the same numbers.
            self._writer.add_scalar(name, value, step, new_style=True, double_precision=True)
        self._writer.flush()

    def close(self, finished: bool) -> None:
        """See `Tracker`."""
        self._writer.close()


class MLflowTracker:
    """A run in MLflow, on the server that ``MLFLOW_TRACKING_URI`` names, or in a folder.

    Args:
        folder: for the runs, where no server is named.
        experiment: name of the experiment; made where it is missing.
        run: name of the run.
        place: folder of the run; an unfinished one of the same folder is deleted.
        about: what the run is.
    """

    def __init__(self, folder: Path, experiment: str, run: str, place: Path, about: Mapping[str, str]) -> None:
        # MLflow asks to be told that files are meant, and would report its use to its makers.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or folder.absolute().as_uri())
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        own = str(place.absolute())
        for earlier in self._client.search_runs([number], f"tags.`{FOLDER_TAG}` = '{own}'"):
            if earlier.info.status != "FINISHED":
                self._client.delete_run(earlier.info.run_id)
        self._run = self._client.create_run(number, run_name=run, tags={FOLDER_TAG: own}).info.run_id
        for key, value in about.items():
            self._client.log_param(self._run, key, value)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self, finished: bool) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


class RunTracks:
    """All trackers of one run; as a context it closes them.

    Args:
        names: which.
        folder: of the run; tracks lie beside it, in the folder of the comparison.
        about: what the run is.
        listener: receives a warning where a tracker fails; the run goes on without it.
    """

    def __init__(
        self, names: Sequence[TrackerName], folder: Path, about: Mapping[str, str], listener: Listener = ignore
    ) -> None:
        root = folder.absolute().parent
        self._trackers: list[Tracker] = []
        for name in dict.fromkeys(names):
            self._trackers.append(
                TensorBoardTracker(root / TENSORBOARD / folder.name, about)
                if name == "tensorboard"
                else MLflowTracker(root / MLFLOW, root.name, folder.name, folder, about)
            )
        self._seen: set[tuple[int, int]] = set()
        self._listener = listener

    def __enter__(self) -> "RunTracks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._each(lambda tracker: tracker.close(finished=kind is None))

    def log_epoch(self, epoch: EpochRecord) -> None:
        """Hand on an epoch, unless that was done before."""
        if (epoch.stage, epoch.epoch) not in self._seen:
            self._seen.add((epoch.stage, epoch.epoch))
            self._log(epoch_numbers(epoch), epoch.epoch)

    def log_result(self, metrics: Sequence[Metrics]) -> None:
        """Hand on the quality of the finished model."""
        for one in metrics:
            self._log(result_numbers(one), 0)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        self._each(lambda tracker: tracker.log(values, step))

    def _each(self, action: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self._trackers):
            try:
                action(tracker)
            # A server that is gone must not cost hours of training.
            except Exception as error:  # noqa: BLE001
                self._trackers.remove(tracker)
                name = type(tracker).__name__.removesuffix("Tracker")
                self._listener(Notice("warning", f"{name} receives no more numbers of this run: {error}"))


def epoch_numbers(epoch: EpochRecord) -> dict[str, float]:
    """The numbers of an epoch by name, as trackers receive them.

    Args:
        epoch: as in metrics.jsonl; what was not measured is left out.
    """
    named = {field.name: getattr(epoch, field.name) for field in fields(epoch) if field.name not in ("stage", "epoch")}
    return {f"stage{epoch.stage}/{name}": float(value) for name, value in named.items() if _is_number(value)}


def result_numbers(metrics: Metrics) -> dict[str, float]:
    """The numbers of a finished model on one split by name, as trackers receive them.

    Args:
        metrics: as in run.json.
    """
    values = {
        "accuracy": metrics.accuracy.value,
        "balanced_accuracy": metrics.balanced_accuracy.value,
        "macro_f1": metrics.macro_f1.value,
        "log_loss": metrics.log_loss,
        "calibration_error": metrics.calibration_error,
    }
    return {f"{metrics.split}/{name}": value for name, value in values.items()}


def describe_recipe(recipe: Recipe) -> dict[str, str]:
    """Every key of a recipe as text, such as ``stage2.epochs``."""

    def flat(value: Mapping[str, Any], before: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, item in value.items():
            found |= flat(item, f"{before}{key}.") if isinstance(item, Mapping) else {f"{before}{key}": str(item)}
        return found

    return flat(to_plain(recipe), "")


def check_trackers(names: Sequence[str]) -> tuple[TrackerName, ...]:
    """Make sure, before anything is computed, that trackers exist and can be used.

    Args:
        names: as given.

    Returns:
        The names.

    Raises:
        UsageError: there is no such tracker, or its package is missing.
    """
    known = get_args(TrackerName)
    for name in names:
        if name not in known:
            raise UsageError(f"log (--log) takes {' and '.join(known)}; received {name!r}")
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"--log {name} needs the package {name}: pip install 'retop[track]'")
    return tuple(name for name in known if name in names)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
