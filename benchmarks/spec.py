"""What a side is asked to do and what it answers, as files; the standard library alone, for every environment."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

IMAGE_SIZES = {"vgg16": 224, "resnet50": 224, "inception_v3": 299, "xception": 299}
"""Input size in pixels, by backbone; its keys are all backbones that are measured."""


@dataclass(frozen=True)
class Spec:
    """One measurement.

    Attributes:
        backbone: one of `IMAGE_SIZES`.
        images: folder with ``train/`` and ``validation/``, one sub-folder per class in each.
        num_train: training images.
        num_validation: validation images.
        scratch: an empty folder for whatever the side writes.
        head_epochs: epochs of stage 1, the head alone.
        late_epochs: epochs of stage 2, head and late layers.
        batch_size: images per step.
        views: 1 is no augmentation; above it ours trains on so many stored views and the others augment in the loop.
        measure_steps: steps that are timed per pass, the rest being calculated; None runs everything.
        device: ``cpu`` or ``cuda``.
        channels_last: plain PyTorch only: the faster memory format.
        autocast: plain PyTorch only: bfloat16 autocast.
        workers: plain PyTorch only: processes that decode.
        choosing: ours only: range test and penalty grid are on, as by default; off, both recipes are fixed.
    """

    backbone: str
    images: str
    num_train: int
    num_validation: int
    scratch: str
    head_epochs: int = 10
    late_epochs: int = 10
    batch_size: int = 32
    views: int = 1
    measure_steps: int | None = None
    device: str = "cpu"
    channels_last: bool = False
    autocast: bool = False
    workers: int = 2
    choosing: bool = False

    @property
    def image_size(self) -> int:
        """Height and width of the network's input in pixels."""
        return IMAGE_SIZES[self.backbone]

    @property
    def augments(self) -> bool:
        """Whether training images are augmented."""
        return self.views > 1


@dataclass(frozen=True)
class StageTiming:
    """Seconds of one stage.

    Attributes:
        epochs: epochs of the stage.
        seconds: of the whole stage.
        warm_up_seconds: what the first step took more than later ones; in `seconds` once.
        train_epoch_seconds: of one pass over the training images.
        validation_seconds: of one pass over the validation images.
        measured_train_images: training images that were timed.
        measured_validation_images: validation images that were timed.
        extrapolated: whether `seconds` was calculated from fewer steps than the stage has.
    """

    epochs: int
    seconds: float
    warm_up_seconds: float | None
    train_epoch_seconds: float | None
    validation_seconds: float | None
    measured_train_images: int
    measured_validation_images: int
    extrapolated: bool


@dataclass(frozen=True)
class SideResult:
    """What one side measured.

    Attributes:
        seconds: from the library being imported to the last epoch's validation being done.
        wall_seconds: what elapsed in fact; less than `seconds` where that is extrapolated.
        parts: seconds by part of the work; they add up to `seconds`, or nearly.
        stages: ``head`` and ``late``.
        extrapolated: whether any of `seconds` was calculated.
        measured_images: images that were timed in steps, training and validation, both stages.
        validation_accuracy: after the last epoch; None where only some steps were run.
        trained_parameters: parameters that stage 2 trains.
        threads: threads that the library computes with.
        versions: of the libraries that can change the figure.
        notes: what a reader of the figure must know.
    """

    seconds: float
    wall_seconds: float
    parts: dict[str, float]
    stages: dict[str, StageTiming]
    extrapolated: bool
    measured_images: int
    validation_accuracy: float | None
    trained_parameters: int
    threads: int
    versions: dict[str, str]
    notes: list[str] = field(default_factory=list)


def write_json(path: Path, value: Any) -> None:
    """Write a dataclass or plain data, whole or not at all."""
    plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def read_spec(path: Path) -> Spec:
    return Spec(**json.loads(path.read_text(encoding="utf-8")))
