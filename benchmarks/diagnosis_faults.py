"""The faults that the benchmark plants, one at a time, and the findings that name them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

import retop
import retop.pipeline.run
from diagnosis_data import Pictures
from retop.data import open_dataset
from retop.recipe import DataRecipe
from retop.records import AuditRecord, Finding, Predictions, write_predictions, write_record

Splits = dict[str, Pictures]
Settings = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: what is done.
        named_by: findings of which one must be made.
        settings: changes to the recipe.
        sizes: images per class and split, where they are not the usual ones.
        plant: changes the images.
        training: a context around the training.
        after: works on the finished run; may give a file of other predictions.
        weights: ``random`` for runs that start from nothing.
    """

    name: str
    named_by: tuple[str, ...]
    settings: Settings = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    plant: Callable[[Splits, np.random.Generator], Splits] = lambda splits, _: splits
    training: Callable[[], Any] = nullcontext
    after: Callable[[Path, Path], Path | None] = lambda _run, _data: None
    weights: str | None = None


def _permute(splits: Splits, _: np.random.Generator) -> Splits:
    names = list(splits["test"])
    return splits | {"test": {name: splits["test"][names[place - 1]] for place, name in enumerate(names)}}


def _mislabel(splits: Splits, generator: np.random.Generator) -> Splits:
    """One image in five stands in another class."""
    names = list(splits["train"])
    train: Pictures = {name: [] for name in names}
    for place, name in enumerate(names):
        for image in splits["train"][name]:
            other = (place + int(generator.integers(1, len(names)))) % len(names)
            train[names[other] if generator.random() < 0.2 else name].append(image)
    return splits | {"train": train}


