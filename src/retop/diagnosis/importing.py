"""Histories that other tools wrote: Keras, Lightning, fastai, Ultralytics, and any table with one row per epoch."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from retop.diagnosis.columns import Columns, Table, header_name, number, read_rows, read_table, read_text
from retop.diagnosis.evidence import Evidence
from retop.errors import RunError
from retop.evaluation import measure
from retop.records import EpochRecord, Metrics, Predictions

TRAINING = ("train", "training", "tr")
VALIDATION = ("val", "valid", "validation", "dev", "eval")
LOSSES = ("loss", "cross_entropy", "cross_entropy_loss", "ce_loss", "nll_loss", "log_loss")
RIGHT = ("accuracy", "acc", "categorical_accuracy", "binary_accuracy", "sparse_categorical_accuracy", "top1", "top_1",
         "acc1", "acc_1", "top1_accuracy", "top1_acc", "top_1_accuracy", "accuracy_top1", "acc_top1")  # fmt: skip


def _names(splits: tuple[str, ...], quantities: tuple[str, ...], *others: str) -> tuple[str, ...]:
    """Of one quantity on one split, as `header_name` gives them; Lightning adds ``epoch``."""
    both = [name for of in quantities for split in splits for name in (f"{split}_{of}", f"{of}_{split}")]
    return (*both, *(f"{name}_epoch" for name in both), *others)


NAMES: dict[str, tuple[str, ...]] = {
    "train_loss": _names(TRAINING, LOSSES, *LOSSES),
    "train_accuracy": _names(TRAINING, RIGHT, *RIGHT),
    "validation_loss": _names(VALIDATION, LOSSES),
    "validation_accuracy": _names(VALIDATION, RIGHT, "metrics_accuracy_top1"),
    "train_eval_loss": ("train_eval_loss",),
    "train_eval_accuracy": ("train_eval_accuracy",),
    "learning_rate": ("lr", "learning_rate", "lr_pg0", *map(header_name, ("lr-SGD", "lr-Adam", "lr-AdamW"))),
    "stage": ("stage",),
    "epoch": ("epoch",),
}
"""What other tools call the columns. fastai's own table has no training accuracy: there `accuracy` is validation's."""

ACCURACIES = ("train_accuracy", "train_eval_accuracy", "validation_accuracy")
FASTAI = {"epoch", "train_loss", "valid_loss"}
SPLITS = {
    **dict.fromkeys(TRAINING, "train"),
    **dict.fromkeys(VALIDATION, "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What other tools call the splits, lower case, and what each means."""


def import_history(
    path: Path,
    *,
    num_train: int = 0,
    num_validation: int = 0,
    num_classes: int = 0,
    predictions: Sequence[Predictions] = (),
) -> Evidence:
    """Read another tool's history as evidence.

    Args:
        path: a JSON object of lists (Keras `History.history`), or a CSV table with a header (Keras CSVLogger,
            Lightning CSVLogger, fastai, Ultralytics results.csv, or columns of such names), values separated by
            commas, semicolons, tabs, bars or spaces, with decimal points or commas; or a table with a row for each
            value and the columns epoch, name and value. Epochs that begin again are stage 2.
        num_train: training images; 0 where unknown.
        num_validation: validation images; 0 where unknown. Without it nothing can be told from noise.
        num_classes: K; 0 where unknown.
        predictions: answers on validation or test, if there are any.

    Returns:
        The evidence. Training figures are those as trained: other tools record no others.

    Raises:
        RunError: the file cannot be read, has no column of validation accuracy, or accuracies that are none.
    """
    columns = _known(read_table(path), path)
    epochs = _epochs(columns)
    if not epochs:
        raise RunError(
            f"no epoch was read from {path}: its column of validation accuracy holds no number; write numbers such as "
            f"0.85, 0,85 or 85 %, one per epoch"
        )
    by_split = {one.split: one for one in predictions}
    metrics: dict[str, Metrics] = {split: measure(one, "as given") for split, one in by_split.items()}
    validation = by_split.get("validation")
    return Evidence(
        name=path.stem,
        num_train=num_train,
        num_validation=num_validation or (len(validation.paths) if validation else 0),
        num_classes=num_classes or next((len(one.classes) for one in predictions), 0),
        epochs=epochs,
        no_numbers=_no_numbers(columns),
        validation=metrics.get("validation"),
        test=metrics.get("test"),
        validation_predictions=validation,
        test_predictions=by_split.get("test"),
    )


