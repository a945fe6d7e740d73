"""TensorBoard and MLflow hold the numbers of metrics.jsonl and run.json, also after an interruption."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from retop.activations import ActivationStore
from retop.data import Dataset
from retop.errors import StoppedError, UsageError
from retop.events import Event, Notice
from retop.records import EpochRecord, RunRecord
from retop.stopping import Stop
from retop.training.tracking import RunTracks, check_trackers, epoch_numbers, result_numbers
from small_runs import run_small, saved_epochs

pytest.importorskip("tensorboard", reason="pip install 'retop[track]'")
pytest.importorskip("mlflow", reason="pip install 'retop[track]'")

Numbers = dict[tuple[str, int], float]
SETTINGS: dict[str, object] = {"stage1.weight_decay": "auto", "stage2.epochs": 3}


class StopAfter(Stop):
    """Somebody who asks to stop after so many questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    @property
    def requested(self) -> str | None:  # type: ignore[override]
        self.left -= 1
        return "Ctrl-C" if self.left < 0 else None


def written(folder: Path, run: RunRecord) -> Numbers:
    """What the files of a run hold."""
    numbers: Numbers = {}
    for epoch in saved_epochs(folder):
        numbers |= {(name, epoch.epoch): value for name, value in epoch_numbers(epoch).items()}
    for metrics in (run.validation, run.test):
        if metrics is not None:
            numbers |= {(name, 0): value for name, value in result_numbers(metrics).items()}
    return numbers


def seen_in_tensorboard(folder: Path) -> Numbers:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), {"tensors": 0})
    events.Reload()
    numbers: Numbers = {}
    for name in events.Tags()["tensors"]:
        if name.startswith("run/"):
            continue
        points = events.Tensors(name)
        assert len({point.step for point in points}) == len(points), f"{name} has two values of one step"
        numbers |= {(name, point.step): float(make_ndarray(point.tensor_proto)) for point in points}
    return numbers


def seen_in_mlflow(folder: Path, run: str) -> Numbers:
    from mlflow import MlflowClient

    client = MlflowClient(folder.as_uri())
    experiment = client.get_experiment_by_name(folder.parent.name)
    assert experiment is not None
    (found,) = [one for one in client.search_runs([experiment.experiment_id]) if one.info.run_name == run]
    assert found.info.status == "FINISHED"
    numbers: Numbers = {}
    for name in found.data.metrics:
        points = client.get_metric_history(found.info.run_id, name)
        assert len({point.step for point in points}) == len(points), f"{name} has two values of one step"
        numbers |= {(name, point.step): point.value for point in points}
    return numbers


def same(seen: Mapping[tuple[str, int], float], expected: Numbers) -> bool:
    return seen.keys() == expected.keys() and all(seen[key] == pytest.approx(expected[key], abs=0) for key in expected)


@pytest.mark.parametrize("pieces", [1, 4], ids=["in one go", "interrupted"])
def test_trackers_receive_the_numbers_of_the_run(
    small_weights: Path, shapes: Dataset, tmp_path: Path, pieces: int
) -> None:
    folder, store = tmp_path / "photos" / "small-0", ActivationStore(tmp_path / "store")
    for piece in range(pieces):
        stop = StopAfter(20) if piece < pieces - 1 else None
        try:
            record = run_small(
                folder, shapes, store=store, weights=small_weights, settings=SETTINGS, stop=stop,
                log=("tensorboard", "mlflow"),
            )  # fmt: skip
        except StoppedError:
            assert piece < pieces - 1
    expected = written(folder, record)
    assert ("stage2/validation_accuracy", 3) in expected
    assert same(seen_in_tensorboard(folder.parent / "tensorboard" / "small-0"), expected)
    assert same(seen_in_mlflow(folder.parent / "mlruns", "small-0"), expected)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_other_trackers_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="wandb"):
        check_trackers(["wandb"])


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(tmp_path: Path) -> None:
    shown: list[Event] = []
    tracks = RunTracks(["tensorboard"], tmp_path / "photos" / "small-0", {"seed": "0"}, shown.append)
    with tracks:
        tracks._trackers[0].close(finished=False)
        tracks._trackers[0] = Broken()
        for epoch in range(3):
            tracks.log_epoch(EpochRecord(1, epoch, 0.1, None, None, None, None, 0.5, 0.5, None, 1.0))
    (notice,) = shown
    assert isinstance(notice, Notice)
    assert "Broken receives no more numbers of this run: gone" in notice.message


class Broken:
    """A tracker whose server is gone."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        raise ConnectionError("gone")

    def close(self, finished: bool) -> None:
        raise ConnectionError("gone")
