"""A folder that timm loads by itself: ``timm.create_model("local-dir:FOLDER", pretrained=True)``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch
from safetensors.torch import load_file, save

from retop.errors import ExportError
from retop.export.parity import ExportedPart
from retop.predictor import Predictor
from retop.schema import write_bytes, write_json


def write_timm(predictor: Predictor, folder: Path) -> None:
    """Write config.json and model.safetensors; the temperature is folded into the last layer.

    Args:
        predictor: the model.
        folder: where to; created.

    Raises:
        ExportError: the head is one that timm does not know.
    """
    trained = predictor.trained
    if trained.head.kind != "linear":
        raise ExportError(
            f"timm has no {trained.head.kind} head; --format onnx or torch can hold this model, or train one with "
            f"--set head.kind=linear"
        )
    config = json.loads((predictor.folder / "config.json").read_text(encoding="utf-8"))
    state = load_file(predictor.folder / "model.safetensors")
    head = config["pretrained_cfg"]["classifier"]
    for name in (f"{head}.weight", f"{head}.bias"):
        state[name] = state[name] / predictor.temperature
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "model.safetensors", save(state, metadata={"format": "pt"}))
    write_json(folder / "config.json", {key: value for key, value in config.items() if key != "retop"})


def open_timm(folder: Path) -> ExportedPart:
    """The folder as timm loads it, with timm's own mean and standard deviation.

    Args:
        folder: what `write_timm` wrote.

    Returns:
        The folder, ready to answer.

    Raises:
        ExportError: timm refuses it.
    """
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except RuntimeError as error:
        raise ExportError(
            f"timm cannot load this architecture without its original classifier: {str(error)[:300]}; use --format "
            f"onnx or torch"
        ) from error
    config: Any = network.pretrained_cfg
    mean, std = (torch.tensor(config[key]).reshape(3, 1, 1) for key in ("mean", "std"))

    def answer(images_nchw: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
        with torch.inference_mode():
            logits_nk = network((torch.from_numpy(images_nchw).float() / 255 - mean) / std)
        return torch.softmax(logits_nk, dim=1).numpy()

    return ExportedPart(folder, "network", answer)
