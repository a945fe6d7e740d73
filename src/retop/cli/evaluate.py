"""`retop evaluate`."""

import json

import typer
from rich.console import Console

from retop.cli.options import DataArgument, Device, DeviceOption, JsonOption
from retop.cli.predict import ModelArgument
from retop.cli.progress import ProgressDisplay
from retop.schema import to_plain


def evaluate(
    model: ModelArgument, data: DataArgument, device: DeviceOption = Device.AUTO, json_: JsonOption = False
) -> None:
    """Measure a trained model on labelled images: the test split, or validation, or all that there are."""
    from retop import api
    from retop.cli.tables import metrics_table, misses_table

    with ProgressDisplay(Console(stderr=True)) as listener:
        metrics = api.evaluate(model, data, device=device.value, listener=listener)
    if json_:
        typer.echo(json.dumps(to_plain(metrics), indent=1, ensure_ascii=False))
        return
    console = Console()
    console.print(metrics_table(metrics))
    if metrics.missed:
        console.print(misses_table(metrics))
