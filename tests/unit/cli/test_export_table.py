"""The table of an export can be read where a terminal is narrow, and says what was judged."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from retop.cli.tables import parity_table
from retop.export.exporting import Exported
from retop.export.parity import ParityRow
from retop.records import Interval

ROW = ParityRow(
    "network.onnx", "network", "fp32", 64, 4.1e-7, 1e-4, 1, 0, 0.984, 0.969, 1, Interval(1 / 64, 0.003, 0.083), None,
    True,
)  # fmt: skip


def printed(*rows: ParityRow) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(parity_table(Exported(Path("runs/x/onnx"), rows)))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_no_figure_is_cut_at_80_columns(precision: str) -> None:
    allowed = None if precision == "fp32" else 0.02
    row = replace(ROW, precision=precision, allowed_drop=allowed)  # type: ignore[arg-type]
    text = printed(row, replace(row, file="whole.onnx"))
    for figure in ("network.onnx", "whole.onnx", "4.1e-07", "1 (0.3 to 8.3%)", "0.984 -> 0.969"):
        assert figure in text
    assert "64 images" in text
    assert ("equal to the model" in text) == (precision == "fp32")
    assert ("at most 2.0% of the answers lost" in text) == (precision == "int8")
