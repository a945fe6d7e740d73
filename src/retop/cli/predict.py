"""`retop predict`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retop.cli.options import Device, DeviceOption, JsonOption
from retop.errors import DataError

if TYPE_CHECKING:
    from retop.predictor import Prediction

ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A model folder, or a run's folder.", show_default=False)
]
ImagesArgument = Annotated[
    list[Path], typer.Argument(metavar="IMAGES...", help="Image files, or folders of them.", show_default=False)
]


def predict(
    model: ModelArgument,
    images: ImagesArgument,
    top: Annotated[int, typer.Option("--top", metavar="K", help="Classes to print for each image.")] = 1,
    device: DeviceOption = Device.AUTO,
    json_: JsonOption = False,
) -> None:
    """Classify images with a trained model; one line each."""
    from retop import api

    predictor = api.load(model, device.value)
    unreadable = 0
    for prediction in predictor.stream(_expand(images)):
        unreadable += prediction.error is not None
        typer.echo(_as_json(prediction) if json_ else _as_line(prediction, top))
    if unreadable:
        raise DataError(f"{unreadable} of the images cannot be read; their lines say why")


def _expand(paths: list[Path]) -> list[Path]:
    """Files as they are, folders as the image files in them, in the order of their names."""
    from retop.data.sources import find_image_files

    found: list[Path] = []
    for path in paths:
        found += find_image_files(path) if path.is_dir() else [path]
    return found


def _as_line(prediction: "Prediction", top: int) -> str:
    if prediction.error is not None:
        return f"{prediction.path}\tunreadable: {prediction.error}"
    best = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[: max(1, top)]
    return "\t".join([prediction.path, *(f"{label} {probability:.4f}" for label, probability in best)])


def _as_json(prediction: "Prediction") -> str:
    from retop.schema import to_plain

    return json.dumps(to_plain(prediction), ensure_ascii=False)
