import pyarrow as pa
import pytest

from retop.errors import RunError
from retop.records import SPLIT_SCHEMA, AuditRecord, Finding, read_record, read_split, write_record, write_split


def test_an_audit_comes_back_as_it_was_written(tmp_path):
    finding = Finding(
        "D02", "copies across splits", "error", "2 images of 40", "leak", "--exclude", {"files": [["a", "b"]], "n": 40},
        suspected=True, isolating_test="train without them", references=("a paper",),
    )  # fmt: skip
    record = AuditRecord("photos", 40, ("a", "b"), (finding,), ("D01", "D02"))
    write_record(tmp_path / "audit.json", record)
    assert read_record(AuditRecord, tmp_path / "audit.json") == record


def test_a_finding_needs_only_what_every_finding_has():
    finding = Finding("D01", "unreadable files", "warning", "1 file", "it is left out", "replace it")
    assert finding.evidence == {} and not finding.suspected and finding.isolating_test is None


def test_a_split_table_comes_back_as_it_was_written(tmp_path):
    rows = [{"path": "a/1", "label": "a", "split": "train", "content": "ab" * 32, "width": 3, "height": 2}]
    table = pa.Table.from_pylist(rows, SPLIT_SCHEMA)
    write_split(tmp_path / "split.parquet", table)
    assert read_split(tmp_path / "split.parquet").to_pylist() == table.to_pylist()


def test_what_is_no_split_table_is_refused(tmp_path):
    (tmp_path / "split.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="is not a split table"):
        read_split(tmp_path / "split.parquet")
    with pytest.raises(RunError, match="is not a split table"):
        read_split(tmp_path / "nowhere.parquet")
