"""A comparison in folds: every image is tested once, and the report is written."""

from images import write_shapes
from retop.api import compare
from retop.events import ignore
from retop.report import comparison_facts, open_folder, report_facts

SHORT = {"stage1.epochs": 1, "stage2.epochs": 1, "views.count": 1, "views.preset": "none", "data.folds": 3}


def test_a_comparison_in_folds_ranks_all_images_once_and_writes_its_report(tmp_path):
    photos = write_shapes(tmp_path / "photos", 9, side=32)
    num_images = sum(1 for file in photos.rglob("*") if file.is_file())
    found = compare(photos, ["pocket_resnet"], settings=SHORT, out=tmp_path / "out", cache=False, listener=ignore)
    (row,) = found.record.rows
    assert row.runs == tuple(f"pocket_resnet-0-f{fold}" for fold in range(3))
    assert sum(sum(counts) for counts in row.metrics.confusion) == num_images
    assert (tmp_path / "out/report.html").is_file()
    facts = comparison_facts(open_folder(tmp_path / "out"))
    (contender,) = facts.contenders
    assert contender.answers.n == contender.confidence.n == num_images
    assert contender.answers.num_missed == num_images - row.metrics.num_right
    assert sum(cell.num_images for cell in contender.answers.cells) == num_images
    assert "3 folds" in facts.divided


def test_folds_of_two_folders_are_ranked_together(tmp_path):
    photos = write_shapes(tmp_path / "photos", 6, side=32)
    for seed, out in enumerate(("one", "two")):
        compare(
            photos, ["pocket_resnet"], settings=SHORT, seeds=[seed], out=tmp_path / out, cache=False, listener=ignore
        )
    facts, _ = report_facts([tmp_path / "one", tmp_path / "two"])
    assert facts.joint.reason is None and len(facts.joint.ranking.rows) == 2
