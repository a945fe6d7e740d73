"""Resizing and cropping as an ONNX graph that gives Pillow's pixels.

ONNX's own Resize differs from Pillow's by up to 14 levels of 255 (ONNX Runtime 1.32, bilinear, noise of 31 x 1000), so
each axis is resized by one matrix product with Pillow's own coefficients, in Pillow's order, rounded to 8 bits in
between as Pillow does. That depends on no runtime.

H, W height and width of the image; the letters of the network's input are those of `Preprocessing`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from retop.data.views import RIBBON
from retop.errors import ExportError
from retop.records import Preprocessing

FULL_SIZE = "full_size"
COEFFICIENT_BITS = 22
"""Pillow rounds its coefficients to so many bits: 32 - 8 - 2."""

_SUPPORT = {"hamming": 1.0, "bicubic": 2.0, "lanczos": 3.0}


def build_preprocessing(preprocessing: Preprocessing, opset: int, ir_version: int) -> onnx.ModelProto:
    """The graph from an image of any size to the network's pixels; equal to `retop.data.views.evaluation_view`.

    Args:
        preprocessing: size, crop and interpolation of the network.
        opset: version of ONNX's operators, 18 or later.
        ir_version: version of ONNX's file form.

    Returns:
        A model with the input ``image``, uint8 [H, W, 3], and the output ``pixels``, uint8 [1, 3, height, width]. The
        second input, ``full_size``, int64 [2], is height and width of the image as it is stored, upright, from which
        the crop follows: another size than that of ``image`` where it was decoded at reduced scale. Zeros mean that of
        ``image``.

    Raises:
        ExportError: the interpolation is ``nearest`` or ``box``, whose ties no other arithmetic settles as Pillow does.

    Source: Pillow 13, ``src/libImaging/Resample.c`` (``precompute_coeffs``, ``normalize_coeffs_8bpc``; the order of the
    axes, which came with 13, was found by trying 1,296 sizes). Products are summed in float32, Pillow's in integers: a
    pixel in some 30,000 differs by one level.
    """
    if preprocessing.interpolation not in _FILTERS:
        raise ExportError(
            f"the whole path cannot be exported with the interpolation {preprocessing.interpolation!r}, only with "
            f"{', '.join(_FILTERS)}"
        )
    graph = _Graph()
    image = graph.add("Transpose", "image", perm=[2, 0, 1])
    size = _Size(graph, image, FULL_SIZE)
    if preprocessing.crop_mode == "center":
        image = size.cut_ribbon(image)
    height, width = size.resized(preprocessing)
    rows = _Axis(graph, size.height, height, preprocessing.height)
    columns = _Axis(graph, size.width, width, preprocessing.width)
    values = _resize(graph, graph.cast(image, TensorProto.FLOAT), rows, columns, preprocessing.interpolation)
    values = _fill_border(graph, values, rows, columns, preprocessing)
    graph.add("Unsqueeze", graph.cast(values, TensorProto.UINT8), graph.integers(0), output="pixels")
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["H", "W", 3]),
        helper.make_tensor_value_info(FULL_SIZE, TensorProto.INT64, [2]),
    ]
    shape = [1, 3, preprocessing.height, preprocessing.width]
    outputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)]
    made = helper.make_graph(graph.nodes, "preprocessing", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants while they are written down; values are known by name."""

    def __init__(self, prefix: str = "preprocessing_") -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add one node and give the name of its output."""
        name = output or f"{self._prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any, kind: type[np.generic]) -> str:
        """Add a constant and give its name."""
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def integers(self, *values: int) -> str:
        """A constant list of whole numbers."""
        return self.constant(values, np.int64)

    def double(self, value: float) -> str:
        """A constant in float64."""
        return self.constant(value, np.float64)

    def cast(self, value: str, kind: int) -> str:
        """A value as another type."""
        return self.add("Cast", value, to=kind)

    def whole(self, value: str, rounding: str) -> str:
        """A float64 as a list with one int64; ``Floor``, ``Ceil`` or ``Round`` (half to even, as Python does)."""
        return self.add("Reshape", self.cast(self.add(rounding, value), TensorProto.INT64), self.integers(1))


class _Size:
    """Height and width of the image, and of the image as it is stored; each a list with one int64."""

    def __init__(self, graph: _Graph, image: str, full_size: str) -> None:
        self._graph = graph
        own = graph.add("Shape", image, start=1)
        told = graph.add("Greater", full_size, graph.integers(0))
        self.height, self.width = self._sides(own)
        self._full = self._sides(graph.add("Where", told, full_size, own))

    def _sides(self, size: str) -> list[str]:
        graph = self._graph
        return [graph.add("Slice", size, graph.integers(at), graph.integers(at + 1)) for at in (0, 1)]

    def cut_ribbon(self, image: str) -> str:
        """As `retop.data.views` does: the middle of an image that is many times longer than wide."""
        graph = self._graph
        longest = graph.add("Mul", graph.add("Min", self.height, self.width), graph.integers(RIBBON))
        kept = [graph.add("Min", length, longest) for length in (self.height, self.width)]
        starts = [
            graph.add("Div", graph.add("Sub", length, part), graph.integers(2))
            for length, part in zip((self.height, self.width), kept, strict=True)
        ]
        cut = graph.add("Greater", graph.add("Max", self.height, self.width), longest)
        self._full = [graph.add("Where", cut, part, full) for part, full in zip(kept, self._full, strict=True)]
        self.height, self.width = kept
        return _slice(graph, image, starts, kept)

    def resized(self, preprocessing: Preprocessing) -> tuple[str, str]:
        """Height and width before the crop."""
        graph = self._graph
        height, width = (
            math.floor(side / preprocessing.crop_fraction) for side in (preprocessing.height, preprocessing.width)
        )
        if preprocessing.crop_mode == "squash":
            return graph.integers(height), graph.integers(width)
        if preprocessing.crop_mode == "center" and height == width:
            # Whole numbers: a runtime that divides in float32, as OpenVINO does, may end one pixel below.
            short = graph.add("Min", *self._full)
            scaled = [graph.add("Div", graph.add("Mul", side, graph.integers(height)), short) for side in self._full]
            return scaled[0], scaled[1]
        sides = [graph.cast(length, TensorProto.DOUBLE) for length in self._full]
        ratios = [
            graph.add("Div", side, graph.double(wanted)) for side, wanted in zip(sides, (height, width), strict=True)
        ]
        ratio = graph.add("Max" if preprocessing.crop_mode == "border" else "Min", *ratios)
        scaled = [graph.whole(graph.add("Div", side, ratio), "Round") for side in sides]
        return graph.add("Max", scaled[0], graph.integers(1)), graph.add("Max", scaled[1], graph.integers(1))


class _Axis:
    """One side of the image: its length, its length after resizing, and the places that the crop keeps.

    Only what the crop keeps is ever computed. Places outside the resized image belong to the border.
    """

    def __init__(self, graph: _Graph, length: str, resized: str, kept: int) -> None:
        self._graph = graph
        self.length, self.resized = length, resized
        missing = graph.add("Max", graph.add("Sub", graph.integers(kept), resized), graph.integers(0))
        spare = graph.add("Sub", graph.add("Add", resized, missing), graph.integers(kept))
        start = graph.whole(graph.add("Div", graph.cast(spare, TensorProto.DOUBLE), graph.double(2)), "Round")
        first = graph.add("Sub", start, graph.add("Div", missing, graph.integers(2)))
        places = graph.constant(np.arange(kept), np.int64)
        self.places = graph.add("Add", places, first)
        inside = graph.add("GreaterOrEqual", self.places, graph.integers(0))
        self.inside = graph.add("And", inside, graph.add("Less", self.places, resized))

    def coefficients(self, interpolation: str) -> str:
        """Pillow's coefficients [kept, length], whole multiples of 2^-22, as float32."""
        graph = self._graph
        lengths = [graph.cast(value, TensorProto.DOUBLE) for value in (self.length, self.resized)]
        scale = graph.add("Div", *lengths)
        targets = graph.add("Add", graph.cast(self.places, TensorProto.DOUBLE), graph.double(0.5))
        centres = graph.add("Unsqueeze", graph.add("Mul", targets, scale), graph.integers(1))
        end = graph.add("Squeeze", lengths[0], graph.integers(0))
        sources = graph.add("Range", graph.double(0), end, graph.double(1))
        distances = graph.add("Sub", graph.add("Add", sources, graph.double(0.5)), centres)
        stretched = graph.add("Div", distances, graph.add("Max", scale, graph.double(1)))
        weights = _FILTERS[interpolation](graph, stretched)
        total = graph.add("ReduceSum", weights, graph.integers(1), keepdims=1)
        fine = graph.add("Mul", graph.add("Div", weights, total), graph.double(2.0**COEFFICIENT_BITS))
        rounded = graph.add("Floor", graph.add("Add", fine, graph.double(0.5)))
        return graph.cast(graph.add("Mul", rounded, graph.double(2.0**-COEFFICIENT_BITS)), TensorProto.FLOAT)


