"""`retop serve`."""

from pathlib import Path
from typing import Annotated

import typer

from retop.bounds import PIXEL_LIMIT
from retop.cli.options import Device, DeviceOption, RejectOption, TargetOption


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Model folders or run folders; NAME=FOLDER names one.", show_default=False
        ),
    ],
    host: Annotated[str, typer.Option("--host", help="Address; other machines need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="FILE", help="Requests must carry the key in this file.")
    ] = None,
    reject_below: RejectOption = None,
    target_accuracy: TargetOption = None,
    batch: Annotated[int, typer.Option("--batch", help="Images the network sees at once, at most.")] = 32,
    waiting: Annotated[int, typer.Option("--waiting", help="Images that may wait; more are answered 429.")] = 256,
    body_mib: Annotated[int, typer.Option("--body-limit", metavar="MIB", help="Most bytes of a request.")] = 64,
    megapixels: Annotated[
        int,
        typer.Option(
            "--pixel-limit",
            metavar="MILLIONS",
            help=f"Most pixels of an image; predict takes {PIXEL_LIMIT // 1_000_000} million.",
        ),
    ] = 50,
    decoders: Annotated[int, typer.Option("--decoders", help="Processes that decode images.")] = 2,
    stop_seconds: Annotated[
        float,
        typer.Option(
            "--stop-seconds", metavar="SECONDS", help="Most time to answer accepted requests after the signal to stop."
        ),
    ] = 300.0,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Serve trained models over HTTP, with a page to try them; Ctrl-C stops it."""
    from retop import api
    from retop.serving.limits import MIB, Limits

    limits = {
        "batch": batch,
        "waiting_images": waiting,
        "images": min(Limits.images, waiting),
        "body_bytes": body_mib * MIB,
        "waiting_bytes": max(Limits.waiting_bytes, body_mib * MIB),
        "pixels": megapixels * 1_000_000,
        "decoders": decoders,
        "stop_seconds": stop_seconds,
    }
    api.serve(
        models,
        host=host,
        port=port,
        api_key_file=api_key_file,
        reject_below=reject_below,
        target_accuracy=target_accuracy,
        device=device.value,
        limits=limits,
    )
