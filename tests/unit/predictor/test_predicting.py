"""A trained model answers as it was measured, whatever form the image has and however many come at once."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from images import draw_shape, write_large_photos
from retop.activations import ActivationStore
from retop.artifact import load_model_folder
from retop.data import Dataset, open_dataset, open_evaluation
from retop.errors import ModelFolderError, UsageError
from retop.predictor import Prediction, Predictor
from retop.recipe import DataRecipe
from retop.records import Predictions, read_predictions
from small_runs import run_small


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_weights: Path, shapes_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    data = open_dataset(shapes_folder, DataRecipe())
    run_small(folder, data, weights=small_weights, store=ActivationStore(folder / "store"))
    return folder


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor(run)


@pytest.fixture
def measured(run: Path) -> Predictions:
    """What evaluation saw on the test images."""
    return read_predictions(run / "predictions.parquet", "test")


def probabilities(predictions: list[Prediction], classes: tuple[str, ...]) -> np.ndarray:
    return np.array([[prediction.probabilities[name] for name in classes] for prediction in predictions])


def test_prediction_is_bit_for_bit_what_evaluation_saw(
    predictor: Predictor, measured: Predictions, shapes_folder: Path
) -> None:
    answers = list(predictor.stream([shapes_folder / path for path in measured.paths]))
    logits_nk = measured.logits_nk.astype(np.float64)
    given_nk = probabilities(answers, predictor.classes)
    assert np.array_equal(given_nk, predictor.probabilities(logits_nk))
    wide_nk = np.exp((logits_nk - logits_nk.max(1, keepdims=True)) / predictor.temperature)
    np.testing.assert_allclose(given_nk, wide_nk / wide_nk.sum(1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_changes_no_probability(
    predictor: Predictor, measured: Predictions, shapes_folder: Path, batch_size: int
) -> None:
    answers = list(predictor.stream([shapes_folder / path for path in measured.paths], batch_size))
    np.testing.assert_allclose(
        probabilities(answers, predictor.classes), predictor.probabilities(measured.logits_nk), atol=1e-4
    )


def test_logits_of_the_folder_equal_the_network_in_memory(run: Path, predictor: Predictor) -> None:
    import torch

    images = torch.from_numpy(np.stack([np.asarray(draw_shape("disc", seed)) for seed in range(4)])).permute(0, 3, 1, 2)
    with torch.no_grad():
        whole = load_model_folder(run).classifier(images).numpy()
    np.testing.assert_allclose(predictor.logits(images), whole, rtol=1e-5, atol=1e-5)


def test_a_folded_predictor_gives_the_same_answers(run: Path, predictor: Predictor, shapes_folder: Path) -> None:
    paths = sorted(map(str, (shapes_folder / "test").rglob("*.png")))
    folded = Predictor(run)
    folded.fold()
    modules = list(folded._image_network.modules())
    assert modules != list(folded.classifier.image_network.modules())
    for before, after in zip(predictor.stream(paths), folded.stream(paths), strict=True):
        assert before.label == after.label
        assert after.probabilities == pytest.approx(before.probabilities, abs=1e-5)


def test_evaluation_counts_every_image_exactly_once(
    predictor: Predictor, measured: Predictions, shapes: Dataset
) -> None:
    assert shapes.test is not None
    again = predictor.evaluate(shapes.test)
    assert sorted(measured.paths) == sorted(shapes.test.path(i) for i in range(len(shapes.test)))
    assert len(set(measured.paths)) == len(measured.paths) == 21
    assert again.paths == measured.paths
    assert np.array_equal(again.logits_nk, measured.logits_nk)
    assert all(predictor.classes[label] in path for label, path in zip(again.labels_n, again.paths, strict=True))


def test_path_bytes_picture_and_array_agree(predictor: Predictor, shapes_folder: Path) -> None:
    for path in sorted((shapes_folder / "test" / "disc").iterdir())[:4]:
        opened = Image.open(path)
        forms = [path, str(path), path.read_bytes(), opened, np.asarray(opened.convert("RGB"))]
        answers = [predictor.predict(form) for form in forms]
        assert len({tuple(answer.probabilities.values()) for answer in answers if isinstance(answer, Prediction)}) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_read_alike_in_every_form(predictor: Predictor, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    draw_shape("stripes", 3).resize((80, 64)).save(path, exif=exif, quality=95)
    answers = predictor.predict([path, path.read_bytes(), Image.open(path)])
    assert isinstance(answers, list)
    assert answers[0].probabilities == answers[1].probabilities == answers[2].probabilities


def test_a_large_photo_is_predicted_as_it_is_evaluated_in_every_form_of_its_file(
    predictor: Predictor, tmp_path: Path
) -> None:
    """JPEGs of this size are decoded at reduced scale."""
    for name in predictor.classes:
        (tmp_path / name).mkdir()
    files = write_large_photos(tmp_path / "stripes")
    images = open_evaluation(tmp_path, predictor.classes)
    expected_nk = predictor.probabilities(predictor.evaluate(images).logits_nk)
    paths = [tmp_path / images.path(row) for row in range(len(images))]
    assert sorted(paths) == files
    for form in (Path, str, Path.read_bytes):
        answers = list(predictor.stream([form(path) for path in paths]))  # type: ignore[operator]
        np.testing.assert_allclose(probabilities(answers, predictor.classes), expected_nk, rtol=1e-6)
    with Image.open(paths[0]) as opened:
        answer = predictor.predict(opened)
        assert isinstance(answer, Prediction)
        assert answer.probabilities == pytest.approx(answers[0].probabilities, rel=1e-6)
        assert opened.load() is not None
    answers = list(predictor.stream([np.asarray(ImageOps.exif_transpose(Image.open(path))) for path in paths]))
    np.testing.assert_allclose(probabilities(answers, predictor.classes), expected_nk, atol=0.02)


def test_one_opened_picture_may_stand_in_a_list_many_times(predictor: Predictor, tmp_path: Path) -> None:
    draw_shape("stripes", 5, 1200).save(tmp_path / "a.png", compress_level=9)
    expected = predictor.predict(tmp_path / "a.png")
    assert isinstance(expected, Prediction)
    for _ in range(3):
        with Image.open(tmp_path / "a.png") as opened:
            answers = predictor.predict([opened] * 16)
        assert isinstance(answers, list)
        assert all(answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5) for answer in answers)


def test_grey_and_transparent_arrays_are_images_too(predictor: Predictor) -> None:
    grey = np.asarray(draw_shape("disc", 1).convert("L"))
    clear = np.asarray(draw_shape("disc", 1).convert("RGBA"))
    answers = predictor.predict([grey, clear])
    assert isinstance(answers, list)
    assert all(answer.error is None for answer in answers)


def test_what_cannot_be_read_is_named_and_the_others_are_answered(predictor: Predictor, tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    draw_shape("disc", 0).save(good)
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    names = ["text.jpg", "good.png", "missing.jpg", "cut.png"]
    answers = predictor.predict([tmp_path / name for name in names])
    assert isinstance(answers, list)
    assert [answer.error is None for answer in answers] == [False, True, False, False]
    assert answers[0].label is None
    assert answers[0].confidence is None
    assert "No such file" in str(answers[2].error)


def test_a_truncated_picture_in_memory_is_named(predictor: Predictor, tmp_path: Path) -> None:
    draw_shape("disc", 0).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    with Image.open(tmp_path / "cut.jpg") as opened:
        answer = predictor.predict(opened)
    assert isinstance(answer, Prediction)
    assert answer.error is not None


@pytest.mark.parametrize(
    "thing",
    [3, None, np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 5, 3), np.uint8), np.zeros(5, np.uint8)],
    ids=["number", "nothing", "floats", "two channels", "empty", "one dimension"],
)
def test_what_is_no_image_is_refused(predictor: Predictor, thing: object) -> None:
    with pytest.raises(UsageError, match="expected a path, bytes, a PIL image or an array"):
        predictor.predict(thing)  # type: ignore[arg-type]


def test_other_classes_are_refused(predictor: Predictor, tmp_path: Path, shapes: Dataset) -> None:
    import dataclasses

    other = dataclasses.replace(shapes.train, classes=("a", "b", "c"))
    with pytest.raises(
        UsageError, match=r"the data's classes \(a, b, c\) are not the model's \(disc, square, stripes\)"
    ):
        predictor.evaluate(other)


def test_a_prediction_shows_itself_in_a_notebook() -> None:
    shown = Prediction("<b>.jpg", "cat", 0.9, {"cat": 0.9, "dog": 0.1})._repr_html_()
    assert "&lt;b&gt;.jpg" in shown
    assert "90.0 %" in shown


def test_a_pipe_and_a_huge_file_are_named_and_not_read(predictor: Predictor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(50 * 2**30)
    answers = predictor.predict([tmp_path / "pipe.png", tmp_path / "huge.png"])
    assert isinstance(answers, list)
    assert answers[0].error == "not a regular file"
    assert "bytes; at most" in str(answers[1].error)


def test_a_device_that_is_not_there_is_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="device 'warp' is not available here"):
        Predictor(run, "warp")


def test_features_enter_the_head_and_give_the_same_answer(run: Path, predictor: Predictor) -> None:
    answer = predictor.predict(np.asarray(draw_shape("disc", 0)), features=True)
    assert isinstance(answer, Prediction)
    assert answer.features is not None
    assert len(answer.features) == predictor.trained.head_features
    head = load_model_folder(run).classifier.head
    logits_k = np.array(answer.features) @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(
        predictor.probabilities(logits_k[None])[0], list(answer.probabilities.values()), atol=1e-5
    )
    assert predictor.predict(np.asarray(draw_shape("disc", 0))).features is None  # type: ignore[union-attr]


def test_answers_below_the_threshold_are_refused_and_show_what_they_would_have_been(run: Path) -> None:
    answers = Predictor(run).predict([np.asarray(draw_shape("disc", seed)) for seed in range(12)])
    assert isinstance(answers, list)
    threshold = sorted(answer.confidence or 0 for answer in answers)[6]
    strict = Predictor(run, reject_below=threshold)
    again = strict.predict([np.asarray(draw_shape("disc", seed)) for seed in range(12)])
    assert isinstance(again, list)
    assert [answer.rejected for answer in again] == [(a.confidence or 0) < threshold for a in answers]
    assert [answer.label is None for answer in again] == [answer.rejected for answer in again]
    assert [answer.probabilities for answer in again] == [answer.probabilities for answer in answers]
    assert strict.acceptance is not None
    assert strict.acceptance.n == 15


def test_thresholds_that_cannot_be_are_refused(run: Path) -> None:
    with pytest.raises(UsageError, match=r"between 0 and 1; received 1\.5"):
        Predictor(run, reject_below=1.5)
    with pytest.raises(UsageError, match="not both"):
        Predictor(run, reject_below=0.5, target_accuracy=0.9)


def test_any_number_of_images_streams_through_without_being_collected(predictor: Predictor) -> None:
    drawn = []

    def images() -> Iterator[np.ndarray]:
        for seed in range(40):
            drawn.append(seed)
            yield np.asarray(draw_shape("disc", seed))

    answers = predictor.stream(images(), batch_size=4)
    next(answers)
    assert len(drawn) <= 12
    assert sum(1 for _ in answers) == 39


def test_answers_that_are_no_numbers_are_an_error_and_no_prediction(run: Path) -> None:
    """Every weight is finite, and what they give is not."""
    predictor = Predictor(run)
    with torch.no_grad():
        predictor.classifier.head.weight.fill_(3e38)
        predictor.classifier.head.bias.fill_(3e38)
    with pytest.raises(ModelFolderError, match=r"answers are not finite numbers"):
        predictor.predict(np.asarray(draw_shape("disc", 0)))