def _resize(graph: _Graph, values: str, rows: _Axis, columns: _Axis, interpolation: str) -> str:
    """Both axes, in Pillow's order: rows first where they lose more than twice what columns lose."""
    down = rows.coefficients(interpolation)
    across = graph.add("Transpose", columns.coefficients(interpolation), perm=[1, 0])
    lost_rows, lost_columns = (graph.add("Sub", axis.length, axis.resized) for axis in (rows, columns))
    more = graph.add("Greater", lost_rows, graph.add("Mul", lost_columns, graph.integers(2)))
    rows_first = graph.add("And", more, graph.add("Greater", lost_rows, graph.integers(0)))

    def branch(name: str, first: tuple[str, str], second: tuple[str | None, str | None]) -> onnx.GraphProto:
        inner = _Graph(f"{name}_")
        half = _to_levels(inner, inner.add("MatMul", *first))
        whole = _to_levels(inner, inner.add("MatMul", *(value or half for value in second)))
        output = helper.make_tensor_value_info(whole, TensorProto.FLOAT, None)
        return helper.make_graph(inner.nodes, name, [], [output], inner.constants)

    return graph.add(
        "If",
        graph.add("Squeeze", rows_first, graph.integers(0)),
        then_branch=branch("rows_first", (down, values), (None, across)),
        else_branch=branch("columns_first", (values, across), (down, None)),
    )


