"""predictions.parquet gives back what was written."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retop.errors import RunError
from retop.records import Predictions, read_predictions, write_predictions


def write(path: Path, classes: tuple[str, ...]) -> Predictions:
    written = Predictions("test", ("a.png", "b.png"), classes, np.array([1, 0]), np.eye(2, dtype=np.float32))
    write_predictions(path, (written,))
    return written


def test_class_names_come_back_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    written = write(path, ("one\ntwo", 'quoted " \u00e9'))
    again = read_predictions(path, "test")
    assert again.classes == written.classes
    assert again.labels_n.tolist() == [1, 0]


@pytest.mark.parametrize(("version", "names", "fine"), [(b"1", b"cat\ndog", True), (b"3", b"[]", False)])
def test_older_files_are_read_and_newer_ones_refused(tmp_path: Path, version: bytes, names: bytes, fine: bool) -> None:
    path = tmp_path / "predictions.parquet"
    write(path, ("cat", "dog"))
    table: pa.Table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"retop.version": version, b"retop.classes": names}), path)
    if fine:
        assert read_predictions(path, "test").classes == ("cat", "dog")
    else:
        with pytest.raises(RunError, match="has version 3; this retop reads up to version 2"):
            read_predictions(path, "test")
