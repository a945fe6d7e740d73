"""The faults that the benchmark plants, one at a time, and the findings that name them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch.nn.modules.batchnorm import _BatchNorm

import retop
import retop.pipeline.run
from diagnosis_data import Pictures
from retop.data import Dataset, ImageSet, decode_batches
from retop.predictor import Predictor
from retop.recipe import ViewsRecipe
from retop.records import FinishedRun, Predictions

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
        plant: changes the images; None leaves them.
        narrow_weights: whether the pretrained network's last layer drops all channels but one.
        training: a context around the training.
        answered_elsewhere: answers that another program gives, from the run's folder and its images.
        present: whether the fault came about, measured on the finished run; what is planted in the images always is.
    """

    name: str
    named_by: tuple[str, ...]
    settings: Settings = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    plant: Callable[[Splits, np.random.Generator], Splits] | None = None
    narrow_weights: bool = False
    training: Callable[[], Any] = nullcontext
    answered_elsewhere: Callable[[Path, Dataset], Predictions | None] = lambda _folder, _data: None
    present: Callable[[FinishedRun], bool] = lambda _: True


def _permute(splits: Splits, _: np.random.Generator) -> Splits:
    names = list(splits["test"])
    return splits | {"test": {name: splits["test"][names[place - 1]] for place, name in enumerate(names)}}


def _mislabel(splits: Splits, generator: np.random.Generator) -> Splits:
    """Three images in ten stand in another class."""
    names = list(splits["train"])
    train: Pictures = {name: [] for name in names}
    for place, name in enumerate(names):
        for image in splits["train"][name]:
            other = (place + int(generator.integers(1, len(names)))) % len(names)
            train[names[other] if generator.random() < 0.3 else name].append(image)
    return splits | {"train": train}