def _to_levels(graph: _Graph, values: str) -> str:
    """Round to 8 bits, half up, as Pillow's fixed-point arithmetic does."""
    rounded = graph.add("Floor", graph.add("Add", values, graph.constant(0.5, np.float32)))
    return graph.add("Clip", rounded, graph.constant(0, np.float32), graph.constant(255, np.float32))


def _fill_border(graph: _Graph, values: str, rows: _Axis, columns: _Axis, preprocessing: Preprocessing) -> str:
    """Black, or the mean, where the resized image is smaller than the crop."""
    bordered = preprocessing.crop_mode == "border"
    levels = [round(255 * mean) if bordered else 0 for mean in preprocessing.mean]
    fill = graph.constant(np.reshape(levels, (3, 1, 1)), np.float32)
    inside = graph.add("And", graph.add("Unsqueeze", rows.inside, graph.integers(1)), columns.inside)
    return graph.add("Where", inside, values, fill)


def _slice(graph: _Graph, values: str, starts: list[str], lengths: list[str]) -> str:
    """A part of [3, H, W]."""
    first = graph.add("Concat", *starts, axis=0)
    last = graph.add("Add", first, graph.add("Concat", *lengths, axis=0))
    return graph.add("Slice", values, first, last, graph.integers(1, 2))


def _bilinear(graph: _Graph, x: str) -> str:
    return graph.add("Max", graph.add("Sub", graph.double(1), graph.add("Abs", x)), graph.double(0))


def _hamming(graph: _Graph, x: str) -> str:
    angle = graph.add("Mul", x, graph.double(math.pi))
    window = graph.add("Add", graph.double(0.54), graph.add("Mul", graph.double(0.46), graph.add("Cos", angle)))
    return _within(graph, x, "hamming", graph.add("Mul", _sinc(graph, x), window))


def _bicubic(graph: _Graph, x: str) -> str:
    """Keys' kernel with a = -0.5."""
    far = graph.add("Abs", x)
    near = _polynomial(graph, far, (1.5, -2.5, 0.0, 1.0))
    outer = _polynomial(graph, far, (-0.5, 2.5, -4.0, 2.0))
    return _within(graph, x, "bicubic", graph.add("Where", graph.add("Less", far, graph.double(1)), near, outer))


def _lanczos(graph: _Graph, x: str) -> str:
    third = graph.add("Div", x, graph.double(3))
    return _within(graph, x, "lanczos", graph.add("Mul", _sinc(graph, x), _sinc(graph, third)))


def _polynomial(graph: _Graph, x: str, coefficients: tuple[float, ...]) -> str:
    value = graph.double(coefficients[0])
    for coefficient in coefficients[1:]:
        value = graph.add("Add", graph.add("Mul", value, x), graph.double(coefficient))
    return value


def _sinc(graph: _Graph, x: str) -> str:
    angle = graph.add("Mul", x, graph.double(math.pi))
    zero = graph.add("Equal", angle, graph.double(0))
    safe = graph.add("Where", zero, graph.double(1), angle)
    return graph.add("Where", zero, graph.double(1), graph.add("Div", graph.add("Sin", safe), safe))


def _within(graph: _Graph, x: str, name: str, weights: str) -> str:
    """Zero outside the filter's support."""
    inside = graph.add("Less", graph.add("Abs", x), graph.double(_SUPPORT[name]))
    return graph.add("Where", inside, weights, graph.double(0))


_FILTERS: dict[str, Callable[[_Graph, str], str]] = {
    "bilinear": _bilinear,
    "hamming": _hamming,
    "bicubic": _bicubic,
    "lanczos": _lanczos,
}
