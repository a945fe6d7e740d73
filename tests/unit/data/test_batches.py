import threading
import time

import numpy as np
import pytest
import torch

from retop.data import decode_batches, open_dataset, preprocess_bytes, view_of
from retop.data.decoding import decode_image
from retop.errors import UnreadableImageError
from retop.recipe import DataRecipe, ViewsRecipe

from .pictures import preprocessing, write_classes

RECIPE = ViewsRecipe("standard", 4, 3)


@pytest.fixture
def images(tmp_path):
    return open_dataset(write_classes(tmp_path, {"a": 30, "b": 30}), DataRecipe()).train


def batches(images, rows, views, size=8, **options):
    return list(decode_batches(images, np.array(rows), np.array(views), preprocessing(), RECIPE, size, **options))


def decoding_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("retop-decode")]


def test_batches_hold_the_views_in_the_order_asked_for(images):
    rows, views = [5, 5, 5, 0, 7, 5, 1, 1, 2, 40], [0, 2, 1, 0, 3, 0, 1, 1, 0, 2]
    got = torch.cat(batches(images, rows, views, 4)).permute(0, 2, 3, 1).numpy()
    for n, (row, view) in enumerate(zip(rows, views, strict=True)):
        image = decode_image(images.read(row), "x")
        assert np.array_equal(got[n], view_of(image, preprocessing(), RECIPE, view, images.content(row)))


def test_batches_are_uint8_channels_last_and_the_last_may_be_smaller(images):
    got = batches(images, range(19), [0] * 19)
    assert [len(batch) for batch in got] == [8, 8, 3]
    for batch in got:
        assert batch.dtype == torch.uint8 and batch.shape[1:] == (3, 32, 32)
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_view_0_equals_what_prediction_sees(images):
    (batch,) = batches(images, [4], [0])
    expected = preprocess_bytes(images.read(4), images.path(4), preprocessing())
    assert np.array_equal(batch[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("options", [{"threads": 1, "ahead": 0}, {"threads": 5, "ahead": 4}])
def test_threads_and_order_do_not_change_a_pixel(images, options):
    rows = np.random.default_rng(0).permutation(40)
    plain = torch.cat(batches(images, range(40), [1] * 40))
    assert torch.equal(torch.cat(batches(images, rows, [1] * 40, 7, **options)), plain[rows])


def test_a_vanished_file_is_named_in_the_consumer_and_threads_end(images, tmp_path):
    (tmp_path / images.path(11)).unlink()
    got = []
    with pytest.raises(UnreadableImageError, match=images.path(11)):
        for batch in decode_batches(images, np.arange(30), np.zeros(30, np.int64), preprocessing(), RECIPE, 8):
            got.append(batch)
    assert len(got) == 1 and decoding_threads() == []


def test_closing_early_ends_the_threads(images):
    stream = decode_batches(images, np.arange(40), np.zeros(40, np.int64), preprocessing(), RECIPE, 4)
    next(stream)
    assert decoding_threads()
    stream.close()
    assert decoding_threads() == []


class CountingSource:
    """A source that counts what is read."""

    def __init__(self, source):
        self._source, self.reads = source, 0

    def read(self, path):
        self.reads += 1
        return self._source.read(path)


def test_work_stays_within_the_batches_ahead(images):
    object.__setattr__(images, "source", CountingSource(images.source))
    stream = decode_batches(images, np.arange(40), np.zeros(40, np.int64), preprocessing(), RECIPE, 4, ahead=2)
    next(stream)
    end = time.monotonic() + 60
    while images.source.reads < 12 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)
    assert images.source.reads == 12
    stream.close()


def test_views_side_by_side_decode_an_image_once(images):
    object.__setattr__(images, "source", CountingSource(images.source))
    batches(images, np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6))
    assert images.source.reads == 6


def test_no_rows_give_no_batches(images):
    assert batches(images, np.zeros(0, np.int64), np.zeros(0, np.int64)) == []


def test_the_size_of_every_batch_can_be_given(images):
    plain = torch.cat(batches(images, range(10), [0] * 10))
    got = batches(images, range(10), [0] * 10, [1, 6, 3])
    assert [len(batch) for batch in got] == [1, 6, 3] and torch.equal(torch.cat(got), plain)
    for sizes in ([1, 6], [0, 10], [11]):
        with pytest.raises(ValueError, match="adding up to the rows"):
            batches(images, range(10), [0] * 10, sizes)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"threads": 0}, {"ahead": -1}])
def test_impossible_sizes_are_refused_at_once(images, wrong):
    with pytest.raises(ValueError, match="batch_size and threads at least 1"):
        batches(images, [0], [0], **wrong)
    with pytest.raises(ValueError, match="2 rows, 1 views"):
        decode_batches(images, np.array([0, 1]), np.array([0]), preprocessing(), RECIPE, 1)
