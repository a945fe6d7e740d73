"""OpenVINO: both ONNX graphs converted, run in float32 by OpenVINO's own CPU runtime."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from retop.export.parity import ExportedPart, Part


def write_openvino(onnx_file: Path, file: Path) -> None:
    """Convert an ONNX file.

    Args:
        onnx_file: in float32.
        file: where to, ``.xml``; the weights lie beside it as ``.bin``.
    """
    import openvino

    openvino.save_model(openvino.convert_model(onnx_file), file, compress_to_fp16=False)


def open_openvino(file: Path, part: Part) -> ExportedPart:
    """The converted file. On CPUs with bfloat16 OpenVINO would use it unless float32 is asked for.

    Args:
        file: the ``.xml``.
        part: which part it holds.

    Returns:
        The file, ready to answer.
    """
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def answer(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
        return np.array(compiled([images])[0])

    return ExportedPart(file, part, answer)
