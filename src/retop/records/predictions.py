"""predictions.parquet: the logits of every evaluated image."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from retop.errors import DamagedError, RunError
from retop.schema import write_bytes

# N images, K classes
PREDICTIONS_SCHEMA = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),  # as in Metrics
        pa.field("path", pa.string(), nullable=False),  # as the source names it
        pa.field("label", pa.string(), nullable=False),  # class name
        pa.field("logits", pa.list_(pa.float32()), nullable=False),  # K values, in the order of the class list
    ]
)
# 1 had the class names joined by newlines, which a name may hold.
PREDICTIONS_VERSION = b"2"


@dataclass(frozen=True)
class Predictions:
    """Logits of one split's images.

    Attributes:
        split: ``train``, ``validation`` or ``test``; ``all`` for images without a split.
        paths: N paths, as the source names them.
        classes: K class names.
        labels_n: [N] int64, index into `classes`.
        logits_nk: [N, K] float32.
    """

    split: str
    paths: tuple[str, ...]
    classes: tuple[str, ...]
    labels_n: npt.NDArray[np.int64]
    logits_nk: npt.NDArray[np.float32]


def write_predictions(path: Path, parts: tuple[Predictions, ...]) -> None:
    """Write the predictions of several splits as one Parquet file, whole or not at all.

    Args:
        path: where to.
        parts: one per split, all with the same classes.
    """
    classes = parts[0].classes
    metadata = {b"retop.version": PREDICTIONS_VERSION, b"retop.classes": json.dumps(classes).encode()}
    tables = [
        pa.table(
            {
                "split": [part.split] * len(part.paths),
                "path": list(part.paths),
                "label": [classes[label] for label in part.labels_n],
                "logits": pa.FixedSizeListArray.from_arrays(
                    pa.array(part.logits_nk.astype(np.float32).ravel()), len(classes)
                ).cast(pa.list_(pa.float32())),
            },
            schema=PREDICTIONS_SCHEMA,
        )
        for part in parts
    ]
    content = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables).replace_schema_metadata(metadata), content)
    write_bytes(path, memoryview(content.getvalue()))


def read_predictions(path: Path, split: str) -> Predictions:
    """Read one split's predictions.

    Args:
        path: a predictions.parquet.
        split: ``train``, ``validation`` or ``test``.

    Returns:
        The predictions; empty where the file has none for that split.

    Raises:
        DamagedError: the file is missing or not such a table.
        RunError: it is of another version.
    """
    try:
        table = pq.read_table(path)
        classes = _read_classes(path, table.schema.metadata or {})
        table = table.filter(pa.compute.equal(table["split"], split))
        logits = np.array(table["logits"].to_pylist(), dtype=np.float32).reshape(len(table), len(classes))
        places = {name: place for place, name in enumerate(classes)}
        labels = np.array([places[label] for label in table["label"].to_pylist()], dtype=np.int64)
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise DamagedError(f"{path} is not a table of predictions: {error}") from error
    return Predictions(split, tuple(table["path"].to_pylist()), classes, labels, logits)


def merge_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Several predictions of one model or of its folds as one.

    Args:
        parts: at least one, all on one split and with the same classes, on different images.
    """
    if len(parts) == 1:
        return parts[0]
    return Predictions(
        parts[0].split,
        tuple(path for part in parts for path in part.paths),
        parts[0].classes,
        np.concatenate([part.labels_n for part in parts]),
        np.concatenate([part.logits_nk for part in parts]),
    )


def _read_classes(path: Path, metadata: dict[bytes, bytes]) -> tuple[str, ...]:
    version = metadata[b"retop.version"]
    if version == b"1":
        return tuple(metadata[b"retop.classes"].decode().split("\n"))
    if version != PREDICTIONS_VERSION:
        raise RunError(
            f"{path} has version {version.decode()}; this retop reads up to version {PREDICTIONS_VERSION.decode()}. "
            f"Update retop, or run the comparison again with another --out"
        )
    return tuple(json.loads(metadata[b"retop.classes"]))
