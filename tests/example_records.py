"""Small, complete records as training writes them, for tests of everything that only reads records."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retop.comparison.ranking import Contender, Kind, rank, recommended
from retop.comparison.statements import describe
from retop.evaluation import measure
from retop.recipe import Recipe
from retop.records import (
    ComparisonRecord,
    DataRecord,
    Environment,
    EpochRecord,
    GroupRecord,
    NetworkRecord,
    Predictions,
    Preprocessing,
    RunRecord,
    SplitRecord,
    StageRecord,
    TimingRecord,
    UnreadableImage,
    WeightsRecord,
    write_predictions,
    write_record,
)
from retop.schema import to_plain

ENVIRONMENT = Environment(
    "retop compare photos", "2026-01-01T12:00:00+00:00", "0.1.0", "3.11", {"torch": "2.11"}, "Linux", "a CPU", 2, 2,
    24 * 2**30, "cpu", None,
)  # fmt: skip
GROUPS = (
    GroupRecord("stem", 864, 21_676_032, 401_408),
    GroupRecord("blocks.0", 14_848, 120_000_000, 200_704),
    GroupRecord("blocks.1", 2_223_872, 480_000_000, 125_440),
)


def answers(
    right_n: Sequence[bool] | np.ndarray, classes: tuple[str, ...] = ("cat", "dog"), split: str = "test", seed: int = 0
) -> Predictions:
    """Predictions whose answer to image n is right or wrong as asked, with varied confidence."""
    generator = np.random.default_rng(seed)
    right = np.asarray(right_n, dtype=bool)
    labels = np.arange(len(right)) % len(classes)
    answer = np.where(right, labels, (labels + generator.integers(1, len(classes), len(right))) % len(classes))
    logits = generator.normal(0, 0.3, (len(right), len(classes))).astype(np.float32)
    logits[np.arange(len(right)), answer] += generator.gamma(3, 1, len(right)).astype(np.float32) + 2
    paths = tuple(f"{split}/{classes[label]}/{n:04d}.jpg" for n, label in enumerate(labels))
    return Predictions(split, paths, classes, labels.astype(np.int64), logits)


def data_record(
    classes: tuple[str, ...] = ("cat", "dog"),
    unreadable: tuple[str, ...] = (),
    sizes: tuple[int, int, int] = (500, 150, 150),
) -> DataRecord:
    splits = tuple(
        SplitRecord(name, (size,) * len(classes))
        for name, size in zip(("train", "validation", "test"), sizes, strict=True)
    )
    broken = tuple(UnreadableImage(path, "truncated") for path in unreadable)
    return DataRecord("photos", "ab" * 32, classes, splits, "folders", broken)


def run_record(
    name: str, kind: Kind, seed: int, validation: Predictions, test: Predictions | None, **changes: object
) -> RunRecord:
    weights = WeightsRecord("hub", "timm/example", "0123abc", "cd" * 32, "apache-2.0", None)
    preprocessing = Preprocessing(224, 224, 0.875, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
    boundary = "blocks.1" if kind == "fine-tuned" else None
    network = NetworkRecord(
        name, "example", preprocessing, weights, GROUPS, boundary, 2_239_584, 2_223_872, "store", None, 125_440
    )
    measured = measure(validation, "float32")
    stages = tuple(
        StageRecord(
            number, 10, best, 0.01, "range test", 1e-4, "recipe", measured.accuracy.value, measured.log_loss,
            "finished", 2562,
        )
        for number, best in ((1, 7), (2, 9))
        if kind == "fine-tuned" or (kind == "scratch" and number == 2)
    )  # fmt: skip
    record = {
        "name": f"{name}-{seed}", "kind": kind, "seed": seed, "recipe": Recipe(),
        "data": data_record(validation.classes), "network": network, "precision": {"evaluation": "float32"},
        "stages": stages, "validation": measured, "test": measure(test, "float32") if test else None,
        "timings": tuple(
            TimingRecord(part, seconds, None, disk)
            for part, seconds, disk in (("prefix", 20.0, 50_000_000), ("stage 1", 5.0, 0), ("stage 2", 30.0, 9_000_000))
        ),
        "environment": ENVIRONMENT,
    }  # fmt: skip
    return RunRecord(**(record | changes))  # type: ignore[arg-type]


def epochs(seed: int = 0, num: tuple[int, int] = (10, 10), top: float = 0.97) -> tuple[EpochRecord, ...]:
    """Plausible curves of both stages, epoch 0 included."""
    generator = np.random.default_rng(seed)
    records, passed = [], 0
    for stage, number in zip((1, 2), num, strict=True):
        for epoch in range(number + 1):
            share = 1 - np.exp(-(passed + epoch * 0.7) / 4)
            noise = generator.normal(0, 0.006, 3)
            train, validation, running = np.clip(
                np.array([top + 0.02, top, top - 0.03]) * (0.5 + share / 2) + noise, 0, 1
            )
            first = epoch == 0
            records.append(
                EpochRecord(
                    stage, epoch, 0.01, None if first else 0.05 + 1.2 * (1 - running), None if first else running,
                    0.02 + 1.1 * (1 - train), train, 0.05 + 1.2 * (1 - validation), validation,
                    None if first else 0.7, 1.0,
                )
            )  # fmt: skip
        passed += number * 0.7
    return tuple(records)


def contender(
    name: str, kind: Kind = "fine-tuned", *, n: int = 300, accuracy: float = 0.95, seeds: int = 1,
    classes: tuple[str, ...] = ("cat", "dog"), right: np.ndarray | None = None, split: str = "test",
    validation_accuracy: float | None = None, **changes: object,
) -> Contender:  # fmt: skip
    """A contender with `seeds` runs; `right` [S, N] says what it answers rightly, else chance does."""
    generator = np.random.default_rng(sum(map(ord, name)))
    if right is None:
        right = generator.random((seeds, n)) < accuracy
    runs, predictions = [], []
    for seed, right_n in enumerate(right):
        ranked = answers(right_n, classes, split, seed)
        on_validation = generator.random(300) < (accuracy if validation_accuracy is None else validation_accuracy)
        validation = ranked if split == "validation" else answers(on_validation, classes, "validation", seed)
        runs.append(run_record(name, kind, seed, validation, ranked if split == "test" else None, **changes))
        predictions.append(ranked)
    folders = tuple(f"{name}-{seed}" for seed in range(len(right)))
    return Contender(name, kind, tuple(runs), tuple(predictions), folders)


def comparison_record(contenders: Sequence[Contender], data: DataRecord | None = None) -> ComparisonRecord:
    rows, pairs = rank(contenders, Recipe())
    data = data or contenders[0].runs[0].data
    choice = recommended(contenders)
    ranked_on = rows[0].metrics.split
    statements = describe(rows, pairs, data, choice)
    seeds = tuple(run.seed for run in contenders[0].runs)
    return ComparisonRecord(
        "photos", data, Recipe(), seeds, ranked_on, rows, pairs, choice, statements, (), ENVIRONMENT
    )  # type: ignore[arg-type]


def write_comparison(folder: Path, contenders: Sequence[Contender]) -> ComparisonRecord:
    """Write a comparison's folder as a finished comparison leaves it, models and checkpoints aside."""
    import json

    record = comparison_record(contenders)
    write_record(folder / "comparison.json", record)
    for one in contenders:
        for place, (name, run, predictions) in enumerate(zip(one.run_folders, one.runs, one.predictions, strict=True)):
            (folder / name).mkdir()
            write_record(folder / name / "run.json", run)
            write_predictions(folder / name / "predictions.parquet", (predictions,))
            if one.kind == "probe":
                continue
            records = epochs(sum(map(ord, name)) + place, (10, 10) if one.kind == "fine-tuned" else (0, 12))
            if one.kind == "scratch":
                records = tuple(record for record in records if record.stage == 2)
            lines = [json.dumps(to_plain(record)) for record in records]
            (folder / name / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return record