def _leak(splits: Splits, _: np.random.Generator) -> Splits:
    test = {
        name: images[: len(images) // 2] + splits["train"][name][: len(images) // 2]
        for name, images in splits["test"].items()
    }
    return splits | {"test": test}


def _blur(splits: Splits, _: np.random.Generator) -> Splits:
    def other(image: Image.Image) -> Image.Image:
        return ImageOps.posterize(ImageOps.invert(image).filter(ImageFilter.GaussianBlur(2)), 3)

    return splits | {"test": {name: [other(image) for image in images] for name, images in splits["test"].items()}}


def _thin_out(splits: Splits, _: np.random.Generator) -> Splits:
    """All classes but the first keep one image in ten."""
    first = next(iter(splits["train"]))
    return {
        split: {
            name: images if name == first else images[: max(6, len(images) // 10)] for name, images in classes.items()
        }
        for split, classes in splits.items()
    }


def _divide(splits: Splits, generator: np.random.Generator) -> Splits:
    """The first class becomes two of the same kind."""
    first = next(iter(splits["train"]))
    divided: Splits = {}
    for split, classes in splits.items():
        images = [classes[first][place] for place in generator.permutation(len(classes[first]))]
        half = len(images) // 2
        divided[split] = {f"{first}-a": images[:half], f"{first}-b": images[half:]} | {
            name: own for name, own in classes.items() if name != first
        }
    return divided


def _frame(splits: Splits, _: np.random.Generator) -> Splits:
    colours = [
        (230, 40, 40),
        (40, 200, 60),
        (50, 70, 230),
        (230, 210, 50),
        (200, 60, 210),
        (60, 210, 220),
        (250, 250, 250),
        (10, 10, 10),
    ]
    names = list(splits["train"])

    def framed(image: Image.Image, name: str) -> Image.Image:
        inner = image.resize((image.width - 12, image.height - 12))
        return ImageOps.expand(inner, 6, colours[names.index(name) % len(colours)])

    return {
        split: {name: [framed(i, name) for i in images] for name, images in c.items()} for split, c in splits.items()
    }


@contextmanager
def _spoilt_statistics() -> Iterator[None]:
    """The model folder gets running statistics that are not those of the images."""
    own = retop.pipeline.run.save_model_folder

    def save(folder: Path, backbone: Any, head: Any, record: Any) -> None:
        norms = [m for m in backbone.network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0)
        own(folder, backbone, head, record)

    retop.pipeline.run.save_model_folder = save
    try:
        yield
    finally:
        retop.pipeline.run.save_model_folder = own


def _audit_copies(run: Path, data: Path) -> None:
    """What the audit says of copies; by content, until it is part of every run."""
    seen: dict[bytes, str] = {}
    groups = []
    for file in sorted(data.rglob("*.png"), key=lambda path: "test" in path.parts):
        name = file.relative_to(data).as_posix()
        if (before := seen.setdefault(file.read_bytes(), name)) != name:
            groups.append([before, name])
    finding = Finding("D03", "copies across splits", "warning", "copies", "leak", "exclude", {"files": groups})
    write_record(run / "audit.json", AuditRecord(str(data), len(seen), (), (finding,), ("D03",)))


def _unscaled(run: Path, data: Path) -> Path:
    """Test images answered by a program that divides them by 255 once more, as the original experiment did."""
    record = json.loads((run / "comparison.json").read_text())
    predictor = retop.load(run / record["rows"][0]["runs"][0] / "model")
    test = open_dataset(data, DataRecipe()).test
    if test is None:
        raise RuntimeError("the benchmark's data has a test split")
    from retop.data import decode_batches
    from retop.recipe import ViewsRecipe

    rows = np.arange(len(test))
    views = ViewsRecipe(preset="none", count=1)
    batches = decode_batches(test, rows, np.zeros_like(rows), predictor.trained.preprocessing, views, 32)
    logits = np.concatenate([predictor.logits((batch.float() / 255).round().to(torch.uint8)) for batch in batches])
    paths = tuple(test.path(place) for place in range(len(test)))
    write_predictions(run / "other.parquet", (Predictions("test", paths, test.classes, test.labels_n, logits),))
    return run / "other.parquet"


HEAD = {"thaw": "none", "stage2.epochs": 0}
LATE = {"stage2.patience": None, "stage2.schedule": "constant"}
FAULTS = (
    Fault("overfitting", ("R01",), {"thaw": "all", "views.count": 1, "views.preset": "none", "stage1.epochs": 2,
          "stage2.epochs": 40, "stage2.learning_rate": 0.02, "stage2.weight_decay": 0.0, **LATE}, {"train": 12}),
    Fault("steps too large", ("R05", "R09"), {"stage2.epochs": 14,
          "stage2.learning_rate": 1.0, "stage2.clip_norm": None, **LATE}),
    Fault("steps too small", ("R06",), {**HEAD, "stage1.epochs": 12, "stage1.learning_rate": 1e-6,
          "stage1.weight_decay": 1e-3}),
    Fault("not converged", ("R03",), {"thaw": "all", "stage1.epochs": 0, "stage2.epochs": 4,
          "stage2.optimiser": "adamw", "stage2.learning_rate": 1e-3, "stage2.schedule": "constant",
          "batch_norm": "update"}, {}, weights="random"),
    Fault("underfitting", ("R02",), {**HEAD, "stage1.epochs": 40, "stage1.weight_decay": 30.0,
          "stage1.learning_rate": 0.003}),
    Fault("features destroyed", ("R09", "R05"), {"thaw": "all", "stage2.epochs": 12,
          "stage2.learning_rate": 0.3, **LATE}),
    Fault("batch-norm statistics spoilt", ("R10",), {"stage2.epochs": 2}, training=_spoilt_statistics),
    Fault("test images not rescaled elsewhere", ("R16",), {"stage2.epochs": 2}, after=_unscaled),
    Fault("collapse", ("R11",), {**HEAD, "stage1.epochs": 6, "stage1.learning_rate": 1e6, "stage1.weight_decay": 1e-3,
          "stage1.schedule": "constant", "stage1.warmup_fraction": 0.0}),
    Fault("classes permuted between splits", ("R12",), {"stage2.epochs": 2}, plant=_permute),
    Fault("labels wrong", ("R15",), {"stage2.epochs": 2}, plant=_mislabel),
    Fault("leak", ("R18",), {"stage2.epochs": 2}, plant=_leak, after=lambda run, data: _audit_copies(run, data)),
    Fault("shift", ("R17",), {"stage2.epochs": 2}, plant=_blur),
    Fault("imbalance", ("R14",), {**HEAD, "stage1.weight_decay": 1.0}, plant=_thin_out),
    Fault("nearly duplicate classes", ("R13",), {"stage2.epochs": 2}, {"train": 120, "validation": 80, "test": 60},
          plant=_divide),
    Fault("give-away", ("R20",), {"stage2.epochs": 4}, plant=_frame),
)  # fmt: skip
