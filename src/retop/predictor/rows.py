"""Answers as flat rows, and the files that hold them."""

import csv
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from retop.data.sources.names import shown
from retop.predictor.prediction import Prediction
from retop.terminal import printable

Row = dict[str, Any]
_ROWS_AT_ONCE = 10_000


def columns(top: int) -> list[str]:
    """The names of what `as_row` gives."""
    places = (name for place in range(1, top + 1) for name in (f"class_{place}", f"probability_{place}"))
    return ["path", "label", "confidence", "rejected", "error", *places]


def as_row(prediction: Prediction, top: int) -> Row:
    """An answer as a flat row.

    Args:
        prediction: the answer.
        top: classes to name.

    Returns:
        ``path``, ``label``, ``confidence``, ``rejected``, ``error``, then ``class_1``, ``probability_1`` and so on. A
        path that is not UTF-8 is written as `shown` writes it.
    """
    row: Row = {
        "path": shown(prediction.path),
        "label": prediction.label,
        "confidence": prediction.confidence,
        "rejected": prediction.rejected,
        "error": prediction.error,
    }
    best = prediction.best(top) if prediction.probabilities else []
    for place in range(top):
        label, probability = best[place] if place < len(best) else (None, None)
        row |= {f"class_{place + 1}": label, f"probability_{place + 1}": probability}
    return row


def as_line(row: Row) -> str:
    """A row as a line of JSON."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def _write_jsonl(path: Path, rows: Iterator[Row], names: list[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(as_line, rows))


def _write_csv(path: Path, rows: Iterator[Row], names: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _safe(name, value) for name, value in row.items()} for row in rows)


def _safe(name: str, value: Any) -> Any:
    """A cell of a table that is looked at in terminals; paths are the user's own, and opened again."""
    return printable(value) if isinstance(value, str) and name != "path" else value


def _write_parquet(path: Path, rows: Iterator[Row], names: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _column_type(name)) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(batch, schema))


def _column_type(name: str) -> Any:
    import pyarrow as pa

    if name == "rejected":
        return pa.bool_()
    return pa.float64() if name == "confidence" or name.startswith("probability_") else pa.string()


WRITERS: dict[str, Callable[[Path, Iterator[Row], list[str]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
"""By the ending of the file: what writes rows with these columns into it."""