def _deal(splits: Splits, generator: np.random.Generator) -> Splits:
    """Every image stands in a class of chance."""
    dealt: Splits = {}
    for split, classes in splits.items():
        images = [image for own in classes.values() for image in own]
        order = iter(generator.permutation(len(images)))
        dealt[split] = {name: [images[next(order)] for _ in own] for name, own in classes.items()}
    return dealt


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
    """All classes but the first keep one training image in forty, and one in five of the others."""
    first = next(iter(splits["train"]))
    return {
        split: {
            name: images if name == first else images[: len(images) // (40 if split == "train" else 5)]
            for name, images in classes.items()
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
def _before_saving(spoil: Callable[[Any, Any], None]) -> Iterator[None]:
    """Do something to backbone and head between training and the model folder."""
    own = retop.pipeline.run.save_model_folder

    def save(folder: Path, backbone: Any, head: Any, record: Any) -> Any:
        spoil(backbone, head)
        return own(folder, backbone, head, record)

    retop.pipeline.run.save_model_folder = save
    try:
        yield
    finally:
        retop.pipeline.run.save_model_folder = own


def spoilt_statistics() -> Any:
    """The saved model's batch norms get statistics of images that were not rescaled to 0..1."""

    def spoil(backbone: Any, _: Any) -> None:
        network = backbone.network
        side = backbone.preprocessing.height, backbone.preprocessing.width
        images_nchw = torch.rand((32, 3, *side), generator=torch.Generator().manual_seed(0)) * 255
        for norm in (module for module in network.modules() if isinstance(module, _BatchNorm)):
            norm.train()
            norm.momentum = 1.0
        with torch.no_grad():
            network(images_nchw)
        network.eval()

    return _before_saving(spoil)


def head_lost() -> Any:
    """The saved model has the head that training began with, which knows nothing."""

    def spoil(_: Any, head: Any) -> None:
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.zero_()

    return _before_saving(spoil)


def not_rescaled(folder: Path, data: Dataset) -> Predictions | None:
    """Test images answered by a program that does not divide them by 255, as the original experiment did."""
    if data.test is None:
        raise RuntimeError("the benchmark's data has a test split")
    return answers_to_larger(Predictor(folder / "model"), data.test)


def answers_to_larger(predictor: Predictor, images: ImageSet) -> Predictions:
    """A model's answers to images whose values are 255 times too large."""
    rows, network = np.arange(len(images)), predictor.classifier.eval()
    views = ViewsRecipe(preset="none", count=1)
    batches = decode_batches(images, rows, np.zeros_like(rows), predictor.trained.preprocessing, views, 32)
    with torch.inference_mode():
        logits_nk = torch.cat([network(batch.float() * 255) for batch in batches]).numpy()
    paths = tuple(images.path(place) for place in range(len(images)))
    return Predictions(images.split, paths, images.classes, images.labels_n, logits_nk)


def _learned_by_heart(run: FinishedRun) -> bool:
    """Training images are right, validation images less often, and their loss has risen by half."""
    last, lowest = run.epochs[-1], min(epoch.validation_loss for epoch in run.epochs)
    train = last.train_eval_accuracy or 0.0
    return train > 0.95 and train > last.validation_accuracy and last.validation_loss > 1.5 * lowest


def _learned_too_little(run: FinishedRun) -> bool:
    """A logistic regression on the same features has less than half of the loss, and on other images."""
    refit = run.record.isolation.head_refit if run.record.isolation else None
    return refit is not None and (run.epochs[-1].train_eval_loss or 0.0) > 2 * refit.log_loss


def _hardly_moved(run: FinishedRun) -> bool:
    return (run.epochs[-1].train_eval_loss or 0.0) > 0.8 * (run.epochs[0].train_eval_loss or 1.0)


def _would_learn_on(run: FinishedRun) -> bool:
    """The last epoch is the best by its loss, which still falls."""
    return run.epochs[-1].validation_loss <= min(epoch.validation_loss for epoch in run.epochs)


def _thrown_about(run: FinishedRun) -> bool:
    """The stage ends with a larger loss on its own training images than it began with, or jumps by 5 points a time."""
    jumps = np.abs(np.diff([epoch.validation_accuracy for epoch in run.epochs[1:]]))
    larger = (run.epochs[-1].train_eval_loss or 0.0) > (run.epochs[0].train_eval_loss or 0.0)
    return larger or float(jumps.mean()) > 0.05


def _lost_in_stage_2(run: FinishedRun) -> bool:
    stage = [epoch.validation_accuracy for epoch in run.epochs if epoch.stage == 2]
    return float(np.median(stage[1:])) < stage[0] - 0.05


def _worse_when_saved(run: FinishedRun) -> bool:
    return run.record.validation.accuracy.value < run.record.stages[-1].validation_accuracy - 0.1


def _answers_one_class(run: FinishedRun) -> bool:
    answered_k = np.array(run.record.validation.confusion).sum(axis=0)
    return bool(answered_k.max() >= 0.95 * answered_k.sum())


def _rare_classes_lost(run: FinishedRun) -> bool:
    metrics = run.record.validation
    return metrics.balanced_accuracy.value < metrics.accuracy.value - 0.1


HEAD = {"thaw": "none", "stage2.epochs": 0, "views.count": 1, "views.preset": "none"}
LATE = {"thaw": 2, "views.count": 1, "views.preset": "none", "stage2.patience": None, "stage2.schedule": "constant"}
FREE = {"stage1.patience": None, "stage1.schedule": "constant", "stage1.min_steps": 0}
FAULTS = (
    Fault("overfitting", ("R01",), LATE | {"stage2.epochs": 60, "stage2.optimiser": "adamw",
          "stage2.learning_rate": 5e-3, "stage2.weight_decay": 0.0}, sizes={"train": 5}, present=_learned_by_heart),
    Fault("underfitting", ("R02",), HEAD | FREE | {"stage1.epochs": 15, "stage1.weight_decay": 30.0,
          "stage1.learning_rate": 0.003}, present=_learned_too_little),
    Fault("not converged", ("R03",), HEAD | FREE | {"stage1.epochs": 4, "stage1.weight_decay": 1e-3,
          "stage1.learning_rate": 1.4e-3}, present=_would_learn_on),
    Fault("steps too large", ("R05",), HEAD | FREE | {"stage1.epochs": 12, "stage1.learning_rate": 50.0,
          "stage1.weight_decay": 1e-3, "stage1.warmup_fraction": 0.0}, present=_thrown_about),
    Fault("steps too small", ("R06",), HEAD | FREE | {"stage1.epochs": 8, "stage1.learning_rate": 1e-5,
          "stage1.weight_decay": 1e-3}, present=_hardly_moved),
    Fault("features destroyed", ("R09", "R05"), LATE | {"stage2.epochs": 6, "stage2.learning_rate": 1.0},
          present=_lost_in_stage_2),
    Fault("batch-norm statistics of other images", ("R10",), HEAD, training=spoilt_statistics,
          present=_worse_when_saved),
    Fault("head lost when saved", ("R27", "R11"), HEAD, training=head_lost, present=_answers_one_class),
    Fault("classes permuted between splits", ("R12",), HEAD, plant=_permute),
    Fault("nearly duplicate classes", ("R13",), HEAD, plant=_divide,
          sizes={"train": 50, "validation": 100, "test": 25}),
    Fault("imbalance", ("R14",), HEAD | {"stage1.weight_decay": 100.0}, plant=_thin_out, present=_rare_classes_lost,
          sizes={"train": 80, "validation": 60, "test": 35}),
    Fault("labels unrelated to the images", ("R19",), HEAD, plant=_deal),
    Fault("labels wrong", ("R15",), HEAD, plant=_mislabel),
    Fault("labels wrong, 100 images of each class", ("R15",), HEAD, plant=_mislabel,
          sizes={"train": 100, "validation": 50, "test": 50}),
    Fault("labels wrong, 200 images of each class", ("R15",), HEAD, plant=_mislabel,
          sizes={"train": 200, "validation": 50, "test": 50}),
    Fault("test images not rescaled elsewhere", ("R16",), HEAD, answered_elsewhere=not_rescaled),
    Fault("shift", ("R17",), HEAD, plant=_blur),
    Fault("leak", ("R18",), HEAD, plant=_leak),
    Fault("boundary too deep", ("R23",), HEAD, narrow_weights=True),
    Fault("give-away", ("R20",), HEAD, plant=_frame),
)  # fmt: skip
