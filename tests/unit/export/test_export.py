"""Exported files answer as the model does, and say so when they do not."""

import copy
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from images import draw_shape, write_large_photos
from retop.data import open_dataset
from retop.data.views import evaluation_view
from retop.errors import DataError, ExportError, OutputError, UsageError
from retop.export import ExportRequest, export_model, exporting
from retop.export.parity import ExportedPart, check_parity
from retop.export.sample import Sample, decode_for_whole, find_dataset, take_sample
from retop.export.script import compose_script
from retop.predictor import Prediction, Predictor
from retop.recipe import DataRecipe
from retop.records import Preprocessing
from small_runs import run_small

onnxruntime = pytest.importorskip("onnxruntime")
OWN_SIZE = np.zeros(2, np.int64)
PREPARED = Preprocessing(64, 64, 0.875, "center", "bicubic", (0.485, 0.456, 0.406), (0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def predictor(trained_run: Path) -> Predictor:
    return Predictor(trained_run)


@pytest.fixture(scope="module")
def sample(predictor: Predictor) -> Sample:
    return take_sample(predictor, find_dataset(predictor, None, lambda event: None), 64)


@pytest.fixture(scope="module")
def exported(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "out"
    rows = export_model(predictor, ExportRequest("onnx"), out=folder).rows
    assert [(row.part, row.passed) for row in rows] == [("network", True), ("whole", True)]
    assert rows[0].largest_difference < 1e-5
    return folder


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "hamming"])
@pytest.mark.parametrize(
    ("height", "width", "fraction", "mode"),
    [(64, 64, 0.875, "center"), (48, 40, 0.9, "squash"), (48, 64, 0.9, "center"), (48, 40, 0.95, "border")],
)
def test_the_graph_gives_pillows_pixels(
    interpolation: str, height: int, width: int, fraction: float, mode: str
) -> None:
    from retop.export.preprocessing import build_preprocessing

    prepared = dataclasses.replace(
        PREPARED, height=height, width=width, crop_fraction=fraction, crop_mode=mode, interpolation=interpolation
    )
    session = onnxruntime.InferenceSession(build_preprocessing(prepared, 18, 10).SerializeToString())
    generator = np.random.default_rng(0)
    for size in ((50, 38), (33, 78), (78, 33), (64, 64), (1, 1), (300, 4), (120, 90)):
        pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        wanted = evaluation_view(Image.fromarray(pixels), prepared).astype(int)
        given = session.run(None, {"image": pixels, "full_size": OWN_SIZE})[0][0].transpose(1, 2, 0).astype(int)
        differences = np.abs(given - wanted)
        # Ties of bilinear enlargement are the only places where float sums and whole numbers part.
        assert differences.max() <= (2 if interpolation == "bilinear" else 1), size
        assert (differences > 0).mean() < 0.01, size


def test_the_order_of_the_axes_is_pillows() -> None:
    """A tall image is resized down before it is resized across, since Pillow 13; the other way differs visibly."""
    from retop.export.preprocessing import build_preprocessing

    pixels = np.random.default_rng(1).integers(0, 256, (250, 80, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(pixels).resize((64, 250), Image.Resampling.BICUBIC).resize((64, 200)))
    prepared = dataclasses.replace(PREPARED, crop_fraction=1.0)
    wanted = evaluation_view(Image.fromarray(pixels), prepared)
    session = onnxruntime.InferenceSession(build_preprocessing(prepared, 18, 10).SerializeToString())
    given = session.run(None, {"image": pixels, "full_size": OWN_SIZE})[0][0].transpose(1, 2, 0)
    assert np.abs(given.astype(int) - wanted).max() <= 1
    assert np.abs(wide[68:132].astype(int) - wanted).max() > 3


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_the_crop_of_a_reduced_photo_follows_from_its_stored_size(tmp_path: Path, mode: str) -> None:
    from retop.data import preprocess_bytes
    from retop.export.preprocessing import build_preprocessing

    prepared = dataclasses.replace(PREPARED, crop_fraction=0.95, crop_mode=mode)
    session = onnxruntime.InferenceSession(build_preprocessing(prepared, 18, 10).SerializeToString())
    moved = []
    for photo in write_large_photos(tmp_path):
        wanted = preprocess_bytes(photo.read_bytes(), "x", prepared).transpose(2, 0, 1).astype(int)
        image, size = decode_for_whole(photo.read_bytes(), "x", prepared)
        assert image.shape[0] * 3 < size[0]
        given = session.run(None, {"image": image, "full_size": size})[0][0]
        assert np.abs(given - wanted).max() <= 1
        alone = session.run(None, {"image": image, "full_size": OWN_SIZE})[0][0]
        moved.append(np.abs(alone - wanted).max())
    assert max(moved) > 10 or mode == "squash"


def test_interpolations_that_cannot_be_equal_are_refused() -> None:
    from retop.export.preprocessing import build_preprocessing

    with pytest.raises(ExportError, match="'nearest', only with bilinear"):
        build_preprocessing(dataclasses.replace(PREPARED, interpolation="nearest"), 18, 10)


def test_the_script_beside_the_file_needs_no_retop_and_gives_the_same(
    exported: Path, predictor: Predictor, tmp_path: Path
) -> None:
    photos = []
    for number, options in enumerate(({}, {"quality": 80}, {})):
        photos.append(tmp_path / f"{number}.{'jpg' if options else 'png'}")
        draw_shape("disc", number, 300).convert("L" if number == 2 else "RGB").save(photos[-1], **options)
    exif = Image.Exif()
    exif[0x0112] = 6
    photos.append(tmp_path / "turned.jpg")
    draw_shape("stripes", 3, 300).save(photos[-1], exif=exif)
    photos += write_large_photos(tmp_path / "large")
    blocked = (
        "import runpy, sys; sys.modules['retop'] = sys.modules['torch'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-c", blocked, exported / "predict.py", *photos, "--top", "3"],
        capture_output=True, text=True, check=False, timeout=300, env=environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for line, photo in zip(ended.stdout.splitlines(), photos, strict=True):
        path, *found = line.split("\t")
        expected = predictor.predict(photo)
        assert isinstance(expected, Prediction)
        assert path == str(photo)
        given = {entry.rpartition(" ")[0]: float(entry.rpartition(" ")[2]) for entry in found}
        assert given == pytest.approx(expected.probabilities, abs=5e-3)


def test_the_script_reads_what_we_read_and_survives_what_we_refuse() -> None:
    from malformed import malformed_files
    from retop.data import decode_image
    from retop.errors import UnreadableImageError

    script: dict[str, Any] = {"__name__": "script"}
    exec(compile(compose_script(), "predict.py", "exec"), script)
    small, large = (draw_shape("stripes", seed, 900) for seed in range(2))
    buffer = io.BytesIO()
    large.save(buffer, "MPO", save_all=True, append_images=[small])
    assert Image.open(io.BytesIO(buffer.getvalue())).format == "MPO"
    given = script["read_image"](buffer.getvalue(), 64)
    expected = decode_for_whole(buffer.getvalue(), "x", PREPARED)
    assert given["image"].shape[0] < 900
    assert np.array_equal(given["image"], decode_image(buffer.getvalue(), "x", 64))
    assert list(given["full_size"]) == list(expected[1])
    read = refused = 0
    for name, content in malformed_files(700):
        try:
            ours = np.asarray(decode_image(content, name, 64))
        except UnreadableImageError:
            continue
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    theirs = script["read_image"](content, 64)["image"]
                except script["FAILURES"]:
                    theirs = None
        if theirs is None:
            # Pillow looks closer at the first bytes of an AVIF before it opens it.
            assert "avif" in name
            refused += 1
        else:
            assert np.array_equal(ours, theirs), name
            read += 1
    assert read > 50
    assert refused <= 5


def test_the_script_imports_nothing_of_ours() -> None:
    text = compose_script()
    compile(text, "predict.py", "exec")
    assert not re.search(r"^\s*(import|from) (retop|torch)", text, re.MULTILINE)


def test_the_file_knows_classes_and_preprocessing(exported: Path, predictor: Predictor) -> None:
    session = onnxruntime.InferenceSession(exported / "network.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["retop"])
    assert about["classes"] == list(predictor.classes)
    assert about["temperature"] == predictor.temperature
    assert json.loads((exported / "parity.json").read_text())["rows"][1]["n"] == 64


def test_int8_and_fp16_state_what_they_lose(
    predictor: Predictor, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    from retop.export import onnx_files

    # The conversion is the slow part, and the same for all precisions.
    monkeypatch.setattr(onnx_files, "convert_network", lambda predictor: onnx.load(exported / "network.onnx"))
    for precision in ("fp16", "int8"):
        rows = export_model(
            predictor, ExportRequest("onnx", precision, allowed_drop=0.5), out=tmp_path / precision
        ).rows
        assert all(row.precision == precision and row.accuracy_exported is not None for row in rows)
        assert 0 < rows[0].largest_difference < 0.5
    sizes = [(place / "network.onnx").stat().st_size for place in (exported, tmp_path / "fp16", tmp_path / "int8")]
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("kind", ["torch", "timm"])
def test_other_formats_answer_alike(predictor: Predictor, tmp_path: Path, kind: str) -> None:
    rows = export_model(predictor, ExportRequest(kind), out=tmp_path / kind).rows  # type: ignore[arg-type]
    assert [row.part for row in rows] == ["network"]
    assert rows[0].largest_difference < 1e-5
    names = {"torch": {"network.pt2"}, "timm": {"timm"}}[kind]
    assert {path.name for path in (tmp_path / kind).iterdir()} == {"parity.json", *names}
    if kind == "timm":
        card = (tmp_path / kind / "timm" / "README.md").read_text()
        assert f"temperature ({predictor.temperature:.4f})" in card


def test_what_timm_alone_cannot_load_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    """In a process that knows no network of ours."""
    from retop.backbones import has_plain_timm
    from retop.export.timm_folder import open_timm, write_timm

    assert not has_plain_timm("pocket_resnet")
    assert has_plain_timm("resnet50")
    write_timm(predictor, tmp_path / "timm")
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    (tmp_path / "timm" / "config.json").write_text(json.dumps(config | {"architecture": "pocket_resnet"}))
    with (
        pytest.raises(ExportError, match=r"Unknown model \(pocket_resnet\).*--format onnx"),
        open_timm(tmp_path / "timm", predictor),
    ):
        pass
    shutil.copytree(predictor.folder, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"architecture": "pocket_resnet"}))
    foreign = copy.copy(predictor)
    foreign.folder = tmp_path / "model"
    with pytest.raises(ExportError, match=r"timm alone does not know .* pocket_resnet.*--format onnx or torch"):
        write_timm(foreign, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_process_of_timm_that_dies_later_is_refused_too(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retop.export import timm_folder

    dies = "import os, sys; os.close(0); sys.stdout.buffer.write(bytes(8)); sys.stdout.flush(); sys.exit('no memory')"
    monkeypatch.setattr(timm_folder, "_PLAIN", dies)
    with (
        pytest.raises(ExportError, match=r"cannot run this folder: no memory; use --format"),
        timm_folder.open_timm(tmp_path, predictor) as part,
    ):
        part.answer(np.zeros((1, 3, 64, 64), np.uint8))


def test_openvino_answers_alike(
    predictor: Predictor, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    import onnx

    from retop.export import onnx_files

    monkeypatch.setattr(onnx_files, "convert_network", lambda predictor: onnx.load(exported / "network.onnx"))
    rows = export_model(predictor, ExportRequest("openvino"), out=tmp_path / "openvino").rows
    assert [row.part for row in rows] == ["network", "whole"]
    names = {path.name for path in (tmp_path / "openvino").iterdir()}
    assert names == {"network.xml", "network.bin", "whole.xml", "whole.bin", "parity.json"}


def test_a_file_that_answers_otherwise_is_kept_under_another_name(
    predictor: Predictor, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(predictor: Predictor, request: ExportRequest, folder: Path, *_: object) -> list[ExportedPart]:
        file = folder / exporting.UNCHECKED / "network.onnx"
        shutil.copy(exported / "network.onnx", file)
        file.with_suffix(".bin").write_bytes(b"weights")

        def answer(pixels: np.ndarray) -> np.ndarray:
            return np.tile(np.array([0.2, 0.3, 0.5]), (len(pixels), 1))

        return [ExportedPart(file, "network", answer)]

    monkeypatch.setattr(exporting, "_write", write)
    with pytest.raises(ExportError, match=r"network.onnx: probabilities differ by up to"):
        export_model(predictor, ExportRequest("onnx"), out=tmp_path / "out")
    names = ["network.bin.failed", "network.onnx.failed", "parity.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_an_export_that_is_interrupted_gives_no_name_to_what_is_unchecked(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(exporting, "check_parity", interrupt)
        export_model(predictor, ExportRequest("torch"), out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == [".unchecked", "network.pt2"]
    assert export_model(predictor, ExportRequest("torch"), out=tmp_path / "out").rows[0].passed
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["network.pt2", "parity.json"]


def test_a_changed_top_class_fails_only_where_its_margin_is_clear(sample: Sample) -> None:
    def shifted(by: float) -> ExportedPart:
        place = iter(range(len(sample)))

        def answer(pixels: np.ndarray) -> np.ndarray:
            rows = [sample.reference_nk[next(place)].copy() for _ in pixels]
            for row in rows:
                row[row.argmax()] -= by
                row[row.argmin()] += by
            return np.array(rows)

        return ExportedPart(Path("x"), "network", answer)

    assert check_parity(shifted(5e-5), sample, "fp32", 0).passed
    assert not check_parity(shifted(2e-4), sample, "fp32", 0).passed


def test_what_int8_loses_is_not_set_off_against_what_it_gains(sample: Sample) -> None:
    """Half of the images are given their right answer, half lose it: the accuracy stays as it was."""
    right_n = sample.reference_nk.argmax(1)
    labels_n = right_n.copy()
    labels_n[::2] = (labels_n[::2] + 1) % 3
    place = iter(range(len(sample)))

    def answer(pixels: np.ndarray) -> np.ndarray:
        return np.array([np.roll(sample.reference_nk[next(place)], 1) for _ in pixels])

    row = check_parity(
        ExportedPart(Path("x"), "network", answer), dataclasses.replace(sample, labels_n=labels_n), "int8", 0.1
    )
    assert row.accuracy == row.accuracy_exported == 0.5
    assert (row.num_lost, row.num_changed, row.passed) == (len(sample) // 2, len(sample), False)
    assert row.lost.low > 0.3


def test_a_run_of_a_relative_path_is_checked_from_another_folder(
    shapes_folder: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "photos").symlink_to(shapes_folder, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    shapes = open_dataset("photos", DataRecipe())
    run_small(tmp_path / "run", shapes, weights=small_weights)
    monkeypatch.chdir(tmp_path / "there")
    found = find_dataset(Predictor(tmp_path / "run"), None, lambda event: None)
    assert found.record.fingerprint == shapes.record.fingerprint


def test_images_of_the_run_are_taken_only_where_they_are_the_same(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from images import write_split_shapes

    place = Path(json.loads((predictor.folder.parent / "run.json").read_text())["data"]["location"]).name
    run = tmp_path / "run"
    shutil.copytree(predictor.folder.parent, run)
    record = json.loads((run / "run.json").read_text())
    record["data"]["location"] = place
    (run / "run.json").write_text(json.dumps(record))
    elsewhere = Predictor(run)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, DataError), match=rf"run.json names {place} as its images.*--data FOLDER"):
        find_dataset(elsewhere, None, lambda event: None)
    write_split_shapes(tmp_path / place, train=14, validation=5, test=7)
    with pytest.raises(DataError, match=r"other images than the model was trained on.*--data FOLDER"):
        find_dataset(elsewhere, None, lambda event: None)
    assert len(find_dataset(elsewhere, place, lambda event: None).train) == 42


def test_what_cannot_be_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        export_model(predictor, ExportRequest("onnx"), out=tmp_path / "full")
    with pytest.raises(OutputError, match=r"cannot be written.*--out"):
        export_model(predictor, ExportRequest("onnx"), out=tmp_path / "full" / "mine.txt")
    with pytest.raises(UsageError, match="at least 64"):
        export_model(predictor, ExportRequest("onnx", images=10), out=tmp_path / "x")
    with pytest.raises(UsageError, match="exists for --format onnx"):
        ExportRequest("torch", "int8")
