"""`retop predict`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from retop.cli.options import Device, DeviceOption, JsonOption, RejectOption, TargetOption
from retop.cli.progress import ProgressDisplay
from retop.errors import DataError
from retop.events import Listener, PartAdvanced, PartFinished, PartStarted

if TYPE_CHECKING:
    from retop.predictor import Prediction

ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A model folder, or a run's folder.", show_default=False)
]
ImagesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES...",
        help="Image files, folders, patterns, tables with a column of paths, or - for a list on standard input.",
        show_default=False,
    ),
]

PART = "predict"


def predict(
    model: ModelArgument,
    images: ImagesArgument,
    recursive: Annotated[bool, typer.Option("--recursive/--flat", help="Folders with their sub-folders.")] = True,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write .csv, .jsonl or .parquet; the same command again goes on."
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, help="Classes to print for each image.")] = 1,
    reject_below: RejectOption = None,
    target_accuracy: TargetOption = None,
    explain: Annotated[
        Path | None, typer.Option("--explain", metavar="DIR", help="Write a heat map of every image's answer.")
    ] = None,
    device: DeviceOption = Device.AUTO,
    json_: JsonOption = False,
) -> None:
    """Classify images with a trained model; one line each."""
    from retop import api
    from retop.predictor.inputs import find_inputs
    from retop.predictor.output import PredictionFile

    predictor = api.load(model, device.value, reject_below=reject_below, target_accuracy=target_accuracy)
    # The pages of images to come are read as they are needed: there may be any number.
    paths: Iterator[str] = iter(find_inputs(images, recursive, sys.stdin))
    file = PredictionFile(output, predictor, top) if output is not None else None
    with ProgressDisplay(Console(stderr=True)) as listener:
        listener(PartStarted(PART, None, "images"))
        if file is not None:
            listener(PartAdvanced(PART, file.num_done))
            answers = file.gather(predictor.stream(file.remaining(paths)))
        else:
            answers = predictor.stream(paths)
        unreadable = 0
        for prediction in _advancing(answers, listener):
            unreadable += prediction.error is not None
            if file is None:
                typer.echo(_as_json(prediction) if json_ else _as_line(prediction, top))
            if explain is not None and prediction.error is None:
                api.explain(predictor, prediction.path, explain)
        listener(PartFinished(PART, 0.0))
    if file is not None:
        file.finish()
    if unreadable:
        raise DataError(f"{unreadable} of the images cannot be read; their lines say why")


def _advancing(predictions: "Iterator[Prediction]", listener: Listener) -> "Iterator[Prediction]":
    for prediction in predictions:
        yield prediction
        listener(PartAdvanced(PART, 1))


def _as_line(prediction: "Prediction", top: int) -> str:
    if prediction.error is not None:
        return f"{prediction.path}\tunreadable: {prediction.error}"
    refused = ["none of these"] if prediction.rejected else []
    best = [f"{label} {probability:.4f}" for label, probability in prediction.best(top)]
    return "\t".join([prediction.path, *refused, *best])


def _as_json(prediction: "Prediction") -> str:
    from retop.schema import to_plain

    return json.dumps(to_plain(prediction), ensure_ascii=False)
