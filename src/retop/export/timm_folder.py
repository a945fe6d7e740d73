"""A folder that timm loads by itself: ``timm.create_model("local-dir:FOLDER", pretrained=True)``."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_file, save

from retop.backbones import has_plain_timm
from retop.data.frames import end_process, read_frame, write_frame
from retop.errors import ExportError
from retop.export.parity import ExportedPart
from retop.predictor import Predictor
from retop.schema import write_bytes, write_json


def write_timm(predictor: Predictor, folder: Path) -> None:
    """Write config.json, model.safetensors and README.md; the temperature is folded into the last layer.

    Args:
        predictor: the model.
        folder: where to; created.

    Raises:
        ExportError: the head or the network is one that timm does not know.
    """
    trained = predictor.trained
    if trained.head.kind != "linear":
        raise ExportError(
            f"timm has no {trained.head.kind} head; --format onnx or torch can hold this model, or train one with "
            f"--set head.kind=linear"
        )
    config = json.loads((predictor.folder / "config.json").read_text(encoding="utf-8"))
    state = load_file(predictor.folder / "model.safetensors")
    if not has_plain_timm(config["architecture"]):
        raise ExportError(
            f"timm alone does not know the architecture {config['architecture']}, which comes with retop: whoever "
            f"loads the folder would be told 'Unknown model'; --format onnx or torch can hold this model"
        )
    head = config["pretrained_cfg"]["classifier"]
    for name in (f"{head}.weight", f"{head}.bias"):
        state[name] = state[name] / predictor.temperature
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "model.safetensors", save(state, metadata={"format": "pt"}))
    write_json(folder / "config.json", {key: value for key, value in config.items() if key != "retop"})
    write_bytes(folder / "README.md", _card(predictor).encode())


@contextmanager
def open_timm(folder: Path, predictor: Predictor) -> Iterator[ExportedPart]:
    """The folder as timm loads it in a process without retop, with timm's own mean and standard deviation.

    Args:
        folder: what `write_timm` wrote.
        predictor: the model, for its sizes.

    Yields:
        The folder, ready to answer.

    Raises:
        ExportError: timm refuses it.
    """
    prepared = predictor.trained.preprocessing
    command = [sys.executable, "-c", _PLAIN, str(folder), str(prepared.height), str(prepared.width)]
    with tempfile.TemporaryFile() as errors, ExitStack() as stack:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        stack.callback(end_process, process)
        pipes: Any = process

        def read() -> npt.NDArray[np.floating]:
            if (frame := read_frame(pipes.stdout)) is None:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise ExportError(f"timm alone cannot run this folder: {said[:300]}; use --format onnx or torch")
            return np.frombuffer(frame, np.float32).reshape(-1, len(predictor.classes))

        def answer(images_nchw: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
            # Where it is gone, reading says why.
            with suppress(BrokenPipeError):
                write_frame(pipes.stdin, np.ascontiguousarray(images_nchw).tobytes())
            return read()

        # The first answer says that the network is loaded.
        read()
        yield ExportedPart(folder, "network", answer)


_PLAIN = """
import sys
import numpy as np
import timm
import torch
network = timm.create_model(f"local-dir:{sys.argv[1]}", pretrained=True).eval()
mean, std = (torch.tensor(network.pretrained_cfg[key]).reshape(3, 1, 1) for key in ("mean", "std"))
given, answers = sys.stdin.buffer, sys.stdout.buffer
def send(content):
    answers.write(len(content).to_bytes(8, "big") + content)
    answers.flush()
send(b"")
while head := given.read(8):
    pixels = np.frombuffer(bytearray(given.read(int.from_bytes(head, "big"))), np.uint8)
    images = torch.from_numpy(pixels).reshape(-1, 3, int(sys.argv[2]), int(sys.argv[3]))
    with torch.inference_mode():
        logits = network((images.float() / 255 - mean) / std)
    send(torch.softmax(logits, dim=1).numpy().tobytes())
"""

_CARD = """# {backbone}, for timm

    import timm
    network = timm.create_model("local-dir:FOLDER", pretrained=True).eval()

Logits follow the order of `label_names` in config.json. The model's temperature ({temperature:.4f}) is divided into the
last layer: softmax of the logits gives the probabilities that retop gives.

timm knows no "none of these": {refusal}.
"""


def _card(predictor: Predictor) -> str:
    threshold = predictor.reject_below
    refusal = f"the model refuses where its greatest probability is below {threshold:.4f}; do so yourself"
    return _CARD.format(
        backbone=predictor.trained.backbone,
        temperature=predictor.temperature,
        refusal=refusal if threshold > 0 else "this model has no threshold either",
    )
