"""The four networks of the main job, at their own sizes, from folder to table. Run with: make test-slow."""

import json
from pathlib import Path

import pytest

from images import write_split_shapes
from retop import compare
from retop.events import ignore

FOUR = ("vgg16", "resnet50", "inception_v3", "xception")


@pytest.mark.slow
def test_the_four_run_end_to_end_from_random_weights(tmp_path: Path) -> None:
    images = write_split_shapes(
        tmp_path / "images", train=4, validation=2, test=2, classes=("disc", "square"), side=320
    )
    result = compare(
        images,
        FOUR,
        weights="random",
        settings={
            "stage1.epochs": 2,
            "stage2.epochs": 2,
            "views.count": 2,
            "scratch.stage2.epochs": 2,
            "scratch.views.count": 2,
        },
        baselines=["probe", "scratch"],
        out=tmp_path / "out",
        cache=tmp_path / "store",
        listener=ignore,
    )
    assert not result.record.failed
    rows = {row.name: row for row in result.record.rows}
    assert set(rows) == {*FOUR, *(f"probe-{name}" for name in FOUR), "scratch"}
    assert {name: rows[name].input_size[0] for name in FOUR} == dict(zip(FOUR, (224, 224, 299, 299), strict=True))
    assert all(row.metrics.n == 4 for row in rows.values())
    for name in FOUR:
        run = json.loads((tmp_path / "out" / f"{name}-0" / "run.json").read_text())
        assert run["network"]["loop"] == "store"
        assert (tmp_path / "out" / f"{name}-0" / "figures" / "confusion.svg").is_file()
