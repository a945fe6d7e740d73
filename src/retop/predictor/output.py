"""Answers in a file: written as they come, so that an interrupted prediction goes on where it was.

The answers are gathered in ``.NAME.partial`` beside the file, one JSON object a line under a first line that says whose
answers they are. When all are there, the file is written from it, whole, and the gathering goes.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from retop.errors import UsageError
from retop.predictor.prediction import Prediction
from retop.predictor.predictor import Predictor
from retop.version import __version__

SUFFIXES = (".csv", ".jsonl", ".parquet")
_ROWS_AT_ONCE = 10_000

Row = dict[str, Any]


class PredictionFile:
    """One file of answers.

    Args:
        path: ``.csv``, ``.jsonl`` or ``.parquet``.
        predictor: whose answers it holds.
        top: classes in each row.

    Raises:
        UsageError: the file exists, its name has another ending, or the gathering beside it is of something else.
    """

    def __init__(self, path: Path, predictor: Predictor, top: int) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--output must end in {', '.join(SUFFIXES)}; received {path}")
        if path.exists():
            raise UsageError(f"{path} exists already, and nothing is overwritten; choose another --output")
        self._path = path
        self._top = top
        self.partial = path.with_name(f".{path.name}.partial")
        trained = predictor.trained
        self._header: Row = {
            "weights_sha256": trained.weights_sha256,
            "temperature": predictor.temperature,
            "reject_below": predictor.reject_below,
            "top": top,
            "retop": __version__,
        }
        self.num_done = self._recover()

    def remaining(self, paths: Iterable[str]) -> Iterator[str]:
        """The images that have no answer yet.

        Args:
            paths: all images, in the same order as before.

        Yields:
            Those after the last answer.

        Raises:
            UsageError: the images differ from those that have answers.
        """
        coming = iter(paths)
        for number, row in enumerate(self._rows(), 1):
            path = next(coming, None)
            if path != row["path"]:
                raise UsageError(
                    f"{self.partial} holds answers for other images: number {number} was {row['path']}, now it is "
                    f"{path}. Name the same images in the same order, choose another --output, or delete that file"
                )
        yield from coming

    def gather(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Write answers down as they pass.

        Args:
            predictions: for the remaining images.

        Yields:
            The same.
        """
        with self.partial.open("a", encoding="utf-8") as file:
            for prediction in predictions:
                file.write(json.dumps(as_row(prediction, self._top), ensure_ascii=False) + "\n")
                file.flush()
                yield prediction

    def finish(self) -> None:
        """Write the file and let the gathering go."""
        whole = self._path.with_name(f".{self._path.name}.whole")
        _WRITERS[self._path.suffix.lower()](whole, self._rows())
        whole.replace(self._path)
        self.partial.unlink()

    def _recover(self) -> int:
        if not self.partial.exists():
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self.partial.write_text(json.dumps(self._header) + "\n", encoding="utf-8")
            return 0
        content = self.partial.read_bytes()
        kept = content.rfind(b"\n") + 1
        with self.partial.open("r+b") as file:
            # A line that was being written when the process ended is answered again.
            file.truncate(kept)
        first, _, _ = content[:kept].partition(b"\n")
        try:
            header = json.loads(first or b"null")
        except ValueError:
            header = None
        if header != self._header:
            raise UsageError(
                f"{self.partial} holds answers of another model, threshold, --top or version; choose another --output, "
                f"or delete that file"
            )
        return content[:kept].count(b"\n") - 1

    def _rows(self) -> Iterator[Row]:
        with self.partial.open(encoding="utf-8") as file:
            next(file, None)
            for line in file:
                yield json.loads(line)


def as_row(prediction: Prediction, top: int) -> Row:
    """An answer as a flat row.

    Args:
        prediction: the answer.
        top: classes to name.

    Returns:
        ``path``, ``label``, ``confidence``, ``rejected``, ``error``, then ``class_1``, ``probability_1`` and so on.
    """
    row: Row = {
        "path": prediction.path,
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


def _write_jsonl(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_csv(path: Path, rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        _write_csv_rows(file, rows)


def _write_csv_rows(file: IO[str], rows: Iterator[Row]) -> None:
    first = next(rows, None)
    if first is None:
        return
    writer = csv.DictWriter(file, list(first), lineterminator="\n")
    writer.writeheader()
    writer.writerows(chain([first], rows))


def _write_parquet(path: Path, rows: Iterator[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, batch = None, []
    for row in chain(rows, [None]):
        if row is not None:
            batch.append(row)
        if not batch or (row is not None and len(batch) < _ROWS_AT_ONCE):
            continue
        schema = pa.schema([(name, _column_type(name)) for name in batch[0]])
        writer = writer or pq.ParquetWriter(path, schema)
        writer.write_table(pa.Table.from_pylist(batch, schema))
        batch = []
    if writer is None:
        pq.write_table(pa.table({"path": pa.array([], pa.string())}), path)
    else:
        writer.close()


def _column_type(name: str) -> Any:
    import pyarrow as pa

    if name == "rejected":
        return pa.bool_()
    return pa.float64() if name == "confidence" or name.startswith("probability_") else pa.string()


_WRITERS: dict[str, Callable[[Path, Iterator[Row]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
