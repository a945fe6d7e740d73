"""The recipe: everything that determines a run's numbers, save the data, the backbone and the seed."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from retop.errors import RecipeError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)


@dataclass(frozen=True)
class DataRecipe:
    """How a folder without splits is divided."""

    split: tuple[float, float, float] = (0.70, 0.15, 0.15)
    """Fractions for train, validation and test; they add up to 1 (or, as percentages, to 100), and test may be 0."""

    split_seed: int = 0
    """Chooses another split of the same images."""

    images_per_class: int | None = None
    """Use at most this many training images of each class (chosen by content); None for all."""

    folds: int | None = None
    """Divide the images into this many folds, at least 3, and make every run once per fold: one fold is tested, the
    next one validates, the others are learned from. None for one split."""

    split_file: str | None = None
    """Take the split of this file: a split.parquet of a comparison, or a CSV with the columns ``path`` and ``split``
    (or ``fold``)."""

    group_pattern: str | None = None
    """Regular expression searched in each path; images with the same find (its first bracket, or all of it) share a
    side of the split."""

    exclude: str | None = None
    """Leave out the images that this file lists, as ``retop check --write-exclusions`` writes it."""

    columns: dict[str, str] = field(default_factory=dict)
    """Names of the columns of a table by role: ``path``, ``label``, ``split``, ``group``, ``image``; needed where a
    column's name is not its role."""

    def __post_init__(self) -> None:
        _require(
            self.folds is None or self.folds >= 3, f"data.folds must be at least 3; received {self.folds} (--folds)"
        )
        _require(
            self.folds is None or self.split_file is None,
            "data.folds and data.split_file are both set; the file says which folds there are (--folds, --split-file)",
        )
        if abs(sum(self.split) - 100) < 1e-6:
            object.__setattr__(self, "split", tuple(part / sum(self.split) for part in self.split))
        train, validation, test = self.split
        _require(
            min(train, validation) > 0 and test >= 0 and abs(sum(self.split) - 1) < 1e-6,
            f"data.split must be three fractions that add up to 1 (or percentages that add up to 100), train and "
            f"validation above 0; "
            f"received {'/'.join(f'{part:g}' for part in self.split)}",
        )
        _require(
            self.images_per_class is None or self.images_per_class >= 1,
            f"data.images_per_class must be at least 1 or null; received {self.images_per_class}",
        )


@dataclass(frozen=True)
class ImbalanceRecipe:
    """What is done about classes of different sizes."""

    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    """Weight of each class in the loss of training. ``balanced``: in inverse proportion to its training images; a
    mapping: class name to weight. Weights are scaled so that their mean over the training images is 1."""

    sampling: Literal["natural", "balanced"] = "natural"
    """``balanced``: every class has an equal share of the images of an epoch; an image of a small class is seen more
    than once, one of a large class not in every epoch. ``natural``: every image once."""

    def __post_init__(self) -> None:
        if isinstance(self.class_weights, dict):
            bad = [f"{name}: {value:g}" for name, value in self.class_weights.items() if not 0 < value < math.inf]
            _require(not bad, f"imbalance.class_weights must be finite numbers above 0; received {', '.join(bad)}")
        _require(
            self.class_weights == "none" or self.sampling == "natural",
            "imbalance.class_weights and imbalance.sampling=balanced would both correct for the same thing; leave one "
            "of them out (--class-weights none, or --set imbalance.sampling=natural)",
        )


@dataclass(frozen=True)
class ViewsRecipe:
    """Which versions of an image training sees. View 0 is the evaluation crop."""

    preset: Literal["none", "standard", "original", "fresh"] = "standard"
    """``standard``: random resized crop, horizontal flip, light colour. ``original``: shear 0.2, zoom 0.2,
    horizontal flip. ``none``: the evaluation crop alone. ``fresh``: random resized crop and horizontal flip of the
    stored evaluation crop, drawn anew in every epoch, where all of the network trains."""

    count: int = 4
    """V, the number of stored views per training image, view 0 included. 1 is no augmentation, save with ``fresh``."""

    seed: int = 0
    """Chooses other augmentations. It is apart from the run's seed, so that seeds share one store."""

    sides: tuple[float, ...] = (1.0,)
    """With ``fresh``: sides of the training images as fractions of the network's input, each for an equal part of the
    epochs. Small images first save most of the time; evaluation always has the whole input."""

    def __post_init__(self) -> None:
        _require(
            1 <= self.count <= 1000,
            f"views.count must be between 1 and 1000; received {self.count} (--views)",
        )
        _require(
            self.preset not in ("none", "fresh") or self.count == 1,
            f"views.preset is {self.preset!r} but views.count is {self.count}; set views.count=1 (--views 1) "
            f"or choose the preset 'standard' or 'original'",
        )
        _require(
            len(self.sides) > 0 and all(0 < side <= 1 for side in self.sides),
            f"views.sides must be fractions above 0 and at most 1, e.g. [0.5, 1]; received {list(self.sides)}",
        )
        _require(
            self.preset == "fresh" or self.sides == (1.0,),
            f"views.sides is {list(self.sides)} but views.preset is {self.preset!r}; only 'fresh' makes images of "
            f"other sizes. Set views.preset=fresh or leave views.sides out",
        )


