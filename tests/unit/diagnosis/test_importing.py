"""Histories as other tools write them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from retop.cli.app import app
from retop.data.sources.names import SPLIT_NAMES
from retop.diagnosis import diagnose, import_history, read_answers
from retop.diagnosis.fitting import Underfitting
from retop.diagnosis.importing import SPLITS
from retop.errors import RunError
from retop.records import EpochRecord

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


FASTAI = "epoch,train_loss,valid_loss,accuracy,time\n" + "".join(
    f"{place},{train:.6f},{valid:.6f},{right:.6f},00:0{place % 5 + 2}\n"
    for place, (train, valid, right) in enumerate(
        [
            (1.2, 0.71, 0.76),
            (0.7, 0.52, 0.82),
            (0.4, 0.50, 0.83),
            (0.2, 0.58, 0.83),
            (0.09, 0.74, 0.82),
            (0.04, 0.9, 0.82),
        ]
    )
)
ULTRALYTICS = (
    "epoch,time,train/loss,metrics/accuracy_top1,metrics/accuracy_top5,val/loss,lr/pg0,lr/pg1,lr/pg2\n"
    + "".join(
        f"{place},{4.2 * place:.3f},{train},{right},1,{valid},0.000714,0.000714,0.000714\n"
        for place, (train, valid, right) in enumerate(
            [
                (1.35, 0.9, 0.7),
                (0.8, 0.6, 0.78),
                (0.5, 0.55, 0.8),
                (0.25, 0.66, 0.8),
                (0.12, 0.83, 0.8),
                (0.05, 0.97, 0.79),
            ],
            start=1,
        )
    )
)


@pytest.mark.parametrize("text", [FASTAI, ULTRALYTICS], ids=["fastai", "Ultralytics"])
def test_without_training_accuracy_losses_tell_overfitting(tmp_path: Path, text: str) -> None:
    history = table(tmp_path / "log.csv", text)
    found = next(one for one in diagnose(import_history(history, num_validation=400)) if one.code == "R01")
    assert found.suspected
    assert found.isolating_test
    # On few images a loss rises so far by chance, and until its lowest epoch this history is healthy.
    assert "R01" not in {one.code for one in diagnose(import_history(history, num_validation=12))}
    calm = table(tmp_path / "calm.csv", "".join(text.splitlines(keepends=True)[:5]))
    assert "R01" not in {one.code for one in diagnose(import_history(calm, num_validation=400))}


LOST_AT_3 = {
    "Keras": json.dumps(
        {
            "loss": [0.7, 0.4, float("nan"), float("nan")],
            "accuracy": [0.5, 0.8, 0.5, 0.5],
            "val_loss": [0.6, 0.5, float("nan"), float("nan")],
            "val_accuracy": [0.6, 0.7, 0.5, 0.5],
        }
    ),
    "fastai": "epoch,train_loss,valid_loss,accuracy,time\n0,0.7,0.6,0.6,00:03\n1,0.4,0.5,0.7,00:03\n"
    "2,nan,nan,0.5,00:03\n3,nan,nan,0.5,00:03\n",
    "Lightning": "epoch,step,train_loss,val_acc,val_loss\n0,9,,0.6,0.6\n0,9,0.7,,\n1,19,,0.7,0.5\n1,19,0.4,,\n"
    "2,29,,0.5,nan\n2,29,nan,,\n",
    "infinite": "epoch,loss,val_loss,val_accuracy\n1,0.7,0.6,0.6\n2,0.4,0.5,0.7\n3,inf,inf,0.5\n4,0.6,0.6,0.6\n",
}


@pytest.mark.parametrize("text", LOST_AT_3.values(), ids=LOST_AT_3)
def test_a_loss_that_is_no_number_is_named_with_its_epoch(tmp_path: Path, text: str) -> None:
    history = table(tmp_path / "history.csv", text)
    for num_validation in (0, 500):
        found = diagnose(import_history(history, num_validation=num_validation))
        # What nobody said is told beside it.
        found = tuple(one for one in found if one.code != "R26")
        assert [(one.code, one.severity) for one in found] == [("R25", "error")]
        assert found[0].evidence == {"epoch": 3, "losses": ["train loss", "validation loss"]}
        assert "from epoch 3 on" in found[0].seen


@pytest.mark.parametrize(
    "text",
    [
        "epoch,train_loss,val_acc,val_loss\n0,nan,0.6,0.6\n0,0.7,nan,nan\n1,nan,0.7,0.5\n1,0.4,nan,nan\n",
        "epoch,train_loss,val_acc,val_loss\n0,0.7,0.6,0.6\n1,0.5,0.65,nan\n2,0.4,0.7,0.5\n",
    ],
    ids=["rows of their own", "measured in some epochs"],
)
def test_nan_that_stands_for_nothing_measured_is_no_finding(tmp_path: Path, text: str) -> None:
    evidence = import_history(table(tmp_path / "log.csv", text))
    assert "R25" not in {one.code for one in diagnose(evidence)}
    assert evidence.epochs[-1].validation_accuracy == pytest.approx(0.7)


def test_accuracies_that_are_no_numbers_are_not_taken_for_certainty(tmp_path: Path) -> None:
    text = "epoch,accuracy,val_accuracy\n1,nan,nan\n2,nan,0.5\n3,0.6,0.55\n"
    evidence = import_history(table(tmp_path / "history.csv", text))
    assert [one.validation_accuracy for one in evidence.epochs] == [0.5, 0.55]
    assert [one.train_accuracy for one in evidence.epochs] == [None, 0.6]
    with pytest.raises(RunError, match="no epoch was read"):
        import_history(table(tmp_path / "lost.csv", "epoch,val_accuracy\n1,nan\n2,nan\n"))


def test_a_confidence_that_is_no_number_counts_as_one_not_given(tmp_path: Path) -> None:
    rows = ("cat,cat,{}\n", "dog,cat,0.7\n")
    without, nan = (
        read_answers(table(tmp_path / "answers.csv", f"label,predicted,confidence\n{rows[0].format(said)}{rows[1]}"))
        for said in ("", "nan")
    )
    np.testing.assert_array_equal(nan[0].logits_nk, without[0].logits_nk)


def test_no_validation_loss_is_made_up_where_a_history_has_none(tmp_path: Path) -> None:
    right = [0.6, 0.9, 0.88, 0.86, 0.84, 0.82, 0.80, 0.78]
    rows = "".join(f"{n},{0.7 / (n + 1)},{0.6 + 0.05 * n},{one}\n" for n, one in enumerate(right))
    evidence = import_history(
        table(tmp_path / "log.csv", f"epoch,loss,accuracy,val_accuracy\n{rows}"), num_validation=2000, num_classes=2
    )
    assert {epoch.validation_loss for epoch in evidence.epochs} == {None}
    found = diagnose(evidence)
    assert "validation loss" not in " ".join(one.seen for one in found).lower()
    assert not {"R01", "R03"} & {one.code for one in found}
    # With a loss of that shape it is overfitting.
    losses = replace_losses(evidence.epochs, [1 - one for one in right])
    assert "R01" in {one.code for one in diagnose(replace(evidence, epochs=losses))}


def replace_losses(epochs: tuple[EpochRecord, ...], losses: list[float]) -> tuple[EpochRecord, ...]:
    return tuple(replace(epoch, validation_loss=loss) for epoch, loss in zip(epochs, losses, strict=True))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", '{"history": 3}', "under 'history'"),
        ("a.csv", "epoch,accuracy,val_accuracy\n1,0.4,0.5\n2,0.5,-0.1\n", "goes from -0.1 to 0.5"),
        ("a.csv", "epoch,accuracy,val_accuracy\n1,40,0.5\n2,150,0.6\n", "train accuracy goes from 40 to 150"),
    ],
)
def test_what_is_no_history_is_refused_in_words(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=reason):
        import_history(tmp_path / name)


def test_columns_in_percent_beside_fractions_are_both_understood(tmp_path: Path) -> None:
    file = table(tmp_path / "mixed.csv", "epoch,accuracy,val_accuracy\n1,40,0.5\n2,95,0.6\n")
    last = import_history(file).epochs[-1]
    assert (last.train_accuracy, last.validation_accuracy) == (0.95, 0.6)


def test_rows_of_answers_without_an_answer_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("label,predicted\ncat,dog\ncat\n")
    with pytest.raises(RunError, match="line 3 has no label or no answer"):
        read_answers(tmp_path / "answers.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"Epoch;Loss;Accuracy;Val Loss;Val Accuracy\r\n1;0,7;0,5;0,6;0,6\r\n2;0,4;0,8;0,5;0,7\r\n",
        b"\xef\xbb\xbfsep=;\r\nepoch;training_loss;training_accuracy;validation_loss;validation_accuracy\r\n"
        b"1;0,7;50 %;0,6;60 %\r\n2;0,4;80 %;0,5;70 %\r\n",
        "EPOCH\tTrain Acc\tTrain Loss\tValidation Acc\tValidation Loss\n"
        "1\t0.5\t7e-1\t0.6\t6E-1\n2\t0.8\t0.4\t0.7\t0.5\n".encode("utf-16"),
        b"epoch,trainLoss,trainAcc,valLoss,valAcc (%)\n1,0.7,50,0.6,60\n2,0.4,80,0.5,70\n",
        b'"Epoch","Loss","Accuracy","Val-Loss","Val-Accuracy"\n"1","0,7","0,5","0,6","0,6"\n"2","0,4","0,8","0,5","0,7"\n',
        b"# my training\nEpoch | Acc (train) | Loss (train) | Acc (val) | Loss (val)\n"
        b"1/2 | 0.5 | 0.7 | 0.6 | 0.6\n2/2 | 0.8 | 0.4 | 0.7 | 0.5\n",
        b"Epoch,Train/Top-1,Train/Loss,Dev/Top-1,Dev/Loss,\n1,0.5,0.7,0.6,0.6,\n2,0.8,0.4,0.7,0.5,\n",
    ],
    ids=["semicolons", "spreadsheet", "utf-16 with tabs", "camel case", "quoted commas", "bars", "top-1"],
)
def test_separators_decimal_commas_and_headers_are_read_as_people_write_them(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    epochs = import_history(path).epochs
    assert [e.train_accuracy for e in epochs] == pytest.approx([0.5, 0.8])
    assert [e.train_loss for e in epochs] == pytest.approx([0.7, 0.4])
    assert [e.validation_accuracy for e in epochs] == pytest.approx([0.6, 0.7])
    assert [e.validation_loss for e in epochs] == pytest.approx([0.6, 0.5])


def test_headers_that_are_not_understood_are_named_as_they_stand(tmp_path: Path) -> None:
    path = table(tmp_path / "log.csv", "Epoche;Genauigkeit;Test Accuracy\n1;0,5;0,6\n")
    with pytest.raises(RunError, match=r"'Epoche', 'Genauigkeit', 'Test Accuracy'.*val_accuracy"):
        import_history(path)


def test_decimal_commas_between_commas_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = table(tmp_path / "log.csv", "epoch,loss,val_accuracy\n1,0,7,0,6\n")
    with pytest.raises(RunError, match=r"5 values .* under 3 headers .*semicolons"):
        import_history(path)


def test_answers_with_semicolons_are_those_with_commas(tmp_path: Path) -> None:
    text = "path,label,predicted,confidence\na.png,cat,dog,0.8\nb.png,dog,dog,0.9\n"
    (usual,) = read_answers(table(tmp_path / "a.csv", text))
    (other,) = read_answers(table(tmp_path / "b.csv", text.replace(",", ";").replace("0.", "0,").title()))
    assert np.array_equal(usual.logits_nk, other.logits_nk)
    assert [label.lower() for label in other.classes] == list(usual.classes)


def test_no_level_of_chance_is_made_up_where_the_classes_are_unknown(tmp_path: Path) -> None:
    losses = [2.3, 1.9, 1.6, 1.35, 1.1, 0.9]
    still = "epoch,loss,accuracy,val_loss,val_accuracy\n" + "".join(
        f"{at},{loss},{0.6 - 0.1 * loss},{loss + 0.1},{0.58 - 0.1 * loss}\n" for at, loss in enumerate(losses)
    )
    path = table(tmp_path / "still.csv", still)
    known, unknown = (
        {one.code: one for one in diagnose(import_history(path, num_validation=500, num_classes=k))} for k in (10, 0)
    )
    assert "R03" in known and "R03" not in unknown and "R26" in unknown
    flat = "epoch,train_eval_loss,train_eval_accuracy,val_loss,val_accuracy\n" + "0,2.2,0.2,2.2,0.2\n" * 8
    path = table(tmp_path / "flat.csv", flat.replace("0,2.2", "{},2.2").format(*range(8)))
    told, silent = (Underfitting().apply(import_history(path, num_validation=500, num_classes=k)) for k in (10, 0))
    assert told and "chance 10.0 %" in told.seen and "guessing has 2.303" in told.seen
    assert silent and "chance" not in silent.seen and "guessing" not in silent.seen


HEAD = "epoch,accuracy,loss,val_accuracy,val_loss\n"
TWO_FITS = HEAD + "0,.5,1.5,.52,1.4\n1,.6,1.3,.58,1.2\n2,.7,1,.6,1\n0,.9,.4,.71,.95\n1,.99,.1,.7,1.2\n2,1,.1,.69,1.3\n"


@pytest.mark.parametrize(
    ("text", "stages", "right"),
    [
        (TWO_FITS, [1, 1, 1, 2, 2, 2], [0.52, 0.58, 0.6, 0.71, 0.7, 0.69]),
        (HEAD + "0,.5,1.5,.52,1.4\n0,.9,.4,.71,.95\n1,.99,.1,.7,1.2\n", [1, 2, 2], [0.52, 0.71, 0.7]),
        (HEAD + "0,.5,1.5,.52,1.4\n0,.9,.4,.6,.9\n1,.9,.4,.7,.9\n1,.9,.4,.8,.9\n", [1] * 4, [0.52, 0.6, 0.7, 0.8]),
        (HEAD + "0,.5,1.5,.52,1.4\n0,.9,.4,.71,.95\n", [1, 1], [0.52, 0.71]),
        (TWO_FITS + "0,1,.1,.8,.9\n", [1, 1, 1, 1, 1, 1, 2], [0.52, 0.58, 0.6, 0.71, 0.7, 0.69, 0.8]),
        (HEAD + "2,.7,1,.6,1\n1,.6,1.3,.58,1.2\n0,.5,1.5,.52,1.4\n", [1, 1, 1], [0.6, 0.58, 0.52]),
    ],
    ids=[
        "two fits",
        "the first of one epoch",
        "two validations per epoch",
        "nothing else",
        "three fits",
        "sorted backwards",
    ],
)
def test_a_history_that_a_second_fit_was_appended_to_keeps_both(
    tmp_path: Path, text: str, stages: list[int], right: list[float]
) -> None:
    epochs = import_history(table(tmp_path / "log.csv", text)).epochs
    assert [epoch.stage for epoch in epochs] == stages
    assert [epoch.epoch for epoch in epochs] == list(range(1, len(right) + 1))
    assert [epoch.validation_accuracy for epoch in epochs] == right


def test_tables_of_training_and_of_validation_one_below_the_other_are_one_history(tmp_path: Path) -> None:
    text = "epoch,acc,val_acc\n0,.5,\n1,.6,\n0,,.55\n1,,.58\n"
    epochs = import_history(table(tmp_path / "log.csv", text)).epochs
    assert [(one.stage, one.train_accuracy, one.validation_accuracy) for one in epochs] == [
        (1, 0.5, 0.55),
        (1, 0.6, 0.58),
    ]


def test_splits_of_answers_are_understood_in_any_capitals(tmp_path: Path) -> None:
    assert SPLIT_NAMES.items() <= SPLITS.items()
    rows = "".join(f"cat,dog,{name}\ndog,dog,{name}\n" for name in ("val", "Valid", "VALIDATION", "Test", ""))
    parts = read_answers(table(tmp_path / "answers.csv", f"label,predicted,split\n{rows}"))
    assert {part.split: len(part.paths) for part in parts} == {"validation": 6, "test": 4}
    assert import_history(table(tmp_path / "log.csv", TWO_FITS), predictions=parts).num_validation == 6
    other = table(tmp_path / "other.csv", "label,predicted,split\ncat,dog,test\ndog,dog,fold 2\n")
    with pytest.raises(RunError, match=r"line 3 has the split 'fold 2'; give one of .*validation.*test"):
        read_answers(other)


@pytest.mark.parametrize(
    ("text", "trained"),
    [
        ("epoch,train_loss,accuracy,valid_loss,valid_accuracy\n1,.5,.91,.6,.71\n", 0.91),
        ("epoch,train_loss,valid_loss,error_rate,valid_acc\n1,.5,.91,.05,.71\n", None),
        ("epoch,error_rate,dev_top1\n1,.05,.71\n", None),
    ],
)
def test_an_accuracy_that_says_it_is_of_validation_is_that(tmp_path: Path, text: str, trained: float | None) -> None:
    (epoch,) = import_history(table(tmp_path / "log.csv", text)).epochs
    assert (epoch.validation_accuracy, epoch.train_accuracy) == (0.71, trained)


@pytest.mark.parametrize("header", ["Val Acc (%)", "val_acc_percent", "valAccPercent", "Percentage val acc"])
def test_a_header_in_percent_is_taken_at_its_word(tmp_path: Path, header: str) -> None:
    text = f"epoch,accuracy,{header}\n1,.2,0.1\n2,.3,0.9\n3,.4,1.2 %\n"
    epochs = import_history(table(tmp_path / "log.csv", text)).epochs
    as_json = json.dumps({"accuracy": [0.2, 0.3, 0.4], header: [0.1, 0.9, "1.2 %"]})
    for read in (epochs, import_history(table(tmp_path / "log.json", as_json)).epochs):
        assert [one.validation_accuracy for one in read] == pytest.approx([0.001, 0.009, 0.012])
        assert [one.train_accuracy for one in read] == [0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epoch,val_acc\n1,-\n2,n/a\n", "no epoch was read from .*holds no number"),
        ('epoch,val_acc\n1,"0.85\n' + "2,0.86\n" * 40_000, "quotation mark that is opened and never closed"),
        ('{"a":' + "[" * 200_000, "nested too deeply"),
    ],
    ids=["no number", "quote", "nested"],
)
def test_what_cannot_be_read_is_said_with_its_cause(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(RunError, match=reason):
        import_history(table(tmp_path / "log.csv", text))
    if not text.startswith("{"):
        with pytest.raises(RunError):
            read_answers(table(tmp_path / "answers.csv", text))


def test_nothing_that_only_a_run_of_retop_leaves_is_made_up(tmp_path: Path) -> None:
    answers = "label,predicted,split\n" + "cat,cat,val\ndog,cat,val\ncat,dog,test\n" * 9
    given = read_answers(table(tmp_path / "answers.csv", answers))
    evidence = import_history(table(tmp_path / "log.csv", TWO_FITS), num_train=90, predictions=given)
    assert evidence.validation is not None
    assert evidence.test is not None
    assert (evidence.record, evidence.isolation, evidence.other_predictions) == (None, None, None)
    assert (evidence.stages, evidence.audit) == ((), ())


@pytest.mark.parametrize(
    ("answered", "code"),
    [
        ({("cat", "cat"): 50, ("dog", "cat"): 50}, "R11"),
        ({("cat", "cat"): 302, ("dog", "cat"): 18, ("dog", "dog"): 6}, "R14"),
    ],
)
def test_advice_for_another_tool_names_no_option_of_retop(
    tmp_path: Path, answered: dict[tuple[str, str], int], code: str
) -> None:
    rows = "".join(f"{label},{given},val\n" * n for (label, given), n in answered.items())
    parts = read_answers(table(tmp_path / "answers.csv", f"label,predicted,split\n{rows}"))
    found = diagnose(import_history(table(tmp_path / "log.csv", TWO_FITS), predictions=parts))
    assert code in {one.code for one in found}
    own = set(CliRunner().invoke(app, ["import-history", "--help"], env={"COLUMNS": "200"}).output.split())
    for one in found:
        assert set(re.findall(r"--[a-z-]+", one.fix)) <= own
        assert "retop " not in one.fix


@pytest.mark.parametrize(
    "text",
    [
        "# epoch acc val_acc\n1.0e+00 5.0e-01 6.0e-01\n2.0e+00 8.0e-01 7.0e-01\n",
        "# a run of May\n# epoch,acc,val_acc\n1,0.5,0.6\n2,0.8,0.7\n",
        "# a run of May\nepoch,acc,val_acc\n1,0.5,0.6\n2,0.8,0.7\n",
        "epoch   acc  val_acc\n1   0.5   0.6\n2   0.8   0.7\n",
        "epoch,name,value\n1,acc,0.5\n1,val_acc,0.6\n2,acc,0.8\n2,val_acc,0.7\n",
        "metric;value;epoch\nacc;0,5;1\nacc;0,8;2\nval_acc;0,6;1\nval_acc;0,7;2\n",
    ],
    ids=["savetxt", "savetxt with commas", "comment", "spaces", "a row for each value", "one quantity after the other"],
)
def test_other_forms_of_a_table_say_the_same(tmp_path: Path, text: str) -> None:
    epochs = import_history(table(tmp_path / "log.txt", text)).epochs
    assert [(e.epoch, e.train_accuracy, e.validation_accuracy) for e in epochs] == [(1, 0.5, 0.6), (2, 0.8, 0.7)]


def test_names_with_blanks_and_separators_are_one_name(tmp_path: Path) -> None:
    alone = import_history(table(tmp_path / "alone.csv", "Validation Acc\n0.6\n0.7\n")).epochs
    quoted = import_history(table(tmp_path / "quoted.csv", '"loss, a, b";val_acc\n0,5;0,6\n0,4;0,7\n')).epochs
    for epochs in (alone, quoted):
        assert [e.validation_accuracy for e in epochs] == [0.6, 0.7]


def test_stages_of_a_row_for_each_value_are_kept(tmp_path: Path) -> None:
    text = "epoch,stage,name,value\n1,1,val_acc,0.6\n2,2,val_acc,0.7\n"
    assert [e.stage for e in import_history(table(tmp_path / "log.csv", text)).epochs] == [1, 2]


@pytest.mark.parametrize(("above", "scale"), [("1.0000001", 1), ("100.00001", 100)])
def test_a_confidence_may_be_rounded_upwards(tmp_path: Path, above: str, scale: int) -> None:
    rows = (above, str(0.5 * scale))
    answers = "label,predicted,confidence\n" + "".join(f"a,{'ab'[at]},{one}\n" for at, one in enumerate(rows))
    exact = answers.replace(above, str(scale))
    given = [read_answers(table(tmp_path / "p.csv", text))[0].logits_nk for text in (answers, exact)]
    np.testing.assert_array_equal(*given)


def test_confidence_in_percent_is_that_of_fractions(tmp_path: Path) -> None:
    rows = ((0.99, 99), (0.5, 50), (0.75, 75))
    given = [
        "label\tpredicted\tconfidence\n"
        + "".join(f"a\t{'ab'[place % 2]}\t{row[form]}\n" for place, row in enumerate(rows))
        for form in (0, 1)
    ]
    fractions, percent = (read_answers(table(tmp_path / "p.tsv", text))[0].logits_nk for text in given)
    np.testing.assert_array_equal(fractions, percent)
    result = CliRunner().invoke(
        app,
        [
            "import-history",
            str(table(tmp_path / "h.json", json.dumps(KERAS))),
            "--predictions",
            str(tmp_path / "p.tsv"),
        ],
    )
    assert result.exit_code == 0, result.output
    with pytest.raises(RunError, match="confidence goes from"):
        read_answers(table(tmp_path / "p.csv", "label,predicted,confidence\na,b,250\nb,b,1\n"))


@pytest.mark.parametrize("said", [False, True])
def test_a_history_without_stages_is_told_of_none(tmp_path: Path, said: bool) -> None:
    rows = [
        (0.6, 0.65, 0.7, 0.7),
        (0.8, 0.4, 0.72, 0.6),
        (0.9, 0.2, 0.73, 0.7),
        (0.97, 0.1, 0.72, 1.0),
        (1.0, 0.02, 0.71, 1.4),
    ]
    text = "acc,loss,val_acc,val_loss,stage\n" + "".join(
        f"{','.join(map(str, row))},{1 + (place > 0) if said else ''}\n" for place, row in enumerate(rows)
    )
    found = diagnose(import_history(table(tmp_path / "log.csv", text), num_validation=1000))
    seen = next(one for one in found if one.code == "R01").seen
    assert seen.startswith("Stage 2, epoch 5: " if said else "Training, epoch 5: ")
