"""ONNX: the network alone and the whole path, in float32, float16 or 8-bit integers."""

import io
import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import compose

from retop.data.views import shorter_side
from retop.export.network import build_network, example_images
from retop.export.parity import ExportedPart, Part, Precision
from retop.export.preprocessing import FULL_SIZE, build_preprocessing
from retop.predictor import Predictor
from retop.schema import to_plain
from retop.version import __version__

OPSET = 18
CALIBRATION_BATCH = 16
METADATA = "retop"


def convert_network(predictor: Predictor) -> onnx.ModelProto:
    """The network part in float32.

    Args:
        predictor: the model.

    Returns:
        A graph with the input ``pixels``, uint8 [N, 3, H, W], and the output ``probabilities``, float32 [N, K].
    """
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # The exporter warns of its own plans and prints its progress.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            build_network(predictor),
            (example_images(predictor),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("N", min=1, max=65536)},),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return program.model_proto


def halve(network: onnx.ModelProto) -> onnx.ModelProto:
    """The network in float16; inputs and outputs keep their types."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    copy = onnx.ModelProto.FromString(network.SerializeToString())
    with warnings.catch_warnings():
        # Values too small for float16 become its smallest, and it says so for each.
        warnings.simplefilter("ignore")
        halved = OnnxModel(convert_float_to_float16(copy, keep_io_types=True, op_block_list=["Softmax"]))
    halved.topological_sort()
    model: onnx.ModelProto = halved.model
    return model


def quantise(network: onnx.ModelProto, pixels_nchw: npt.NDArray[np.uint8]) -> onnx.ModelProto:
    """The network with 8-bit convolutions and matrix products, scales fixed by training images.

    Args:
        network: in float32.
        pixels_nchw: resized training images.

    Returns:
        The network in QDQ form: weights of 7 bits per channel, activations per tensor.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as place:
        plain, prepared, small = (Path(place) / name for name in ("plain.onnx", "prepared.onnx", "small.onnx"))
        onnx.save(network, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            small,
            _Batches(pixels_nchw),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            # Without VNNI, sums of two products of 8 bits overflow, and the file would answer otherwise there.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(small)


def join(predictor: Predictor, network: onnx.ModelProto) -> onnx.ModelProto:
    """The whole path: one uint8 image of any size in, probabilities out.

    Args:
        predictor: the model.
        network: its network part, in any precision.

    Returns:
        A graph with the inputs of `build_preprocessing` and the output ``probabilities``, float32 [1, K].

    Raises:
        ExportError: the interpolation cannot be exported.
    """
    opset = next(entry.version for entry in network.opset_import if entry.domain in ("", "ai.onnx"))
    first = build_preprocessing(predictor.trained.preprocessing, opset, network.ir_version)
    for entry in network.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            first.opset_import.append(entry)
    prefixed = compose.add_prefix(network, "network_", rename_inputs=False, rename_outputs=False)
    return compose.merge_models(first, prefixed, io_map=[("pixels", "pixels")])


def describe_in(model: onnx.ModelProto, predictor: Predictor, part: Part, precision: Precision) -> None:
    """Put all that the user of a graph must know into its metadata.

    Args:
        model: the graph; changed.
        predictor: the model that it was made from.
        part: which it is.
        precision: its arithmetic.
    """
    model.producer_name, model.producer_version = "retop", __version__
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(describe_model(predictor, part, precision), ensure_ascii=False)


def describe_model(predictor: Predictor, part: Part, precision: Precision) -> dict[str, Any]:
    """What the user of an exported file must know, as plain data.

    Args:
        predictor: the model.
        part: which part the file holds.
        precision: its arithmetic.

    Returns:
        Class names in the order of the probabilities, preprocessing, threshold, and where the model came from.
    """
    trained = predictor.trained
    return {
        "part": part,
        "precision": precision,
        "classes": list(trained.classes),
        "preprocessing": to_plain(trained.preprocessing),
        "shorter_side": shorter_side(trained.preprocessing),
        "temperature": predictor.temperature,
        "reject_below": predictor.reject_below,
        "backbone": trained.backbone,
        "weights_sha256": trained.weights_sha256,
        "retop": __version__,
    }


def open_onnx(file: Path, part: Part, threads: int = 0) -> ExportedPart:
    """An ONNX file in ONNX Runtime on the CPU.

    Args:
        file: the file.
        part: which part it holds.
        threads: of the runtime; 0 for its own choice.

    Returns:
        The file, ready to answer.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = ("image", FULL_SIZE) if part == "whole" else ("pixels",)

    def answer(*inputs: npt.NDArray[np.integer]) -> npt.NDArray[np.floating]:
        return session.run(["probabilities"], dict(zip(names, inputs, strict=True)))[0]  # type: ignore[no-any-return]

    return ExportedPart(file, part, answer)


class _Batches:
    """Training images in the form in which ONNX Runtime's calibration asks for them."""

    def __init__(self, pixels_nchw: npt.NDArray[np.uint8]) -> None:
        self._pixels_nchw = pixels_nchw
        self._left = self._cut()

    def _cut(self) -> Iterator[dict[str, npt.NDArray[np.uint8]]]:
        for first in range(0, len(self._pixels_nchw), CALIBRATION_BATCH):
            yield {"pixels": self._pixels_nchw[first : first + CALIBRATION_BATCH]}

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next batch, or None."""
        return next(self._left, None)
