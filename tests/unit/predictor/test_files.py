"""Predictions of many images into a file: complete, in order, and resumed where they stopped."""

import csv
import io
import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from images import write_shapes
from retop.errors import DataError, RunBusyError, UsageError
from retop.explanation.folder import MapFolder
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


def test_names_that_no_system_takes_are_rows_with_a_reason(predictor: Predictor, tmp_path: Path) -> None:
    name = 300 * "x" + ".jpg"
    table = tmp_path / "names.csv"
    table.write_text(f"path\n{name}\n")
    assert list(find_inputs([name, str(table)], False, [])) == [name, name]
    (answer,) = predictor.stream([name])
    assert answer.label is None
    assert answer.error


def test_a_column_of_images_instead_of_paths_is_refused_by_name(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": b"x", "path": "a.jpg"}]})
    pq.write_table(table, tmp_path / "images.parquet")
    with pytest.raises(
        UsageError, match=r"images\.parquet has the images inside.* retop evaluate MODEL .*images\.parquet"
    ):
        list(find_inputs([str(tmp_path / "images.parquet")], False, []))
    pq.write_table(table.append_column("file", [["a.jpg"]]), tmp_path / "both.parquet")
    assert list(find_inputs([str(tmp_path / "both.parquet")], False, [])) == ["a.jpg"]
    pq.write_table(pa.table({"image": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(DataError, match=r"column image .* holds int64, not paths"):
        list(find_inputs([str(tmp_path / "numbers.parquet")], False, []))


@pytest.mark.parametrize("name", ["photos.zip", "shard-000.tar", "photos.tar.gz"])
def test_an_archive_is_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match=rf"{name} has the images inside.* unpack it and give the folder"):
        list(find_inputs([str(tmp_path / name)], False, []))
    assert list(find_inputs([f"no-{name}"], False, [])) == [f"no-{name}"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_paths_are_read_as_spreadsheets_write_them(tmp_path: Path, separator: str) -> None:
    (tmp_path / "t.csv").write_text(f"path{separator}number\na.jpg{separator}1\n", encoding="utf-8-sig")
    assert list(find_inputs([str(tmp_path / "t.csv")], False, [])) == ["a.jpg"]
    (tmp_path / "t.csv").write_text(f"number{separator} path\n1{separator} a.jpg\n", encoding="utf-8")
    assert list(find_inputs([str(tmp_path / "t.csv")], False, [])) == ["a.jpg"]


def test_a_table_of_windows_names_the_files_beside_it(photos: Path, tmp_path: Path) -> None:
    name = Path(next(find_inputs([str(photos)], True, []))).relative_to(photos)
    table = photos / "list.csv"
    table.write_text(f"path\n{str(name).replace('/', chr(92))}\nno\\such.jpg\n")
    assert list(find_inputs([str(table)], True, [])) == [str(photos / name), "no\\such.jpg"]
    table.unlink()


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
    with PredictionFile(tmp_path / f"whole.{kind}", predictor, 2) as whole:
        list(whole.gather(predictor.stream(whole.remaining(paths), 1)))
        whole.finish()
    with PredictionFile(tmp_path / f"cut.{kind}", predictor, 2) as first:
        for number, _ in enumerate(first.gather(predictor.stream(first.remaining(paths), 1))):
            if number == 5:
                break
    with first.partial.open("a") as file:
        file.write('{"path": "half a li')
    with PredictionFile(tmp_path / f"cut.{kind}", predictor, 2) as again:
        # The broken one is among the first six.
        assert (again.num_done, again.num_unreadable) == (6, 1)
        list(again.gather(predictor.stream(again.remaining(paths), 1)))
        again.finish()
    assert (again.num_done, again.num_unreadable) == (13, 1)
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
    with PredictionFile(tmp_path / "a.csv", predictor, 1) as file:
        list(file.gather(predictor.stream(paths[:3])))
    with PredictionFile(tmp_path / "a.csv", predictor, 1) as file, pytest.raises(UsageError, match="number 1 was"):
        list(file.remaining(paths[1:]))
    with pytest.raises(UsageError, match="another model, threshold"):
        PredictionFile(tmp_path / "a.csv", Predictor(trained_run, reject_below=0.7), 1).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == [".a.csv.partial"]
    (tmp_path / "done.csv").write_text("mine")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        PredictionFile(tmp_path / "done.csv", predictor, 1)
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl, \.parquet"):
        PredictionFile(tmp_path / "done.txt", predictor, 1)


def hold(run: Path, path: Path, photos: list[str], ready: Any, over: Any) -> None:
    predictor = Predictor(run)
    with PredictionFile(path, predictor, 1) as file:
        for _ in file.gather(predictor.stream(photos, 1)):
            ready.set()
            over.wait(60)
        file.finish()


def test_two_commands_with_one_output_do_not_mix(
    predictor: Predictor, trained_run: Path, photos: Path, tmp_path: Path
) -> None:
    paths = list(find_inputs([str(photos)], True, []))
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    process = context.Process(target=hold, args=(trained_run, tmp_path / "a.csv", paths, ready, over))
    process.start()
    assert ready.wait(60)
    with pytest.raises(RunBusyError, match=rf"a.csv is being worked on by process {process.pid} on .*--output"):
        PredictionFile(tmp_path / "a.csv", predictor, 1).__enter__()
    over.set()
    process.join()
    assert [row["path"] for row in read(tmp_path / "a.csv")] == paths
    with pytest.raises(UsageError, match="nothing is overwritten"):
        PredictionFile(tmp_path / "a.csv", predictor, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_that_appears_meanwhile_is_kept_and_so_are_the_answers(
    predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    paths = list(find_inputs([str(photos)], True, []))
    with PredictionFile(tmp_path / "a.csv", predictor, 1) as file:
        list(file.gather(predictor.stream(paths)))
        (tmp_path / "a.csv").write_text("mine")
        with pytest.raises(UsageError, match=r"all answers are in .*partial"):
            file.finish()
    assert (tmp_path / "a.csv").read_text() == "mine"
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    with PredictionFile(tmp_path / "a.csv", predictor, 1) as file:
        assert list(file.remaining(paths)) == []
        file.finish()
    assert len(read(tmp_path / "a.csv")) == len(paths)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_names_that_are_not_utf_8_are_written_and_found_again(
    predictor: Predictor, photos: Path, tmp_path: Path, kind: str
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copy(next((photos / "square").glob("*.png")), odd)
    with PredictionFile(tmp_path / f"a.{kind}", predictor, 1) as file:
        list(file.gather(predictor.stream([str(odd)])))
    with PredictionFile(tmp_path / f"a.{kind}", predictor, 1) as file:
        assert list(file.remaining([str(odd)])) == []
        file.finish()
    (row,) = read(tmp_path / f"a.{kind}")
    assert row["path"] == f"{tmp_path}/caf\\xe9.png"
    assert not row["error"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_images_make_a_table_without_rows(predictor: Predictor, tmp_path: Path, kind: str) -> None:
    with PredictionFile(tmp_path / f"a.{kind}", predictor, 2) as file:
        list(file.gather(predictor.stream(file.remaining([]))))
        file.finish()
    names = ["path", "label", "confidence", "rejected", "error", "class_1", "probability_1", "class_2", "probability_2"]
    if kind == "csv":
        assert (tmp_path / "a.csv").read_text() == ",".join(names) + "\n"
    else:
        assert pq.read_schema(tmp_path / "a.parquet").names == names


def test_a_command_without_an_answer_leaves_nothing_that_binds_the_next(
    predictor: Predictor, trained_run: Path, photos: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(DataError, match="nothing fits"),
        PredictionFile(tmp_path / "a.csv", predictor, 1) as file,
    ):
        list(file.gather(predictor.stream(file.remaining(find_inputs([str(photos / "*.bmp")], True, [])))))
    assert not list(tmp_path.iterdir())
    # As versions before this one left it.
    file.partial.write_text('{"top": 1}\n')
    paths = list(find_inputs([str(photos)], True, []))
    with PredictionFile(tmp_path / "a.csv", predictor, 3) as file:
        list(file.gather(predictor.stream(file.remaining(paths))))
        file.finish()
    assert len(read(tmp_path / "a.csv")) == len(paths)


def test_heat_maps_may_not_lie_among_the_images(photos: Path, tmp_path: Path) -> None:
    for named, recursive in ((photos, True), (photos / "maps", False)):
        (photos / "maps").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="images of the next command"):
            list(find_inputs([str(named)], recursive, [], apart=photos / "maps"))
    assert len(list(find_inputs([str(photos / "disc")], False, [], apart=photos / "disc" / "maps"))) == 5
    shutil.copy(next((photos / "square").glob("*.png")), photos / "maps" / "x.png")
    with pytest.raises(UsageError, match="images of the next command"):
        list(find_inputs([str(photos / "**" / "*.png")], True, [], apart=photos / "maps"))
    shutil.rmtree(photos / "maps")


def test_heat_maps_of_images_with_one_name_are_told_apart(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    places = [tmp_path / folder / "1.png" for folder in ("a", "b", "c")]
    for source, place in zip(sorted(photos.glob("*/*.png")), places, strict=False):
        place.parent.mkdir()
        shutil.copy(source, place)
    for many in (places[:2], places[1:]):
        # The second time as a resumed command does it.
        maps = MapFolder(tmp_path / "maps")
        for place in many:
            maps.write(predictor, str(place), predictor.classes[0])
    with (tmp_path / "maps" / "maps.csv").open() as file:
        rows = [(row["file"], row["path"]) for row in csv.DictReader(file)]
    assert rows == [(name, str(place)) for name, place in zip(("1.png", "1-2.png", "1-3.png"), places, strict=True)]
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {"maps.csv", *(name for name, _ in rows)}
