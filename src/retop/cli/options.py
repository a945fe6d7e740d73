"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
        help="A folder with one timm-form sub-folder per backbone, one such folder, a .safetensors file (a "
        "config.json of the same network beside it counts), or 'random'. Without it: the hub.",
    ),
]
RecipeOption = Annotated[
    str,
    typer.Option(
        "--recipe", metavar="R", help="default, original, pretrain, probe, or a YAML file.", rich_help_panel=TRAINING
    ),
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
LogOption = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="T",
        help="Trackers that receive the numbers of every run: tensorboard, mlflow, or tensorboard,mlflow.",
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
