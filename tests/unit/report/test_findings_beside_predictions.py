"""Another program's answers are compared without losing what else is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from example_records import answers, contender, write_comparison
from retop.cli.app import app
from retop.data import Dataset, open_dataset
from retop.data.audit.rules import IMBALANCE
from retop.data.lists import read_exclusions
from retop.errors import RunError
from retop.recipe import DataRecipe, ImbalanceRecipe
from retop.records import (
    AuditRecord,
    ComparisonRecord,
    Finding,
    IsolationRecord,
    SampleResult,
    SureAnswers,
    SuspectedLabel,
    read_record,
    write_predictions,
    write_record,
)
from retop.report import write_report
from retop.report.findings import diagnose_folder, list_exclusions

HEALTHY_TESTS = IsolationRecord(
    SampleResult(100, 95, 0.2), SampleResult(100, 94, 0.2), SampleResult(100, 30, 2.8), SampleResult(100, 55, 0.8),
    SampleResult(300, 285, 0.2), SampleResult(300, 150, 0.8), SampleResult(1000, 950, 0.2), (),
)  # fmt: skip


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


@pytest.mark.parametrize("num_suspected", [2, 7])
def test_suspected_labels_are_listed_and_the_list_is_one_for_exclude(
    tmp_path: Path, shapes: Dataset, num_suspected: int
) -> None:
    train = shapes.train.paths.to_pylist()
    paths = train[:num_suspected]
    suspected = tuple(SuspectedLabel(path, "cat", "dog", 0.95) for path in paths)
    tests = replace(HEALTHY_TESTS, suspected_labels=suspected, sure_answers=SureAnswers(700, 80, 35.0))
    one = contender("a")
    folder, file = tmp_path / "comparison", tmp_path / "suspected.csv"
    folder.mkdir()
    write_comparison(folder, [replace(one, runs=tuple(replace(run, isolation=tests) for run in one.runs))])
    shown = CliRunner().invoke(app, ["diagnose", str(folder), "--write-exclusions", str(file)])
    assert shown.exit_code == 0, shown.output
    assert paths[0] in shown.output and f"{num_suspected} images" in shown.output
    assert ("and 4 more" in shown.output) == (num_suspected == 7)
    markdown = write_report([folder], "markdown").read_text("utf-8")
    assert ("and 2 more" in markdown) == (num_suspected == 7)
    assert sorted(read_exclusions(file)) == sorted(paths)
    # Every command reads its data so.
    left = open_dataset(shapes.record.location, DataRecipe(exclude=str(file)))
    assert left.record.excluded == num_suspected
    assert set(left.train.paths.to_pylist()) == set(train) - set(paths)
    again = CliRunner().invoke(app, ["diagnose", str(folder), "--write-exclusions", str(file)])
    assert again.exit_code and sorted(read_exclusions(file)) == sorted(paths)


def test_copies_that_the_audit_would_leave_out_are_in_the_list(tmp_path: Path) -> None:
    folder = tmp_path / "comparison"
    folder.mkdir()
    write_comparison(folder, [contender("a")])
    copies = Finding("D02", "copies", "error", "", "", "", evidence={"exclude": ["train/a.png", "train/b.png"]})
    write_record(folder / "audit.json", AuditRecord("photos", 600, ("cat", "dog"), (copies,), ("D02",)))
    assert list_exclusions(diagnose_folder(folder), tmp_path / "list.csv") == 2
    assert read_exclusions(tmp_path / "list.csv") == ["train/a.png", "train/b.png"]


@pytest.mark.parametrize("num_excluded", [14, 7])
def test_options_promise_no_more_than_the_list_for_exclude_holds(tmp_path: Path, num_excluded: int) -> None:
    paths = [f"train/{k}.png" for k in range(14)]
    folder, wide = tmp_path / "comparison", {"COLUMNS": "400"}
    folder.mkdir()
    write_comparison(folder, [contender("a")])
    evidence = {"files": [[path] for path in paths], "exclude": paths[:num_excluded]}
    doubtful = Finding("D02", "copies", "error", "", "", "", evidence=evidence)
    write_record(folder / "audit.json", AuditRecord("photos", 600, ("cat", "dog"), (doubtful,), ("D02",)))
    shown = CliRunner().invoke(app, ["diagnose", str(folder)], env=wide).output
    assert ("more (--json, --write-exclusions FILE)" in shown) == (num_excluded == 14)
    assert ("more (--json)" in shown) == (num_excluded == 7)
    described = CliRunner().invoke(app, ["diagnose", "--help"], env=wide).output
    assert "contradicted with a confidence above 80 %" in " ".join(described.replace("│", " ").split())


@pytest.mark.parametrize(
    ("imbalance", "fix"),
    [
        (ImbalanceRecipe(), "--class-weights balanced"),
        (ImbalanceRecipe(class_weights="balanced"), "classes are weighted accordingly in these runs; judge by"),
        (ImbalanceRecipe(class_weights={"cat": 1.0, "dog": 9.0}), "classes are weighted accordingly in these runs"),
        (ImbalanceRecipe(sampling="balanced"), "classes are drawn accordingly in these runs"),
    ],
)
def test_who_corrected_for_unequal_classes_is_not_advised_to_afterwards(
    tmp_path: Path, imbalance: ImbalanceRecipe, fix: str
) -> None:
    write_comparison(tmp_path, [contender("a")])
    record = read_record(ComparisonRecord, tmp_path / "comparison.json")
    write_record(tmp_path / "comparison.json", replace(record, recipe=replace(record.recipe, imbalance=imbalance)))
    unequal = IMBALANCE.finding("seen", "--class-weights balanced, or more images", {"ratio": 20.0, "classes": {}})
    write_record(tmp_path / "audit.json", AuditRecord("photos", 600, ("cat", "dog"), (unequal,), ("D10",)))
    (told,) = (finding.fix for finding in diagnose_folder(tmp_path) if finding.code == "D10")
    assert told.startswith(fix)
