"""`retop predict`."""

import io
import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from retop.cli.options import Device, DeviceOption, ExcludeOption, JsonOption, RejectOption, TargetOption
from retop.cli.progress import ProgressDisplay
from retop.errors import DataError, StoppedError, UsageError
from retop.events import Listener, Notice, PartAdvanced, PartFinished, PartStarted
from retop.terminal import printable

if TYPE_CHECKING:
    from retop.predictor import Prediction, Predictor

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
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="K",
            min=1,
            help="Classes of each image, the most probable first. Without it: one; all of them with --json.",
        ),
    ] = None,
    exclude: ExcludeOption = None,
    reject_below: RejectOption = None,
    target_accuracy: TargetOption = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain", metavar="DIR", help="Write a heat map of every image's answer, and maps.csv that lists them."
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    json_: JsonOption = False,
) -> None:
    """Classify images with a trained model; one line each."""
    from retop import api
    from retop.data.lists import Unwanted
    from retop.evaluation.numerals import count
    from retop.predictor.inputs import find_inputs

    if output is not None and json_:
        raise UsageError("--json prints the answers, --output writes them; give one (--output FILE.jsonl holds JSON)")
    predictor = api.load(model, device.value, reject_below=reject_below, target_accuracy=target_accuracy)
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Names of files may be any bytes.
        sys.stdin.reconfigure(errors="surrogateescape")
    # The pages of images to come are read as they are needed: there may be any number.
    unwanted = None if exclude is None else Unwanted(exclude)
    paths = find_inputs(images, recursive, sys.stdin, apart=explain, unwanted=unwanted)
    with ProgressDisplay(Console(stderr=True)) as listener:
        if reject_below is not None or target_accuracy is not None:
            listener(Notice("note", _threshold(predictor)))
        listener(PartStarted(PART, None, "images"))
        if output is not None:
            answered, unreadable = _write(predictor, paths, output, top or 1, explain, listener)
        else:
            answered = unreadable = 0
            for prediction in _answers(predictor, paths, explain, listener):
                answered, unreadable = answered + 1, unreadable + (prediction.error is not None)
                typer.echo(_as_json(prediction, top) if json_ else _as_line(prediction, top or 1))
        listener(PartFinished(PART, 0.0))
        if unwanted is not None:
            unwanted.tell(listener)
    if unreadable:
        lines = "line says" if unreadable == 1 else "lines say"
        raise DataError(f"{unreadable:,} of {count(answered, 'image')} cannot be read; the {lines} why")


def _write(
    predictor: "Predictor", paths: Iterable[str], output: Path, top: int, explain: Path | None, listener: Listener
) -> tuple[int, int]:
    """Write answers to a file; how many there are, and how many of the images cannot be read."""
    from retop.evaluation.numerals import count
    from retop.predictor.output import PredictionFile

    with PredictionFile(output, predictor, top, listener) as file:
        listener(PartAdvanced(PART, file.num_done))
        try:
            for _ in file.gather(_answers(predictor, file.remaining(paths), explain, listener)):
                pass
            file.finish()
        except KeyboardInterrupt as stop:
            raise StoppedError(
                f"interrupted; {count(file.num_done, 'answer')} kept in {shlex.quote(str(file.partial))}: the same "
                f"command goes on from there"
            ) from stop
        return file.num_done, file.num_unreadable


def _answers(
    predictor: "Predictor", paths: Iterable[str], explain: Path | None, listener: Listener
) -> "Iterator[Prediction]":
    """Answers, with the heat map of each where they are asked for."""
    from retop.explanation.folder import MapFolder

    maps = MapFolder(explain) if explain is not None else None
    for prediction in predictor.stream(paths):
        if maps is not None and prediction.error is None:
            maps.write(predictor, prediction.path, prediction.best(1)[0][0])
        yield prediction
        listener(PartAdvanced(PART, 1))


def _threshold(predictor: "Predictor") -> str:
    """What the threshold means by the validation images."""
    from retop.evaluation.numerals import count, percent, percent_range

    said = f"answers with a confidence below {predictor.reject_below:.4f} are refused"
    known = predictor.acceptance
    if known is None:
        return said
    covered = f"{percent(known.coverage.value, known.n)} ({percent_range(known.coverage, known.n)})"
    right = "none"
    if known.accuracy is not None:
        n = known.num_accepted
        right = f"{percent(known.accuracy.value, n)} ({percent_range(known.accuracy, n)})"
    return f"{said}; of {count(known.n, 'validation image')} that answers {covered}, {right} of them rightly"


def _as_line(prediction: "Prediction", top: int) -> str:
    from retop.data.sources.names import shown

    path = shown(prediction.path)
    refused = ["none of these"] if prediction.rejected else []
    answers = [f"{label} {probability:.4f}" for label, probability in prediction.best(top)]
    if prediction.error is not None:
        answers = [f"unreadable: {prediction.error}"]
    return "\t".join(map(printable, [path, *refused, *answers]))


def _as_json(prediction: "Prediction", top: int | None) -> str:
    from retop.data.sources.names import shown
    from retop.schema import to_plain

    plain = to_plain(prediction) | {"path": shown(prediction.path)}
    if top is not None:
        plain["probabilities"] = dict(prediction.best(top)) if prediction.probabilities else {}
    return printable(json.dumps(plain, ensure_ascii=False))
