"""How a trained model leaves: `export`, `serve`, `push`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retop.api.notices import warn
from retop.device import DeviceName
from retop.errors import ServingError, UsageError
from retop.events import Listener
from retop.predictor import Predictor

if TYPE_CHECKING:
    from retop.export import Exported
    from retop.export import Format as ExportFormat
    from retop.export.hub import Pushed


def export(
    model: str | Path | Predictor,
    format: "ExportFormat" = "onnx",  # noqa: A002 - the option's name
    *,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    data: str | Path | None = None,
    out: str | Path | None = None,
    images: int = 64,
    allowed_drop: float = 0.02,
    listener: Listener = warn,
) -> "Exported":
    """Write a model in another format, and prove on real images that it answers as the model does.

    Args:
        model: a model folder, or a loaded predictor on the CPU.
        format: ``onnx``, ``torch`` (torch.export), ``timm`` or ``openvino``.
        precision: ``fp32``; ``fp16`` and ``int8`` for ONNX.
        data: images for the check; None for those of the model's run.
        out: folder to write; None for one beside the model folder.
        images: of the check, at least 64.
        allowed_drop: fraction of the images whose right answer fp16 and int8 may lose.
        listener: receives progress and notices.

    Returns:
        The folder and the figures of the check.

    Raises:
        UsageError: arguments contradict each other, the folder holds something, or nothing says where images are.
        DataError: the images cannot be used.
        ExportError: the format cannot hold the model, or a file does not answer as the model does.
    """
    from retop.export import ExportRequest, export_model

    request = ExportRequest(format, precision, images, allowed_drop)
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    return export_model(predictor, request, data, None if out is None else Path(out), listener)


def serve(
    models: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key_file: str | Path | None = None,
    reject_below: float | None = None,
    target_accuracy: float | None = None,
    device: DeviceName = "auto",
    limits: Mapping[str, float] | None = None,
) -> None:
    """Serve trained models over HTTP until the process is told to stop.

    Args:
        models: model folders or run folders; ``NAME=FOLDER`` names one.
        host: address to listen on; anything but this machine takes a key.
        port: 0 takes a free one.
        api_key_file: holds the key that requests must carry.
        reject_below: refuse answers with a lower confidence; None for the threshold in each folder.
        target_accuracy: choose that threshold so that the answers given reach this accuracy on validation.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for a GPU if there is one.
        limits: changes to `retop.serving.Limits`.

    Raises:
        UsageError: two models have one name, or the options contradict each other.
        ModelFolderError: a folder cannot be loaded.
        ServingError: the address cannot be had, or the server's packages are missing.
    """
    try:
        from retop.serving import Limits, serve_models
    except ImportError as error:
        raise ServingError(f"the server needs {error.name}: pip install 'retop[serve]'") from error

    predictors: dict[str, Predictor] = {}
    for model in models:
        name, folder = name_model(str(model))
        if name in predictors:
            raise UsageError(f"two models are called {name!r}; name them: retop serve first={folder} second=...")
        predictors[name] = Predictor(folder, device, reject_below=reject_below, target_accuracy=target_accuracy)
        predictors[name].fold()
    key_file = None if api_key_file is None else Path(api_key_file)
    serve_models(predictors, host, port, key_file, Limits(**dict(limits or {})))  # type: ignore[arg-type]


def name_model(text: str) -> tuple[str, Path]:
    """Name and folder of ``NAME=FOLDER``, or of a folder: the run's name, else the folder's."""
    name, equals, folder = text.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", name) and not Path(text).exists():
        return name, Path(folder)
    path = Path(text).resolve()
    own = path.parent.name if path.name == "model" else path.name
    return re.sub(r"[^\w.-]+", "-", own) or "model", Path(text)


def push(model: str | Path | Predictor, repository: str, *, private: bool = False, dry_run: bool = False) -> "Pushed":
    """Share a model on the Hugging Face hub.

    Args:
        model: a model folder, or a loaded predictor.
        repository: ``user/name``; made where it does not exist.
        private: make a new repository private.
        dry_run: send nothing.

    Returns:
        The files, and the address.

    Raises:
        UsageError: the name is no repository's.
        ExportError: the hub refuses, or cannot be reached.
    """
    from retop.export.hub import push_model

    predictor = model if isinstance(model, Predictor) else Predictor(model)
    return push_model(predictor, repository, private, dry_run)
