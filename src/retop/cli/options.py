"""Options that several commands share."""

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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


TRAINING = "Training"
MACHINE = "Machine"

DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A folder with train/, validation/ and perhaps test/, each with one sub-folder per class; or just one "
        "sub-folder per class.",
        show_default=False,
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
