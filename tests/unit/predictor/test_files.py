"""Predictions of many images into a file: complete, in order, and resumed where they stopped."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from images import write_shapes
from retop.errors import DataError, UsageError
from retop.predictor import Predictor
from retop.predictor.inputs import find_inputs
from retop.predictor.output import PredictionFile


@pytest.fixture(scope="module")
def predictor(trained_run: Path) -> Predictor:
    return Predictor(trained_run)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_shapes(tmp_path_factory.mktemp("photos"), per_class=4)
    (folder / "disc" / "broken.jpg").write_text("no image")
    return folder


def names(paths: object) -> list[str]:
    return [Path(path).name for path in paths]  # type: ignore[attr-defined]


def test_folders_patterns_tables_and_standard_input_name_the_same_images(photos: Path, tmp_path: Path) -> None:
    whole = list(find_inputs([str(photos)], True, []))
    assert len(whole) == 13
    assert list(find_inputs([str(photos / "*" / "*")], True, [])) == whole
    assert list(find_inputs(["-"], True, io.StringIO("\n".join(whole)))) == whole
    (photos / "list.csv").write_text("number,Path\n" + "".join(f"1,{Path(p).relative_to(photos)}\n" for p in whole))
    assert list(find_inputs([str(photos / "list.csv")], True, [])) == whole
    (photos / "list.csv").unlink()
    assert len(list(find_inputs([str(photos / "disc")], False, []))) == 5


def test_inputs_that_name_nothing_say_so(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--recursive"):
        list(find_inputs([str(photos)], False, []))
    with pytest.raises(DataError, match="nothing fits"):
        list(find_inputs([str(photos / "*.bmp")], False, []))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="no column of paths: it has a, b"):
        list(find_inputs([str(tmp_path / "t.csv")], False, []))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_interrupted_file_is_completed_and_equals_an_uninterrupted_one(
    predictor: Predictor, photos: Path, tmp_path: Path, kind: str
) -> None:
    paths = list(find_inputs([str(photos)], True, []))
    whole = PredictionFile(tmp_path / f"whole.{kind}", predictor, 2)
    list(whole.gather(predictor.stream(whole.remaining(paths), 1)))
    whole.finish()
    first = PredictionFile(tmp_path / f"cut.{kind}", predictor, 2)
    for number, _ in enumerate(first.gather(predictor.stream(first.remaining(paths), 1))):
        if number == 5:
            break
    with first.partial.open("a") as file:
        file.write('{"path": "half a li')
    again = PredictionFile(tmp_path / f"cut.{kind}", predictor, 2)
    assert again.num_done == 6
    list(again.gather(predictor.stream(again.remaining(paths), 1)))
    again.finish()
    assert read(tmp_path / f"cut.{kind}") == read(tmp_path / f"whole.{kind}")
    assert [row["path"] for row in read(tmp_path / f"cut.{kind}")] == paths
    assert sum(bool(row["error"]) for row in read(tmp_path / f"cut.{kind}")) == 1
    assert not list(tmp_path.glob(".*"))


def read(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text())))  # type: ignore[arg-type]
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_other_images_another_model_and_finished_files_are_refused(
    predictor: Predictor, trained_run: Path, photos: Path, tmp_path: Path
) -> None:
    paths = list(find_inputs([str(photos)], True, []))
    file = PredictionFile(tmp_path / "a.csv", predictor, 1)
    list(file.gather(predictor.stream(paths[:3])))
    with pytest.raises(UsageError, match="number 1 was"):
        list(PredictionFile(tmp_path / "a.csv", predictor, 1).remaining(paths[1:]))
    with pytest.raises(UsageError, match="another model, threshold"):
        PredictionFile(tmp_path / "a.csv", Predictor(trained_run, reject_below=0.7), 1)
    (tmp_path / "done.csv").write_text("mine")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        PredictionFile(tmp_path / "done.csv", predictor, 1)
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl, \.parquet"):
        PredictionFile(tmp_path / "done.txt", predictor, 1)
