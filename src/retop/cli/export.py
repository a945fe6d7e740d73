"""`retop export`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from retop.cli.options import JsonOption
from retop.cli.predict import ModelArgument
from retop.cli.progress import ProgressDisplay
from retop.schema import to_plain


def export(
    model: ModelArgument,
    format_: Annotated[str, typer.Option("--format", metavar="F", help="onnx, torch, timm or openvino.")] = "onnx",
    precision: Annotated[
        str, typer.Option("--precision", metavar="P", help="fp32; fp16 or int8 with --format onnx.")
    ] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DATA", help="Images for the check. Without it: those of the model's run."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write. Without it: beside the model folder.")
    ] = None,
    images: Annotated[int, typer.Option("--images", metavar="N", help="Images of the check, at least 64.")] = 64,
    allowed_drop: Annotated[
        float,
        typer.Option(
            "--allowed-drop", metavar="D", help="Fraction of images whose right answer fp16 and int8 may lose."
        ),
    ] = 0.02,
    json_: JsonOption = False,
) -> None:
    """Write a model in another format, and prove on real images that it answers as the model does."""
    from retop import api
    from retop.cli.tables import parity_table

    with ProgressDisplay(Console(stderr=True)) as listener:
        exported = api.export(
            model,
            format_,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            data=data,
            out=out,
            images=images,
            allowed_drop=allowed_drop,
            listener=listener,
        )
    if json_:
        typer.echo(json.dumps(to_plain(exported.rows), indent=1, ensure_ascii=False))
        return
    Console().print(parity_table(exported))
