"""`retop evaluate`."""

import json

import typer
from rich.console import Console

from retop.cli.options import (
    ColumnsOption,
    DataArgument,
    Device,
    DeviceOption,
    ExcludeOption,
    GroupOption,
    GroupPatternOption,
    JsonOption,
    SplitFileOption,
    SplitOption,
)
from retop.cli.predict import ModelArgument
from retop.cli.progress import ProgressDisplay
from retop.cli.reading import read_data_settings
from retop.schema import to_plain


def evaluate(
    model: ModelArgument,
    data: DataArgument,
    split: SplitOption = None,
    split_file: SplitFileOption = None,
    group: GroupOption = None,
    group_pattern: GroupPatternOption = None,
    exclude: ExcludeOption = None,
    columns: ColumnsOption = None,
    device: DeviceOption = Device.AUTO,
    json_: JsonOption = False,
) -> None:
    """Measure a trained model on labelled images: the test split, or validation, or all that there are."""
    from retop import api
    from retop.cli.tables import metrics_table, misses_table

    with ProgressDisplay(Console(stderr=True)) as listener:
        settings = read_data_settings(split, None, split_file, group, group_pattern, exclude, columns)
        metrics = api.evaluate(model, data, settings=settings, device=device.value, listener=listener)
    if json_:
        typer.echo(json.dumps(to_plain(metrics), indent=1, ensure_ascii=False))
        return
    console = Console()
    console.print(metrics_table(metrics))
    if metrics.missed:
        console.print(misses_table(metrics))
