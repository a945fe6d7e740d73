"""What was named by relative paths is found again from every working folder."""

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