def read_answers(path: Path) -> tuple[Predictions, ...]:
    """Read another program's answers from a table.

    Args:
        path: a CSV table with a header: ``label``, ``predicted``, and where they are known ``split`` (``test`` if it
            is missing; ``val``, ``valid`` and the like are validation), ``path`` and ``confidence``, a fraction or in
            percent.

    Returns:
        One set of predictions per split; the probability that an answer leaves is shared by the other classes.

    Raises:
        RunError: the file is not such a table, or names a split that is none.
    """
    rows = [{header_name(key): value for key, value in row.items()} for row in read_rows(path, read_text(path))]
    if not rows or not {"label", "predicted"} <= rows[0].keys():
        raise RunError(f"{path} is not a table of answers; give a CSV table with the columns label and predicted")
    short = next((place for place, row in enumerate(rows, 2) if not (row["label"] and row["predicted"])), None)
    if short is not None:
        raise RunError(f"{path}, line {short} has no label or no answer; every row needs both, or leave it out")
    classes = tuple(sorted({row[column] for row in rows for column in ("label", "predicted")}))
    if len(classes) < 2:
        raise RunError(f"{path} names one class only, {classes[0]}; nothing can be said of that")
    by_split: dict[str, list[Mapping[str, str]]] = {}
    for place, row in enumerate(rows, 2):
        said = row.get("split") or "test"
        if said.casefold() not in SPLITS:
            raise RunError(f"{path}, line {place} has the split {said!r}; give one of {', '.join(SPLITS)}")
        by_split.setdefault(SPLITS[said.casefold()], []).append(row)
    return tuple(_answers(split, own, classes) for split, own in by_split.items())


def _answers(split: str, rows: Sequence[Mapping[str, str]], classes: tuple[str, ...]) -> Predictions:
    places = {name: place for place, name in enumerate(classes)}
    answer_n = np.array([places[row["predicted"]] for row in rows])
    said = _fractions([number(row.get("confidence")) for row in rows], "confidence")
    confidence_n = np.clip([_finite(one) or 0.99 for one in said], 1 / len(classes) + 1e-6, 1 - 1e-6)
    probability_nk = np.repeat(((1 - confidence_n) / (len(classes) - 1))[:, None], len(classes), axis=1)
    probability_nk[np.arange(len(rows)), answer_n] = confidence_n
    return Predictions(
        split,
        tuple(row.get("path") or f"{split} {place}" for place, row in enumerate(rows)),
        classes,
        np.array([places[row["label"]] for row in rows], dtype=np.int64),
        np.log(probability_nk).astype(np.float32),
    )


def _known(table: Table, path: Path) -> Columns:
    columns = table.columns
    # Beside an accuracy that says it is validation's, one that says nothing is training's.
    if not any(name in columns for name in NAMES["validation_accuracy"]):
        if set(columns) >= FASTAI and "accuracy" in columns:
            columns = {("val_accuracy" if name == "accuracy" else name): values for name, values in columns.items()}
        elif "error_rate" in columns:
            columns = columns | {"val_accuracy": [None if v is None else 1 - v for v in columns["error_rate"]]}
    found = {}
    for ours, theirs in NAMES.items():
        name = next((name for name in theirs if name in columns), None)
        if name is not None:
            found[ours] = columns[name]
    if "validation_accuracy" not in found:
        raise RunError(
            f"{path} has no column of validation accuracy; its headers are {', '.join(map(repr, table.headers))}. One "
            f"like val_accuracy, 'Validation Acc' or acc_val is needed (val, valid, validation, dev or eval, and "
            f"accuracy, acc or top1, in any capitals, with spaces or underscores), or fastai's accuracy or error_rate"
        )
    return found


