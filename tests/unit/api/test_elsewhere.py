"""What was begun is found again: relative paths from every working folder, interrupted runs by the same call."""

import errno
import json
import shutil

import pytest

from retop.api import compare, resume
from retop.errors import OutputError, RunError
from retop.events import Event, ignore
from retop.records import PlanRecord, read_record
from retop.report import writing


def test_a_comparison_of_relative_paths_is_resumed_from_another_folder(
    tmp_path, monkeypatch, shapes_folder, small_weights
):
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(shapes_folder, here / "photos")
    there.mkdir()
    images = sorted(path.relative_to(here / "photos") for path in (here / "photos").rglob("*.*"))
    (here / "left-out.txt").write_text(f"{images[0].as_posix()}\n")
    rows = [f"{path.as_posix()},{path.parts[0]}" for path in images]
    (here / "split.csv").write_text("\n".join(["path,split", *rows]))
    (here / "weights").symlink_to(small_weights, target_is_directory=True)
    monkeypatch.chdir(here)
    settings = {"data.exclude": "left-out.txt", "data.split_file": "split.csv", "stage1.epochs": 1, "stage2.epochs": 1}
    settings["test_resnet.stage2.epochs"] = 0
    made = compare(
        "photos", ["test_resnet"], weights="weights", settings=settings, cache="store", out="run", listener=ignore
    )
    shutil.rmtree(here / "run/test_resnet-0")
    monkeypatch.chdir(there)
    again = resume(here / "run", listener=ignore)
    assert again.record.rows[0].metrics == made.record.rows[0].metrics and again.record.data.excluded == 1
    assert list(there.iterdir()) == []
    assert read_record(PlanRecord, here / "run/plan.json").arguments["cache"] == str(here / "store")


def test_the_same_call_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, shapes_folder, small_weights):
    monkeypatch.chdir(tmp_path)
    settings = {"stage1.epochs": 1, "stage2.epochs": 0}

    def call(seeds: int = 1):
        return compare(
            shapes_folder, ["test_resnet"], weights=small_weights, settings=settings, seeds=seeds, listener=ignore
        )

    begun = call().folder
    weights = (begun / "test_resnet-0/model/model.safetensors").stat().st_mtime_ns
    (begun / "comparison.json").unlink()
    another = call(seeds=2)
    assert another.folder != begun
    again = call()
    assert again.folder == begun
    assert (begun / "test_resnet-0/model/model.safetensors").stat().st_mtime_ns == weights
    assert call().folder not in (begun, another.folder)


def test_the_same_call_goes_on_until_every_run_and_the_report_are_there(
    tmp_path, monkeypatch, shapes_folder, small_weights
):
    monkeypatch.chdir(tmp_path)
    settings = {"stage1.epochs": 1, "stage2.epochs": 0}

    def call():
        return compare(shapes_folder, ["test_resnet"], weights=small_weights, settings=settings, listener=ignore)

    begun = call().folder
    (begun / "report.html").unlink()
    assert call().folder == begun
    record = json.loads((begun / "comparison.json").read_text())
    (begun / "comparison.json").write_text(json.dumps(record | {"failed": [{"name": "test_vit-0", "error": "x"}]}))
    assert call().folder == begun
    assert json.loads((begun / "comparison.json").read_text())["failed"] == []
    monkeypatch.chdir(begun)
    assert resume(".", listener=ignore).record.name == begun.name


def test_weights_described_otherwise_are_another_network(tmp_path, monkeypatch, shapes_folder, small_weights):
    """Same file of weights, another mean: the images would be other ones."""
    weights = tmp_path / "weights"
    shutil.copytree(small_weights, weights)
    settings = {"stage1.epochs": 1, "stage2.epochs": 1}
    made = compare(
        shapes_folder, ["test_resnet"], weights=weights, settings=settings, out=tmp_path / "run", listener=ignore
    )
    config = weights / "test_resnet" / "config.json"
    before = config.read_text()
    described = json.loads(before)
    described.setdefault("pretrained_cfg", {})["mean"] = [0.1, 0.1, 0.1]
    config.write_text(json.dumps(described))
    with pytest.raises(RunError, match=r"network\.pretrained_cfg\.mean was \[.* and is \[0\.1, 0\.1, 0\.1\]"):
        resume(tmp_path / "run", listener=ignore)
    config.write_text(before)
    assert resume(tmp_path / "run", listener=ignore).record.rows[0].metrics == made.record.rows[0].metrics


def test_a_report_that_cannot_be_written_is_an_error_with_the_way_on(
    tmp_path, monkeypatch, shapes_folder, small_weights
):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = {"stage1.epochs": 1, "stage2.epochs": 0}
    with monkeypatch.context() as patched:
        patched.setattr(writing, "write_bytes", full)
        with pytest.raises(OutputError, match=r"No space left on device.*Free some space"):
            compare(
                shapes_folder, ["test_resnet"], weights=small_weights, settings=settings, out=tmp_path / "run",
                listener=ignore,
            )  # fmt: skip
    resume(tmp_path / "run", listener=ignore)
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_folder_that_is_deleted_while_its_figures_are_drawn_stays_deleted(tmp_path, shapes_folder, small_weights):
    out, settings = tmp_path / "out", {"stage1.epochs": 1, "stage2.epochs": 1, "isolating_tests": False}

    def delete(event: Event) -> None:
        if getattr(event, "part", "") == "figures" and out.is_dir():
            shutil.rmtree(out)

    with pytest.raises(OutputError, match="deleted or replaced"):
        compare(shapes_folder, ["test_resnet"], weights=small_weights, settings=settings, out=out, listener=delete)
    assert not out.exists()
