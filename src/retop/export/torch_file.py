"""torch.export: the network part as a file that torch runs without our package."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from retop.export.network import build_network, example_images
from retop.export.parity import ExportedPart
from retop.predictor import Predictor


def write_torch(predictor: Predictor, file: Path, description: dict[str, object]) -> None:
    """Write the network part.

    Args:
        predictor: the model.
        file: where to, ``.pt2``.
        description: goes into the file as ``retop.json``.
    """
    batch = torch.export.Dim("N", min=1, max=65536)
    program = torch.export.export(build_network(predictor), (example_images(predictor),), dynamic_shapes=({0: batch},))
    torch.export.save(program, file, extra_files={"retop.json": json.dumps(description, ensure_ascii=False)})


def open_torch(file: Path) -> ExportedPart:
    """A file of torch.export, loaded by torch alone.

    Args:
        file: the file.

    Returns:
        The file, ready to answer.
    """
    network = torch.export.load(file).module()

    def answer(images_nchw: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
        with torch.inference_mode():
            return network(torch.from_numpy(images_nchw)).numpy()  # type: ignore[no-any-return]

    return ExportedPart(file, "network", answer)