def _epochs(columns: Columns) -> tuple[EpochRecord, ...]:
    """One record per epoch that has a validation accuracy; percent become fractions."""
    columns = columns | {name: _fractions(columns[name], name) for name in ACCURACIES if name in columns}
    stages = _stages(columns)
    records: list[EpochRecord] = []
    for place, accuracy in enumerate(map(_finite, columns["validation_accuracy"])):
        if accuracy is None:
            continue
        row = {name: _finite(values[place]) if place < len(values) else None for name, values in columns.items()}
        records.append(
            EpochRecord(
                stage=stages[place],
                epoch=len(records) + 1,
                learning_rate=row.get("learning_rate") or 0.0,
                train_loss=row.get("train_loss"),
                train_accuracy=row.get("train_accuracy"),
                train_eval_loss=row.get("train_eval_loss"),
                train_eval_accuracy=row.get("train_eval_accuracy"),
                validation_loss=row.get("validation_loss"),
                validation_accuracy=accuracy,
                gradient_norm=None,
                seconds=0.0,
            )
        )
    return tuple(records)


def _stages(columns: Columns) -> list[Literal[1, 2]]:
    """The stage of each row: what the file says; else the last stretch of epochs that begin again is stage 2."""
    accuracies = columns["validation_accuracy"]
    n, said = len(accuracies), columns.get("stage", [])
    if any(stage is not None for stage in said):
        return [2 if stage == 2 else 1 for stage in [*said, *[None] * n][:n]]
    pairs = enumerate(zip(columns.get("epoch", ()), accuracies, strict=False))
    number = {place: one for place, (one, right) in pairs if one is not None and _finite(right) is not None}
    again = [now for before, now in pairwise(number) if number[now] < number[before]]
    twice = len(number) - len(set(number.values()))
    # Of a first stage of one epoch (fastai's fine_tune), that epoch alone is there twice; of several validations per
    # epoch, every one.
    if not again and twice == 1 and len(number) > 2:
        again = [now for before, now in list(pairwise(number))[:1] if number[now] == number[before]]
    # Where no epoch is there twice the rows are only in another order.
    last = again[-1] if again and twice else n
    return [2 if place >= last else 1 for place in range(n)]


def _fractions(values: Sequence[float | None], name: str) -> list[float | None]:
    """Accuracies or confidences as fractions; a column with one above 1.5 is in percent."""
    numbers = [_finite(value) for value in values]
    known = [value for value in numbers if value is not None]
    percent = any(value > 1.5 for value in known)
    # What was rounded, or computed in float32, may lie a little above.
    if known and not 0 <= min(known) <= max(known) <= (100.1 if percent else 1.001):
        raise RunError(
            f"the column of {name.replace('_', ' ')} goes from {min(known):g} to {max(known):g}; give fractions from 0 "
            f"to 1, or percent from 0 to 100"
        )
    return [None if value is None else min(1.0, value / 100 if percent else value) for value in numbers]


def _no_numbers(columns: Columns) -> tuple[tuple[str, int], ...]:
    """Losses that are no numbers, and since which epoch."""
    found = []
    for name in ("train_loss", "validation_loss"):
        given = [value for value in columns.get(name, ()) if value is not None]
        # NaN between numbers stands for what was not measured in that epoch.
        lost = next((place for place in range(len(given)) if all(map(math.isnan, given[place:]))), len(given))
        lost = min([lost, *(place for place, value in enumerate(given) if math.isinf(value))])
        if lost < len(given):
            found.append((name.replace("_", " "), lost + 1))
    return tuple(found)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
