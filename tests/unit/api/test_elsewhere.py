"""What was begun is found again: relative paths from every working folder, interrupted runs by the same call."""

import shutil

from retop.api import compare, resume
from retop.events import ignore
from retop.records import PlanRecord, read_record


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