@dataclass(frozen=True)
class HeadRecipe:
    """The new top of the network."""

    kind: Literal["linear", "mlp"] = "linear"
    """``linear``: the backbone's own pooling, dropout, linear. ``mlp``: flattened feature map, dropout,
    dense with ReLU, linear (the original experiment's head)."""

    dropout: float | Literal["auto"] = "auto"
    """Fraction of inputs dropped before the first layer of the head; ``auto``: 0 for ``linear``, 0.5 for ``mlp``."""

    hidden: int = 256
    """Width of the dense layer of ``mlp``."""

    def __post_init__(self) -> None:
        _require(
            self.dropout == "auto" or 0 <= self.dropout < 1,
            f"head.dropout must be in [0, 1), or 'auto'; received {self.dropout}",
        )
        _require(self.hidden >= 1, f"head.hidden must be at least 1; received {self.hidden}")

    @property
    def dropout_fraction(self) -> float:
        """`dropout` as a number."""
        if self.dropout == "auto":
            return 0.5 if self.kind == "mlp" else 0.0
        return self.dropout


@dataclass(frozen=True)
class StageRecipe:
    """How one stage trains: stage 1 the head alone, stage 2 the head and the late layers."""

    epochs: int
    """Passes over the training images, at most (see `patience`). 0 leaves the stage out."""

    min_steps: int = 0
    """Epochs (and patience) are multiplied until there are this many steps: few images make few steps. Setting
    `epochs` sets this to 0. It does not act where the whole network runs in every epoch (``--cache off``)."""

    optimiser: Literal["sgd", "adamw", "adam"] = "sgd"
    """``sgd`` has Nesterov momentum."""

    learning_rate: float | Literal["auto"] = "auto"
    """Peak step size; ``auto`` takes it from a short range test on the store."""

    momentum: float = 0.9
    """Momentum of SGD; the first beta of Adam and AdamW."""

    weight_decay: float | Literal["auto"] = 1e-4
    """Penalty on weights, not on norms and biases; ``auto`` (stage 1, with ``sgd``) tries a grid and keeps the
    best on validation."""

    batch_size: int = 32
    """Images per step."""

    schedule: Literal["cosine", "constant"] = "cosine"
    """What the step size does after warm-up."""

    warmup_fraction: float = 0.1
    """Fraction of the steps in which the step size rises linearly from 0."""

    clip_norm: float | None = 1.0
    """Gradients are scaled down to this norm; None leaves them alone."""

    label_smoothing: float = 0.0
    """Probability mass given to the wrong classes."""

    mixup: float = 0.0
    """Alpha of the Beta distribution for mixing activations and labels of two images; 0 is off."""

    patience: int | None = None
    """Stop after this many epochs without a better one on validation (higher accuracy, or the same with a lower
    loss); None never stops early."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, f"epochs must be 0 or more; received {self.epochs} (--epochs HEAD,LATE)")
        _require(self.min_steps >= 0, f"min_steps must be 0 or more; received {self.min_steps}")
        _require(self.batch_size >= 1, f"batch_size must be at least 1; received {self.batch_size}")
        _require(
            self.learning_rate == "auto" or 0 < self.learning_rate < math.inf,
            f"learning_rate must be a finite number above 0, or 'auto'; received {self.learning_rate}",
        )
        _require(
            self.weight_decay == "auto" or 0 <= self.weight_decay < math.inf,
            f"weight_decay must be a finite number, 0 or more, or 'auto'; received {self.weight_decay}",
        )
        _require(0 <= self.momentum < 1, f"momentum must be in [0, 1); received {self.momentum}")
        _require(
            0 <= self.warmup_fraction < 1,
            f"warmup_fraction must be in [0, 1); received {self.warmup_fraction}",
        )
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            f"clip_norm must be above 0 or null; received {self.clip_norm}",
        )
        _require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must be in [0, 1); received {self.label_smoothing}",
        )
        _require(self.mixup >= 0, f"mixup must be 0 or more; received {self.mixup}")
        _require(
            self.patience is None or self.patience >= 1,
            f"patience must be at least 1 or null; received {self.patience}",
        )

    def lengthened(self, num_images: int) -> "StageRecipe":
        """The stage with as many epochs as `min_steps` asks for.

        Args:
            num_images: training images.
        """
        steps = self.epochs * math.ceil(num_images / self.batch_size)
        factor = math.ceil(self.min_steps / steps) if steps else 1
        patience = None if self.patience is None else self.patience * max(1, factor)
        return replace(self, epochs=self.epochs * max(1, factor), patience=patience)

    def same_but_for_length(self, other: "StageRecipe") -> bool:
        """Whether the stages are equal, or differ only in how far `min_steps` lengthened them.

        Args:
            other: the stage to compare with.
        """
        if self == other or self.min_steps == 0:
            return self == other
        ours, theirs = self.patience or 0, other.patience or 0
        return ours * other.epochs == theirs * self.epochs and self == replace(
            other, epochs=self.epochs, patience=self.patience
        )


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    name: str = "default"
    """What the recipe is called in tables and records."""

    thaw: str = "last"
    """Where stage 2 begins to train: ``last``, a number of groups from the end, a group's name, ``all`` or
    ``none``."""

    batch_norm: Literal["auto", "frozen", "update"] = "auto"
    """Statistics of batch norm in the thawed part: ``frozen`` (their affine part still trains), ``update``, or
    ``auto``: frozen for pretrained weights, updated for random ones."""

    image_size: int | None = None
    """Height and width of what the network sees, in pixels. None is the size that its weights were trained with, which
    is nearly always best; a smaller one costs less. It becomes part of the model."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of training. ``auto``: bfloat16 where the hardware has it, else float32 with activations
    stored as bfloat16. ``fp32``: float32 throughout. Evaluation is always float32."""

    data: DataRecipe = field(default_factory=DataRecipe)
    """How images are split."""

    imbalance: ImbalanceRecipe = field(default_factory=ImbalanceRecipe)
    """What is done about classes of different sizes."""

    views: ViewsRecipe = field(default_factory=ViewsRecipe)
    """How images are augmented."""

    head: HeadRecipe = field(default_factory=HeadRecipe)
    """The new top."""

    isolating_tests: bool = True
    """Small experiments after training that tell causes apart for `retop diagnose`. They change no other number and
    look at one image for 100 that pass the network, at least at 64."""

    isolating_share: float = 0.05
    """Most that they may take, as a share of the run's time with a full store, both told from counts of what is done. A
    test that would take more is left out, which `retop diagnose` says."""

    stage1: StageRecipe = field(
        default_factory=lambda: StageRecipe(epochs=30, min_steps=300, weight_decay="auto", clip_norm=None, patience=10)
    )
    """Training of the head on the frozen backbone."""

    stage2: StageRecipe = field(default_factory=lambda: StageRecipe(epochs=15, patience=6))
    """Training of the head and the late layers."""

    reject_below: float = 0.0
    """The model refuses answers with a lower confidence ("none of these"); 0 refuses nothing."""

    target_accuracy: float | None = None
    """Accuracy that the given answers shall have on validation: `reject_below` is chosen for it. None chooses
    nothing."""

    def __post_init__(self) -> None:
        _require(
            self.image_size is None or 32 <= self.image_size <= 2048,
            f"image_size must be 32 to 2048 pixels, or null; received {self.image_size}",
        )
        _require(0 <= self.isolating_share <= 1, f"isolating_share must be 0 to 1; received {self.isolating_share}")
        _require(0 <= self.reject_below < 1, f"reject_below must be in [0, 1); received {self.reject_below}")
        _require(
            self.target_accuracy is None or (0 < self.target_accuracy <= 1 and self.reject_below == 0),
            f"target_accuracy must be above 0 and at most 1, or null, and chooses reject_below itself; received "
            f"target_accuracy {self.target_accuracy}, reject_below {self.reject_below}",
        )
        _require(
            self.stage2.weight_decay != "auto",
            "stage2.weight_decay must be a number; 'auto' exists for stage 1, where trying a grid costs seconds",
        )
        _require(
            self.stage1.weight_decay != "auto" or self.stage1.optimiser == "sgd",
            f"stage1.weight_decay is 'auto' but stage1.optimiser is {self.stage1.optimiser!r}; the grid of 'auto' "
            f"holds L2 penalties, which mean something else to Adam and AdamW. Set stage1.weight_decay to a number or "
            f"stage1.optimiser to sgd",
        )
        _require(
            self.views.preset != "fresh" or (self.thaw == "all" and self.stage1.epochs == 0),
            f"views.preset is 'fresh', which trains all of the network at once: set thaw=all (--thaw all) and "
            f"stage1.epochs=0; received thaw={self.thaw} and stage1.epochs={self.stage1.epochs}",
        )
        _require(
            self.stage1.epochs > 0 or self.stage2.epochs > 0,
            "both stages have 0 epochs, so nothing would be trained; set stage1.epochs or stage2.epochs (--epochs)",
        )
        _require(
            self.stage1.epochs > 0 or self.thaw not in ("none", "0"),
            f"stage1.epochs is 0 and thaw is {self.thaw!r}, so neither the head nor late layers would be trained; set "
            f"stage1.epochs (--epochs) or thaw late layers (--thaw last)",
        )
