"""What can be done with a trained model here: `load`, `evaluate`, `explain`."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retop.api.arguments import settings_as_yaml
from retop.api.notices import warn
from retop.data import open_evaluation
from retop.device import DeviceName
from retop.evaluation import measure
from retop.events import Listener, PartFinished, PartStarted
from retop.predictor import Predictor
from retop.recipe import apply_settings, load_recipe
from retop.records import Metrics


def load(
    model: str | Path,
    device: DeviceName = "cpu",
    *,
    reject_below: float | None = None,
    target_accuracy: float | None = None,
) -> Predictor:
    """Load a trained model.

    Args:
        model: a model folder, or a run's folder.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for a GPU if there is one.
        reject_below: refuse answers with a lower confidence ("none of these"); None for the threshold in the folder.
        target_accuracy: choose that threshold so that the answers given reach this accuracy on validation.

    Returns:
        A predictor: ``load(folder).predict("photo.jpg")``.

    Raises:
        ModelFolderError: the folder cannot be loaded.
        UsageError: the device is not there, or the threshold cannot be had.
    """
    return Predictor(model, device, reject_below=reject_below, target_accuracy=target_accuracy)


def evaluate(
    model: str | Path | Predictor,
    data: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    device: DeviceName = "cpu",
    listener: Listener = warn,
) -> Metrics:
    """Measure a trained model on labelled images.

    Args:
        model: a model folder, or a loaded predictor.
        data: a folder as for `compare`: its test images are used, or its validation images. Where there are neither:
            if the model was trained on this folder with the default split, the test images of that split; otherwise
            all, with a warning, for the model may have been trained on some of them.
        settings: changes to the recipe's section ``data``: columns, exclusions, and the split of training.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for a GPU if there is one; a loaded predictor keeps its own.
        listener: receives progress and notices; without one, warnings come as Python warnings.

    Returns:
        The metrics.

    Raises:
        ModelFolderError: the folder cannot be loaded.
        UsageError: the device is not there.
        DataError: the images cannot be used.
    """
    predictor = model if isinstance(model, Predictor) else Predictor(model, device)
    recipe = apply_settings(load_recipe("default"), settings_as_yaml(settings)).data
    images = open_evaluation(data, predictor.classes, listener, predictor.trained.data_fingerprint, recipe)
    listener(PartStarted("evaluation", len(images), "images"))
    predictions = predictor.evaluate(images, "evaluation", listener)
    listener(PartFinished("evaluation", 0.0))
    return measure(predictions, predictor.precision, predictor.temperature)


def explain(model: str | Path | Predictor, image: str | Path, folder: str | Path, label: str | None = None) -> Path:
    """Write a heat map: the parts of an image that speak for a class.

    Args:
        model: a model folder, or a loaded predictor.
        image: path of an image.
        folder: where to; created.
        label: the class; None for the most probable one.

    Returns:
        The PNG, named after the image; a number is added where the name is taken.

    Raises:
        UnreadableImageError: the image cannot be read.
    """
    from retop.explanation import overlay_of
    from retop.predictor.prediction import read_pixels

    predictor = model if isinstance(model, Predictor) else Predictor(model)
    picture = overlay_of(predictor, read_pixels(image, predictor.trained.preprocessing), label)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    names = itertools.chain([Path(image).stem], (f"{Path(image).stem}-{n}" for n in itertools.count(2)))
    file = next(place / f"{name}.png" for name in names if not (place / f"{name}.png").exists())
    picture.save(file)
    return file
