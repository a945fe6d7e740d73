"""What `retop evaluate` measures: images that the model has not learned from."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from images import SHAPES, draw_shape
from retop.cli.app import app
from retop.data import open_dataset
from retop.recipe import DataRecipe
from retop.records import read_predictions
from small_runs import run_small


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """A table of 60 images of 20 patients, each of whom has three images of one class."""
    rows = ["path,label,patient"]
    for patient in range(20):
        label = SHAPES[patient % 3]
        for number in range(3):
            name = f"{label}-{patient:02d}-{number}.png"
            draw_shape(label, 10 * patient + number).save(tmp_path / name)
            rows.append(f"{name},{label},p{patient:02d}")
    (tmp_path / "images.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "images.csv"


def test_groups_keep_the_evaluation_to_images_that_the_model_has_not_seen(
    patients: Path, small_weights: Path, tmp_path: Path
) -> None:
    data = open_dataset(patients, DataRecipe(columns={"group": "patient"}))
    run_small(tmp_path / "run", data, weights=small_weights, settings={"isolating_tests": False})
    held_out = read_predictions(tmp_path / "run" / "predictions.parquet", "test")
    learned = {path.split("-")[1] for path in data.train.paths.to_pylist()}
    # Whole patients, none of whom was learned from.
    assert len(held_out.paths) == 3 * len({path.split("-")[1] for path in held_out.paths}) < 60
    assert not learned & {path.split("-")[1] for path in held_out.paths}

    def evaluate(*words: str) -> str:
        call = ["evaluate", str(tmp_path / "run" / "model"), str(patients), *words]
        done = CliRunner().invoke(app, call, env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        return done.stdout

    for option in (["--group", "patient"], ["--group-pattern", r"-(\d\d)-"]):
        measured = json.loads(evaluate(*option, "--json"))
        assert (measured["split"], measured["n"]) == ("test", len(held_out.paths))
    assert re.search(rf"\btest, {len(held_out.paths)} images", evaluate("--group", "patient"))
    # The default split is another one, so nothing is known to be held out.
    measured = json.loads(evaluate("--json"))
    assert (measured["split"], measured["n"]) == ("all", 60)
