"""Another program's answers are compared without losing what else is known."""

from pathlib import Path

import numpy as np
import pytest

from example_records import answers, contender, write_comparison
from retop.errors import RunError
from retop.records import AuditRecord, Finding, write_predictions, write_record
from retop.report.findings import diagnose_folder


def test_findings_of_the_audit_stay_beside_those_of_other_answers(tmp_path: Path) -> None:
    folder = tmp_path / "comparison"
    folder.mkdir()
    one = contender("a")
    write_comparison(folder, [one])
    crowded = Finding("D18", "crowded", "note", "", "", "", {})
    write_record(folder / "audit.json", AuditRecord("photos", 600, ("cat", "dog"), (crowded,), ("D18",)))
    own = one.predictions[0]
    guessed = answers(np.random.default_rng(0).random(len(own.paths)) < 0.5, split=own.split)
    write_predictions(tmp_path / "other.parquet", (guessed,))
    alone, beside = (
        {finding.code for finding in diagnose_folder(folder, given)} for given in ((), [tmp_path / "other.parquet"])
    )
    assert "D18" in alone & beside
    assert "R16" in beside - alone


def test_answers_to_other_images_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "comparison"
    folder.mkdir()
    one = contender("a")
    write_comparison(folder, [one])
    own = one.predictions[0]
    (tmp_path / "other.csv").write_text(
        "path,label,predicted\n" + "".join(f"/elsewhere/{path},cat,dog\n" for path in own.paths)
    )
    with pytest.raises(RunError, match=f"0 are images of this run.*{own.paths[0]}"):
        diagnose_folder(folder, [tmp_path / "other.csv"])
