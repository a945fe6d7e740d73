"""Filling the store from images."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from images import write_shapes
from retop.activations import ActivationStore, StoredView, store, store_features, store_views
from retop.activations import fill as fill_module
from retop.data import Dataset, batches, decode_image, open_dataset
from retop.errors import StoppedError
from retop.events import Event, PartAdvanced, ignore
from retop.recipe import DataRecipe, ViewsRecipe
from retop.records import Preprocessing
from retop.training import choose_runtime

PREPROCESSING = Preprocessing(32, 32, 1.0, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
VIEWS = ViewsRecipe("standard", 3)


class Widen(nn.Module):
    """A frozen part whose result is larger than its input."""

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        return images_nchw.float().repeat(1, 8, 1, 1) / 255


def fill(where: ActivationStore, data: Dataset, view: int = 0, events: list[Event] | None = None) -> StoredView:
    frozen = choose_runtime("cpu", "fp32").frozen(Widen(), "widen")
    listener = ignore if events is None else events.append
    return store_views(where, data.train, PREPROCESSING, VIEWS, [view], frozen, "widen", "prefix", listener)[0]


def test_row_i_belongs_to_image_i_and_the_second_time_nothing_is_computed(shapes: Dataset) -> None:
    ours = ActivationStore()
    first = fill(ours, shapes)
    events: list[Event] = []
    assert fill(ours, shapes, events=events).entry is first.entry
    assert events == [PartAdvanced("prefix", len(shapes.train), "from the store")]
    from retop.data.batches import decode_batches

    rows = np.array([7, 0, 30])
    (pixels,) = decode_batches(shapes.train, rows, np.zeros(3, dtype=np.int64), PREPROCESSING, VIEWS, 3)
    assert torch.equal(first.entry.gather(rows)[0], Widen()(pixels))


def test_views_are_entries_of_their_own(shapes: Dataset) -> None:
    ours = ActivationStore()
    plain, augmented, other = (fill(ours, shapes, view).entry.gather(np.arange(5))[0] for view in range(3))
    assert not torch.equal(plain, augmented)
    assert not torch.equal(augmented, other)


def filled_together(
    where: ActivationStore,
    data: Dataset,
    runs: list[int],
    last_batch: int = 10**6,
    end: type[BaseException] = StoppedError,
) -> list[StoredView]:
    """All three views; ends after so many batches went through the frozen part."""
    frozen = choose_runtime("cpu", "fp32").frozen(Widen(), "widen")

    def run(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        runs.append(len(pixels))
        return frozen.run(pixels)

    def stop(event: Event) -> None:
        if len(runs) == last_batch:
            raise end("asked")

    counted = replace(frozen, run=run)
    return store_views(where, data.train, PREPROCESSING, VIEWS, range(3), counted, "widen", "prefix", stop)


def test_views_that_are_filled_together_equal_those_filled_alone_and_images_are_decoded_once(
    shapes: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fill_module, "PREFIX_BATCH", 8)
    alone = [fill(ActivationStore(tmp_path / "alone"), shapes, view).entry for view in range(3)]
    decoded: list[str] = []
    monkeypatch.setattr(batches, "decode_image", lambda *given: decoded.append(given[1]) or decode_image(*given))
    together = filled_together(ActivationStore(tmp_path / "together"), shapes, [])
    rows = np.arange(len(shapes.train))
    for view in range(3):
        assert together[view].key.view == view
        assert torch.equal(together[view].entry.gather(rows)[0], alone[view].gather(rows)[0])
    assert sorted(decoded) == sorted(shapes.train.path(row) for row in rows)


@pytest.mark.parametrize("last_batch", [1, 2, 3, 7])
def test_views_that_were_stopped_together_go_on_at_the_first_missing_row_of_each(
    shapes: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, last_batch: int
) -> None:
    monkeypatch.setattr(fill_module, "PREFIX_BATCH", 8)
    whole = filled_together(ActivationStore(tmp_path / "whole"), shapes, runs := [])
    where = tmp_path / "stopped"
    before: list[int] = []
    with pytest.raises(StoppedError):
        filled_together(ActivationStore(where), shapes, before, last_batch)
    after: list[int] = []
    resumed = filled_together(ActivationStore(where), shapes, after)
    # The batch after which the stop came is not lost either.
    assert before + after == runs
    rows = np.arange(len(shapes.train))
    for view in range(3):
        assert torch.equal(resumed[view].entry.gather(rows)[0], whole[view].entry.gather(rows)[0])


@pytest.mark.parametrize("last_batch", [4, 8])
def test_views_that_were_cut_off_within_a_batch_go_on_there(
    shapes: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, last_batch: int
) -> None:
    whole = filled_together(ActivationStore(tmp_path / "whole"), shapes, [])
    monkeypatch.setattr(fill_module, "PREFIX_BATCH", 8)
    # Five rows to a part of each view.
    monkeypatch.setattr(store, "PART_BYTES", 3 * 5 * whole[0].entry.row_bytes)
    with pytest.raises(KeyboardInterrupt):
        filled_together(ActivationStore(tmp_path / "cut"), shapes, [], last_batch, KeyboardInterrupt)
    resumed = filled_together(ActivationStore(tmp_path / "cut"), shapes, [])
    rows = np.arange(len(shapes.train))
    for view in range(3):
        assert torch.equal(resumed[view].entry.gather(rows)[0], whole[view].entry.gather(rows)[0])


def test_a_changed_image_does_not_hit(tmp_path: Path) -> None:
    ours = ActivationStore()
    folder = write_shapes(tmp_path / "data", 8)
    before = fill(ours, open_dataset(folder, DataRecipe()))
    changed = sorted((folder / "disc").iterdir())[0]
    changed.write_bytes((folder / "square" / sorted((folder / "square").iterdir())[5].name).read_bytes() + b"\0")
    after = fill(ours, open_dataset(folder, DataRecipe()))
    assert before.key.images != after.key.images


def test_features_are_computed_from_stored_activations(shapes: Dataset) -> None:
    ours = ActivationStore()
    view = fill(ours, shapes)
    pooled = choose_runtime("cpu", "fp32").frozen(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "pool")
    features = store_features(ours, view, pooled, "features", "features", ignore)
    rows = np.arange(len(shapes.train))
    torch.testing.assert_close(features.entry.gather(rows)[0], view.entry.gather(rows)[0].mean((2, 3)))
    assert store_features(ActivationStore(), view, pooled, "features", "features", ignore).key == features.key


def test_who_asks_to_stop_is_answered_between_two_batches_of_features(
    shapes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill_module, "PREFIX_BATCH", 4)
    batches: list[int] = []

    def pooled(images: torch.Tensor) -> tuple[torch.Tensor]:
        batches.append(len(images))
        return (images.mean((2, 3)),)

    def stop_after_two(event: Event) -> None:
        if isinstance(event, PartAdvanced) and len(batches) == 2:
            raise StoppedError("asked")

    view = fill(ActivationStore(), shapes)
    frozen = replace(choose_runtime("cpu", "fp32").frozen(nn.Flatten(), "pool"), run=pooled)
    with pytest.raises(StoppedError):
        store_features(ActivationStore(), view, frozen, "features", "features", stop_after_two)
    assert batches == [4, 4]


def peak_growth(data: Dataset, folder: Path) -> int:
    """Bytes by which the process grows at most while the store is filled."""
    process = psutil.Process()
    before = process.memory_info().rss
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        fill(ActivationStore(folder), data)
    finally:
        done.set()
        watcher.join()
    return peak[0] - before


def test_peak_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PART_BYTES", 4 * 2**20)
    few = open_dataset(write_shapes(tmp_path / "few", 100, side=32), DataRecipe())
    many = open_dataset(write_shapes(tmp_path / "many", 500, side=32), DataRecipe())
    peak_growth(few, tmp_path / "warm")
    few_bytes = peak_growth(few, tmp_path / "a")
    many_bytes = peak_growth(many, tmp_path / "b")
    entry_bytes = ActivationStore(tmp_path / "b").used_bytes()
    assert entry_bytes > 90 * 2**20
    assert many_bytes < few_bytes + 30 * 2**20
