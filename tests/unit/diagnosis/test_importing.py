"""Histories as other tools write them."""

import json
from pathlib import Path

import pytest

from retop.diagnosis import import_history
from retop.errors import RunError

KERAS = {
    "loss": [0.7, 0.4],
    "accuracy": [0.5, 0.8],
    "val_loss": [0.6, 0.5],
    "val_accuracy": [0.6, 0.7],
    "lr": [0.1, 0.1],
}


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("wrapped", [False, True])
def test_keras_history_as_json(tmp_path: Path, wrapped: bool) -> None:
    text = json.dumps({"history": KERAS} if wrapped else KERAS)
    epochs = import_history(table(tmp_path / "history.json", text), num_validation=100).epochs
    assert [(e.epoch, e.train_accuracy, e.validation_accuracy, e.learning_rate) for e in epochs] == [
        (1, 0.5, 0.6, 0.1),
        (2, 0.8, 0.7, 0.1),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,0.7,0.6,0.6\n1,0.8,0.4,0.7,0.5\n",
        ""
        "epoch,step,train_acc,train_loss,val_acc,val_loss\n0,9,,,0.6,0.6\n0,9,0.5,0.7,,\n1,19,,,0.7,0.5\n1,19,0.8,0.4,,\n",
        "epoch,train/loss,train/accuracy,metrics/accuracy_top1,val/loss\n1,0.7,0.5,0.6,0.6\n2,0.4,0.8,0.7,0.5\n",
        "  epoch,  train/loss, train_accuracy, val_acc, val_loss\n1,0.7,50,60,0.6\n2,0.4,80,70,0.5\n",
    ],
    ids=["CSVLogger", "Lightning", "Ultralytics", "percent and spaces"],
)
def test_tables_of_other_tools_say_the_same(tmp_path: Path, text: str) -> None:
    epochs = import_history(table(tmp_path / "log.csv", text)).epochs
    assert [e.train_accuracy for e in epochs] == pytest.approx([0.5, 0.8])
    assert [e.validation_accuracy for e in epochs] == pytest.approx([0.6, 0.7])
    assert [e.validation_loss for e in epochs] == [0.6, 0.5]


def test_accuracy_of_fastai_is_that_of_validation(tmp_path: Path) -> None:
    text = "epoch,train_loss,valid_loss,accuracy,time\n0,0.7,0.6,0.6,00:03\n1,0.4,0.5,0.7,00:03\n"
    epochs = import_history(table(tmp_path / "fastai.csv", text)).epochs
    assert [(e.train_accuracy, e.validation_accuracy) for e in epochs] == [(None, 0.6), (None, 0.7)]
    text = "epoch,train_loss,valid_loss,error_rate,time\n0,0.7,0.6,0.4,00:03\n"
    assert import_history(table(tmp_path / "rate.csv", text)).epochs[0].validation_accuracy == pytest.approx(0.6)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "{", '{"loss": 1}'])
def test_other_files_are_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunError, match="history"):
        import_history(table(tmp_path / "history.csv", text))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        import_history(tmp_path / "none.csv")
