"""Malformed, disguised and oversized files: refused by name and quickly, or read."""

import pytest

from malformed import DISGUISES, gif_bomb, malformed_files, png_bomb
from retop.data import decode_image, open_dataset
from retop.data.decoding import inspect_image
from retop.errors import UnreadableImageError
from retop.recipe import DataRecipe

from .pictures import write_classes


def outcome(name, content):
    """Whether a file is read; every way of reading it must agree."""
    answers = []
    for read in (inspect_image, decode_image, lambda c, n: decode_image(c, n, 64)):
        try:
            read(content, name)
            answers.append(True)
        except UnreadableImageError as error:
            assert error.path == name and error.reason
            answers.append(False)
    return answers


def test_malformed_files_are_read_or_refused_with_our_own_error():
    answers = [outcome(name, content) for name, content in malformed_files(700)]
    assert sum(not any(answer) for answer in answers) > 300


def test_malformed_files_are_the_same_every_time():
    assert list(malformed_files(40)) == list(malformed_files(40))
    assert dict(malformed_files(40)) != dict(malformed_files(40, seed=1))


@pytest.mark.parametrize("kind", DISGUISES)
def test_other_formats_are_refused_whatever_their_name(kind):
    with pytest.raises(UnreadableImageError):
        decode_image(DISGUISES[kind], f"{kind}.jpg")


def test_a_bomb_is_refused_before_it_is_unpacked_and_of_many_frames_the_first_is_read():
    with pytest.raises(UnreadableImageError, match=r"50,000 x 50,000 pixels"):
        inspect_image(png_bomb(), "bomb.png")
    assert decode_image(gif_bomb(2_000), "many.gif").getpixel((0, 0)) == (200, 10, 10)


def test_a_folder_of_malformed_files_is_listed_with_reasons(tmp_path):
    write_classes(tmp_path, {"a": 5, "b": 5})
    for name, content in malformed_files(100, seed=3):
        (tmp_path / "a" / name).write_bytes(content)
    record = open_dataset(tmp_path, DataRecipe()).record
    held = sum(sum(split.per_class) for split in record.splits)
    assert held + len(record.unreadable) == 110 and all(image.reason for image in record.unreadable)
