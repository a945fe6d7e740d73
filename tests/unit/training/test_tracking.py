"""TensorBoard and MLflow hold the numbers of metrics.jsonl and run.json, also after an interruption."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from retop.activations import ActivationStore
from retop.data import Dataset
from retop.errors import StoppedError, UsageError
from retop.records import RunRecord
from retop.stopping import Stop
from retop.training.tracking import check_trackers, epoch_numbers, result_numbers
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
        stop = StopAfter(40) if piece < pieces - 1 else None
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
