"""Options that several commands share."""

import csv
import json
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from retop.errors import UsageError


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Precision(StrEnum):
    """Arithmetic of training."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


DATA = "Data"
TRAINING = "Training"
MACHINE = "Machine"

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder with train/, validation/ and perhaps test/, each with one sub-folder per class; or just one "
        "sub-folder per class; a table (.csv, .tsv, .parquet) with the columns path and label; Parquet with the images "
        "inside; a .zip; WebDataset .tar shards; or an address such as s3://bucket/folder.",
        show_default=False,
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="A/B/C",
        help="Shares of train, validation and test where the data has no split: 70/15/15; 80/20/0 is without test.",
        rich_help_panel=DATA,
    ),
]
FoldsOption = Annotated[
    int | None,
    typer.Option(
        "--folds", metavar="K", help="Test every image once, in K folds; K runs instead of one.", rich_help_panel=DATA
    ),
]
SplitFileOption = Annotated[
    Path | None,
    typer.Option(
        "--split-file",
        metavar="FILE",
        help="Take the split of a split.parquet, or of a CSV with the columns path and split.",
        rich_help_panel=DATA,
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="Images with the same value in this column of the table share a side of the split.",
        rich_help_panel=DATA,
    ),
]
GroupPatternOption = Annotated[
    str | None,
    typer.Option(
        "--group-pattern",
        metavar="REGEX",
        help="Images with the same find of this in their path share a side of the split, e.g. 'patient(\\d+)'.",
        rich_help_panel=DATA,
    ),
]
ExcludeOption = Annotated[
    Path | None,
    typer.Option(
        "--exclude",
        metavar="FILE",
        help="Leave out the images that this file lists (retop check --write-exclusions).",
        rich_help_panel=DATA,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="ROLE=NAME,...",
        help="Names of a table's columns: path=file,label=species; roles are path, label, split, group, image.",
        rich_help_panel=DATA,
    ),
]
ClassWeightsOption = Annotated[
    str | None,
    typer.Option(
        "--class-weights",
        metavar="none|balanced|FILE",
        help="Weights of the classes in training; a FILE is a CSV of class and weight, JSON or YAML.",
        rich_help_panel=TRAINING,
    ),
]
FOUR = "vgg16,resnet50,inception_v3,xception"
BackbonesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backbones",
        "-b",
        metavar="A,B",
        help="Networks: vgg16, resnet50, inception_v3, xception, or any timm name.",
        show_default=FOUR,
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="W",
        help="A folder with one timm-form sub-folder per backbone, one such folder, a .safetensors file, or 'random'. "
        "Without it: the hub.",
    ),
]
RecipeOption = Annotated[
    str,
    typer.Option("--recipe", metavar="R", help="default, original, probe, or a YAML file.", rich_help_panel=TRAINING),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[BACKBONE.]KEY=VALUE",
        help="Change one value of the recipe, for all backbones or for one. May be given several times.",
        rich_help_panel=TRAINING,
    ),
]
EpochsOption = Annotated[
    str | None,
    typer.Option(
        "--epochs", metavar="HEAD,LATE", help="Epochs of the head, and of the late layers.", rich_help_panel=TRAINING
    ),
]
ThawOption = Annotated[
    str | None,
    typer.Option(
        "--thaw",
        metavar="T",
        help="Where stage 2 begins to train: last, a number of groups from the end, a group's name, all, none.",
        rich_help_panel=TRAINING,
    ),
]
ViewsOption = Annotated[
    int | None,
    typer.Option(
        "--views", metavar="V", help="Views per training image; 1 is no augmentation.", rich_help_panel=TRAINING
    ),
]
SeedsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--seeds",
        metavar="S",
        help="How many seeds, or a list such as 0,3,7.",
        show_default="1",
        rich_help_panel=TRAINING,
    ),
]
BaselineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        metavar="B",
        help="Rows to add: probe (logistic regression on frozen features), scratch (a small network from random "
        "weights), or probe,scratch.",
        rich_help_panel=TRAINING,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of the comparison. Without it: runs/<data>-<time>."),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute.", rich_help_panel=MACHINE)]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="Arithmetic of training; evaluation is float32.", rich_help_panel=MACHINE),
]
CacheOption = Annotated[
    str,
    typer.Option("--cache", metavar="on|off|DIR", help="The activation store.", rich_help_panel=MACHINE),
]
CacheLimitOption = Annotated[
    float | None,
    typer.Option(
        "--cache-limit",
        metavar="GIB",
        help="Most that the store may hold. Without it: half of the free disk.",
        rich_help_panel=MACHINE,
    ),
]
RejectOption = Annotated[
    float | None,
    typer.Option("--reject-below", metavar="P", help="Refuse answers with a lower confidence: none of these."),
]
TargetOption = Annotated[
    float | None,
    typer.Option(
        "--target-accuracy", metavar="A", help="Choose that threshold so that the answers reach A on validation."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for programs.")]


def read_settings(
    assignments: list[str] | None,
    epochs: str | None,
    thaw: str | None,
    views: int | None,
    precision: Precision | None,
) -> dict[str, str]:
    """Recipe changes from options; ``--set`` comes last and wins.

    Raises:
        UsageError: an option cannot be read.
    """
    settings: dict[str, str] = {}
    if epochs is not None:
        head, comma, late = epochs.partition(",")
        if not comma or not head.strip().isdecimal() or not late.strip().isdecimal():
            raise UsageError(f"--epochs takes two numbers, HEAD,LATE, e.g. 10,10; received {epochs!r}")
        settings |= {"stage1.epochs": head, "stage2.epochs": late}
    if thaw is not None:
        settings["thaw"] = thaw
    if views is not None:
        settings["views.count"] = str(views)
    if precision is not None:
        settings["precision"] = precision.value
    for assignment in assignments or []:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, e.g. stage2.learning_rate=0.001; received {assignment!r}")
        settings[key.strip()] = value
    return settings


def read_data_settings(
    split: str | None = None,
    folds: int | None = None,
    split_file: Path | None = None,
    group: str | None = None,
    group_pattern: str | None = None,
    exclude: Path | None = None,
    columns: str | None = None,
    class_weights: str | None = None,
) -> dict[str, str]:
    """Recipe changes from the options about data.

    Raises:
        UsageError: an option cannot be read.
    """
    roles = _read_columns(columns)
    if group is not None:
        roles["group"] = group
    given: dict[str, Any] = {
        "data.split": split,
        "data.folds": folds,
        "data.split_file": split_file and str(split_file),
        "data.group_pattern": group_pattern,
        "data.exclude": exclude and str(exclude),
        "data.columns": roles or None,
        "imbalance.class_weights": class_weights and read_class_weights(class_weights),
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in given.items() if value is not None}


def read_class_weights(text: str) -> str | dict[str, float]:
    """``none``, ``balanced``, or the weights in a file.

    Raises:
        UsageError: there is no such file, or it holds no weights.
    """
    if text in ("none", "balanced"):
        return text
    try:
        content = Path(text).read_text(encoding="utf-8-sig")
        if Path(text).suffix.lower() == ".csv":
            rows = [row for row in csv.reader(content.splitlines()) if len(row) == 2]
            rows = rows[1:] if rows and not _is_number(rows[0][1]) else rows
            weights = {name.strip(): float(weight) for name, weight in rows}
        else:
            weights = {str(name): float(weight) for name, weight in yaml.safe_load(content).items()}
    except (OSError, UnicodeDecodeError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise UsageError(
            f"--class-weights takes none, balanced, or a file with a weight for each class (CSV: class,weight; JSON or "
            f"YAML: a mapping); {text!r} is none of these: {error}"
        ) from error
    return weights


def _read_columns(text: str | None) -> dict[str, str]:
    pairs = [item.partition("=") for item in read_names([text] if text else None)]
    if any(not (role and equals and name) for role, equals, name in pairs):
        raise UsageError(f"--columns takes ROLE=NAME,..., e.g. path=file,label=species; received {text!r}")
    return {role.strip(): name.strip() for role, _, name in pairs}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_names(texts: Sequence[str] | None) -> list[str]:
    """Names separated by commas, of an option that may be given several times."""
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def read_seeds(texts: Sequence[str] | None) -> int | list[int]:
    """How many seeds, or which; one where the option is not given.

    Raises:
        UsageError: it is neither.
    """
    text = "1" if texts is None else ",".join(texts)
    parts = read_names([text])
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--seeds takes a number (how many) or a list such as 0,3,7; received {text!r}")
    return int(parts[0]) if len(parts) == 1 and "," not in text else [int(part) for part in parts]


def read_cache(text: str) -> bool | str:
    """The store: on, off, or a folder.

    Raises:
        UsageError: it is nothing.
    """
    if not text.strip():
        raise UsageError("--cache is empty; it takes on, off or a folder")
    return {"on": True, "off": False}.get(text, text)


def limit_bytes(gib: float | None) -> int | None:
    """GiB as bytes.

    Raises:
        UsageError: it is no size.
    """
    if gib is not None and not 0 < gib < math.inf:
        raise UsageError(f"--cache-limit takes a number of GiB above 0, e.g. 20; received {gib}")
    return None if gib is None else int(gib * 2**30)
