import os
import shutil

import numpy as np
import pytest

from retop.data import open_dataset, open_evaluation
from retop.data.index import index_file
from retop.data.reading import DECODING, READING
from retop.data.survey import survey_images
from retop.errors import ClassMismatchError, DataError, UnreadableImageError
from retop.events import Notice, PartAdvanced, PartFinished, PartStarted, ignore
from retop.recipe import DataRecipe

from .pictures import encoded, picture, write_classes

LONG_AGO = 1_000_000_000


def opened(folder, **settings):
    return open_dataset(folder, DataRecipe(**settings))


def contents(images):
    return [(images.labels_n[i], images.content(i)) for i in range(len(images))]


def age(folder):
    """Give files an old time, since what was written a moment ago is not kept in the index."""
    for path in folder.rglob("*.*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


def test_the_split_survives_renaming_moving_and_another_order(tmp_path):
    first = write_classes(tmp_path / "first", {"a": 12, "b": 9})
    second = tmp_path / "deep/second"
    for n, path in enumerate(sorted(first.rglob("*.png"), reverse=True)):
        target = second / path.parent.name / f"renamed {n}.jpeg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    one, two = opened(first), opened(second)
    assert one.test is not None and two.test is not None
    for left, right in ((one.train, two.train), (one.validation, two.validation), (one.test, two.test)):
        assert contents(left) == contents(right) and left.fingerprint == right.fingerprint
    assert one.record.fingerprint == two.record.fingerprint
    assert one.record.location != two.record.location


def test_images_are_in_canonical_order(tmp_path):
    images = opened(write_classes(tmp_path, {"b": 9, "a": 9})).train
    assert contents(images) == sorted(contents(images)) and images.classes == ("a", "b")


def test_the_record_counts_what_there_is(tmp_path):
    data = opened(write_classes(tmp_path, {"a": 20, "b": 10}), split=(0.6, 0.2, 0.2))
    assert [(part.name, part.per_class) for part in data.record.splits] == [
        ("train", (12, 6)),
        ("validation", (4, 2)),
        ("test", (4, 2)),
    ]
    assert data.record.split_by == "retop" and data.record.unreadable == ()


def test_without_a_test_fraction_there_is_no_test(tmp_path):
    assert opened(write_classes(tmp_path, {"a": 5, "b": 5}), split=(0.8, 0.2, 0.0)).test is None


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "val", "Testing")])
def test_split_folders_are_taken_as_they_are(tmp_path, names):
    for n, (part, count) in enumerate(zip(names, (4, 2, 1), strict=True)):
        write_classes(tmp_path / part, {"a": count, "b": count}, 20 * n)
    data = opened(tmp_path)
    assert data.test is not None and data.record.split_by == "folders"
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 4, 2)
    assert all(data.validation.path(i).startswith("val/") for i in range(4))


def test_training_images_alone_are_split_in_two_and_said_so(tmp_path):
    write_classes(tmp_path / "train", {"a": 17, "b": 17})
    write_classes(tmp_path / "test", {"a": 2, "b": 2}, 50)
    events = []
    data = open_dataset(tmp_path, DataRecipe(), events.append)
    assert data.test is not None and data.record.split_by == "retop"
    assert (len(data.train), len(data.validation), len(data.test)) == (28, 6, 4)
    assert any(isinstance(event, Notice) and "no validation images" in event.message for event in events)


