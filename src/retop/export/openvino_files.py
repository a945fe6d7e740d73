"""OpenVINO: both ONNX graphs converted, run in float32 by OpenVINO's own CPU runtime."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from retop.export.parity import ExportedPart, Part
from retop.export.preprocessing import FULL_SIZE


def write_openvino(model: onnx.ModelProto, file: Path) -> None:
    """Convert an ONNX graph; what its metadata say becomes the model's ``rt_info``, under ``retop``.

    Args:
        model: in float32.
        file: where to, ``.xml``; the weights lie beside it as ``.bin``.
    """
    import openvino

    source = file.with_suffix(".onnx")
    onnx.save(model, source)
    try:
        converted = openvino.convert_model(source)
        for entry in model.metadata_props:
            converted.set_rt_info(entry.value, entry.key)
        openvino.save_model(converted, file, compress_to_fp16=False)
    finally:
        source.unlink()


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
    names = ("image", FULL_SIZE) if part == "whole" else ("pixels",)

    def answer(*inputs: npt.NDArray[np.integer]) -> npt.NDArray[np.floating]:
        return np.array(compiled(dict(zip(names, inputs, strict=True)))[0])

    return ExportedPart(file, part, answer)