def test_exact_copies_lie_on_one_side(tmp_path):
    write_classes(tmp_path, {"a": 30, "b": 30})
    for n in range(10):
        shutil.copy(tmp_path / f"a/{n}.png", tmp_path / f"a/copy {n}.png")
        shutil.copy(tmp_path / f"a/{n}.png", tmp_path / f"b/other {n}.png")
    data = opened(tmp_path)
    assert data.test is not None
    sides = [{content for _, content in contents(images)} for images in (data.train, data.validation, data.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_copies_across_classes_of_real_images_lie_on_one_side(shared):
    data = opened(shared / "data/flowers")
    assert data.test is not None
    sides = [{content for _, content in contents(images)} for images in (data.train, data.validation, data.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    total = sum(len(images) for images in (data.train, data.validation, data.test))
    assert total == 4317 and sum(map(len, sides)) < total


def test_fewer_images_are_chosen_by_content_and_nest(tmp_path):
    write_classes(tmp_path, {"a": 20, "b": 8})
    whole, eight, three = (opened(tmp_path, images_per_class=n) for n in (None, 8, 3))
    assert np.bincount(three.train.labels_n).tolist() == [3, 3]
    assert set(contents(three.train)) < set(contents(eight.train)) < set(contents(whole.train))
    assert contents(three.validation) == contents(whole.validation)
    assert three.record.fingerprint != whole.record.fingerprint


def test_unreadable_images_are_named_and_left_out(tmp_path):
    write_classes(tmp_path, {"a": 6, "b": 6}, kind="JPEG")
    (tmp_path / "a/cut.jpg").write_bytes(encoded(picture(77), "JPEG")[:300])
    (tmp_path / "b/page.jpg").write_bytes(b"<html>not found</html>")
    events = []
    data = open_dataset(tmp_path, DataRecipe(), events.append)
    assert [(image.path, image.reason.split(";")[0]) for image in data.record.unreadable] == [
        ("a/cut.jpg", data.record.unreadable[0].reason),
        ("b/page.jpg", "an HTML or XML page, not an image"),
    ]
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == 1 and "2 of 14 images cannot be read" in notices[0] and "a/cut.jpg" in notices[0]
    assert sum(sum(part.per_class) for part in data.record.splits) == 12


def test_a_class_without_a_readable_image_is_named(tmp_path):
    write_classes(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "c").mkdir()
    (tmp_path / "c/broken.png").write_bytes(b"broken")
    events = []
    assert open_dataset(tmp_path, DataRecipe(), events.append).classes == ("a", "b")
    assert any(isinstance(event, Notice) and "class 'c' without a readable image" in event.message for event in events)


def test_only_unreadable_images_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"broken")
    with pytest.raises(
        DataError, match=r"none of 2 files can be read as an image; the first is a/x\.png: not an image"
    ):
        opened(tmp_path)


def test_one_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="only one class, 'a'"):
        opened(write_classes(tmp_path, {"a": 4}))


def test_classes_that_differ_are_named(tmp_path):
    write_classes(tmp_path / "train", {"cats": 2, "dogs": 2, "owls": 1})
    write_classes(tmp_path / "validation", {"cats": 2, "Dogs": 2}, 20)
    with pytest.raises(ClassMismatchError) as caught:
        opened(tmp_path)
    assert "train/ lacks class 'Dogs'" in str(caught.value)
    assert "validation/ lacks classes 'dogs', 'owls'" in str(caught.value)


def test_validation_alone_is_refused(tmp_path):
    write_classes(tmp_path / "validation", {"a": 2, "b": 2})
    with pytest.raises(DataError, match="no readable image in train/"):
        opened(tmp_path)


def test_too_few_images_name_the_class(tmp_path):
    with pytest.raises(DataError, match="class 'b' has 2 different images"):
        opened(write_classes(tmp_path, {"a": 9, "b": 2}))


def test_the_second_opening_reads_nothing(tmp_path):
    age(write_classes(tmp_path, {"a": 5, "b": 5}))
    first, second = [], []
    one = open_dataset(tmp_path, DataRecipe(), first.append)
    two = open_dataset(tmp_path, DataRecipe(), second.append)
    assert first[0] == PartStarted(DECODING, 10, "images") and isinstance(first[-1], PartFinished)
    assert sum(event.steps for event in first if isinstance(event, PartAdvanced)) == 10
    assert second == [] and one.record == two.record


def test_the_second_opening_reads_what_is_new_and_still_names_what_is_unreadable(tmp_path):
    age(write_classes(tmp_path, {"a": 5, "b": 5}))
    (tmp_path / "a/broken.png").write_bytes(b"broken")
    age(tmp_path)
    opened(tmp_path)
    write_classes(tmp_path, {"a": 2}, 40)
    events = []
    data = open_dataset(tmp_path, DataRecipe(), events.append)
    assert events[0] == PartStarted(DECODING, 2, "images")
    assert [image.path for image in data.record.unreadable] == ["a/broken.png"]
    assert sum(sum(part.per_class) for part in data.record.splits) == 12


def test_damage_behind_a_header_is_found_by_decoding_and_only_what_was_not_decoded_is_read_again(tmp_path):
    write_classes(tmp_path, {"a": 5, "b": 5})
    content = encoded(picture(7, 200, 200), "JPEG")
    (tmp_path / "a/cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "b/text.jpg").write_bytes(b"hello")
    age(tmp_path)
    events = []
    headers = open_dataset(tmp_path, DataRecipe(), events.append, decode=False)
    assert [image.path for image in headers.record.unreadable] == ["b/text.jpg"]
    assert events[0] == PartStarted(READING, 12, "images") and not headers.survey.decoded
    events = []
    decoded = open_dataset(tmp_path, DataRecipe(), events.append)
    assert [image.path for image in decoded.record.unreadable] == ["a/cut.jpg", "b/text.jpg"]
    assert events[0] == PartStarted(DECODING, 11, "images") and decoded.survey.decoded
    events = []
    again = open_dataset(tmp_path, DataRecipe(), events.append, decode=False)
    assert again.record == decoded.record and not any(isinstance(event, PartStarted) for event in events)


def test_headers_say_what_decoding_says(shared):
    recipe, folder = DataRecipe(), shared / "data/awkward"
    facts = ["path", "content", "format", "mode", "width", "height", "quality", "problem"]
    headers = survey_images(folder, recipe, ignore, decode=False).table.select(facts).sort_by("path")
    assert headers.equals(survey_images(folder, recipe, ignore).table.select(facts).sort_by("path"))


def test_a_changed_file_is_read_again(tmp_path):
    age(write_classes(tmp_path, {"a": 5, "b": 5}))
    before = opened(tmp_path).record.fingerprint
    (tmp_path / "a/0.png").write_bytes(encoded(picture(99)))
    os.utime(tmp_path / "a/0.png", (LONG_AGO, LONG_AGO + 1))
    assert opened(tmp_path).record.fingerprint != before


def test_a_file_written_a_moment_ago_is_not_trusted_by_its_time(tmp_path):
    write_classes(tmp_path, {"a": 5, "b": 5})
    path = tmp_path / "a/0.png"
    status, content = path.stat(), path.read_bytes()
    before = opened(tmp_path).record.fingerprint
    other = bytearray(encoded(picture(0).point(lambda v: 255 - v)))
    path.write_bytes(bytes(other[: len(content)].ljust(len(content), b"\0")))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert opened(tmp_path).record.fingerprint != before


def test_a_damaged_index_is_made_again(tmp_path):
    age(write_classes(tmp_path, {"a": 5, "b": 5}))
    record = opened(tmp_path).record
    file = index_file(str(tmp_path.resolve()))
    damaged = bytearray(file.read_bytes())
    damaged[20:200] = bytes(180)
    file.write_bytes(damaged)
    assert opened(tmp_path).record == record
    file.write_bytes(b"")
    assert opened(tmp_path).record == record


def test_a_cache_that_cannot_be_written_is_only_noted(tmp_path, monkeypatch):
    write_classes(tmp_path / "data", {"a": 5, "b": 5})
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("RETOP_CACHE", str(tmp_path / "file"))
    events = []
    assert len(open_dataset(tmp_path / "data", DataRecipe(), events.append).train) > 0
    assert any(isinstance(event, Notice) and "RETOP_CACHE" in event.message for event in events)


def test_a_file_that_changes_after_it_was_indexed_is_not_read(tmp_path):
    data = opened(write_classes(tmp_path, {"a": 5, "b": 5}))
    path = tmp_path / data.train.path(0)
    path.write_bytes(encoded(picture(99)))
    with pytest.raises(UnreadableImageError, match="has changed since it was indexed"):
        data.train.read(0)


def test_taken_rows_keep_their_content(tmp_path):
    images = opened(write_classes(tmp_path, {"a": 9, "b": 9})).train
    some = images.take(np.array([3, 0, 3]))
    assert [some.path(i) for i in range(3)] == [images.path(3), images.path(0), images.path(3)]
    assert some.read(1) == images.read(0) and len(some) == 3 and some.content(2) == images.content(3)
    assert some.fingerprint != images.fingerprint
    assert images.take(np.arange(len(images))).fingerprint == images.fingerprint


def test_evaluation_takes_test_images_in_the_models_class_order(tmp_path):
    for n, part in enumerate(["train", "val", "test"]):
        write_classes(tmp_path / part, {"a": 2, "b": 2}, 10 * n)
    images = open_evaluation(tmp_path, ("b", "a", "c"))
    assert images.split == "test" and sorted(images.labels_n.tolist()) == [0, 0, 1, 1]
    assert all(images.path(i).split("/")[1] == images.classes[images.labels_n[i]] for i in range(4))


def test_evaluation_takes_every_image_of_one_class_folder_and_warns(tmp_path):
    seen = []
    images = open_evaluation(write_classes(tmp_path, {"a": 3}), ("a", "b"), seen.append)
    assert (len(images), images.split) == (3, "all")
    assert any(isinstance(event, Notice) and "may have been trained on" in event.message for event in seen)


@pytest.mark.parametrize("inside", ["", "train"])
def test_evaluation_on_the_training_folder_takes_what_training_held_out(tmp_path, inside):
    write_classes(tmp_path / inside, {"a": 20, "b": 20})
    trained = open_dataset(tmp_path, DataRecipe())
    held_out = trained.test or trained.validation
    seen = []
    images = open_evaluation(tmp_path, trained.classes, seen.append, trained.record.fingerprint)
    assert (images.split, images.fingerprint) == (held_out.split, held_out.fingerprint)
    assert not set(images.contents.to_pylist()) & set(trained.train.contents.to_pylist())
    assert any(isinstance(event, Notice) and "is what the model was trained on" in event.message for event in seen)


def test_evaluation_on_other_images_than_those_of_training_takes_all_and_warns(tmp_path):
    trained = open_dataset(write_classes(tmp_path / "here", {"a": 20, "b": 20}), DataRecipe(split_seed=1))
    for inside, split in (("", "all"), ("train", "train")):
        write_classes(tmp_path / f"there-{split}" / inside, {"a": 20, "b": 20}, 50)
        seen = []
        location = tmp_path / f"there-{split}"
        images = open_evaluation(location, trained.classes, seen.append, trained.record.fingerprint)
        assert (images.split, len(images)) == (split, 40)
        assert any(isinstance(event, Notice) and event.level == "warning" for event in seen)


def test_evaluation_refuses_classes_the_model_does_not_know(tmp_path):
    with pytest.raises(ClassMismatchError, match=r"class 'owl', which the model does not know; its classes are a, b"):
        open_evaluation(write_classes(tmp_path, {"a": 3, "owl": 1}), ("a", "b"))


def test_a_split_that_is_asked_for_where_folders_say_it_is_told(tmp_path):
    for split in ("train", "validation"):
        write_classes(tmp_path / "split" / split, {"a": 3, "b": 3})
    write_classes(tmp_path / "whole", {"a": 6, "b": 6})
    for folder, settings, told in (
        ("split", {"split": (0.6, 0.2, 0.2), "split_seed": 1}, True),
        ("split", {"split_seed": 1}, True),
        ("split", {}, False),
        ("whole", {"split": (0.5, 0.5, 0), "split_seed": 1}, False),
    ):
        heard = []
        open_dataset(tmp_path / folder, DataRecipe(**settings), heard.append)
        said = [event.message for event in heard if isinstance(event, Notice) and "nothing: " in event.message]
        assert [all(f"data.{name}" in message for name in settings) for message in said] == [True] * told
