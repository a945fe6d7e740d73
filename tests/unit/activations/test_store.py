"""The activation store on a real disk."""

import dataclasses
import gc
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from retop.activations import ActivationStore, Entry, EntryKey, store
from retop.errors import StoreError
from retop.records import Preprocessing

KEY = EntryKey(
    images="images",
    preprocessing=Preprocessing(8, 8, 1.0, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    view=0,
    augmentation="",
    graph="graph",
    weights="weights",
    arithmetic="cpu",
    stored="float32",
    parent="",
    versions="",
)
NUM_ROWS = 23
ROW_BYTES = 4 * 6 * 5 * 5 + 2 * 7 + 3 * 4 * 4

Tensors = tuple[torch.Tensor, ...]
Compute = Callable[[int], Iterable[Tensors]]


def key(name: str) -> EntryKey:
    return dataclasses.replace(KEY, images=name)


def crossings() -> Tensors:
    """Three crossings: channels last, half precision, and whole numbers."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(NUM_ROWS, 6, 5, 5, generator=generator).to(memory_format=torch.channels_last)
    vectors = torch.randn(NUM_ROWS, 7, generator=generator).bfloat16()
    pixels = torch.randint(0, 256, (NUM_ROWS, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return maps, vectors, pixels


def in_batches(tensors: Tensors, size: int = 4, calls: list[int] | None = None) -> Compute:
    """What a frozen part would yield; `calls` receives where it was asked to begin."""

    def compute(start: int) -> Iterable[Tensors]:
        if calls is not None:
            calls.append(start)
        for first in range(start, len(tensors[0]), size):
            yield tuple(tensor[first : first + size] for tensor in tensors)

    return compute


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rows to a part, which no batch size divides."""
    monkeypatch.setattr(store, "PART_BYTES", 5 * ROW_BYTES)


def assert_holds(entry: Entry, tensors: Tensors) -> None:
    for ours, whole in zip(entry.gather(np.arange(len(entry))), tensors, strict=True):
        assert ours.dtype == whole.dtype
        assert torch.equal(ours, whole)


def fill_six_parts(name: str = "a") -> tuple[Path, list[Path]]:
    entry = ActivationStore().fill(key(name), NUM_ROWS, in_batches(crossings()), "entry")
    return entry.folder, sorted(entry.folder.glob("part-*.bin"))


@pytest.mark.usefixtures("small_parts")
def test_rows_come_back_in_any_order_from_several_parts() -> None:
    tensors = crossings()
    entry = ActivationStore().fill(KEY, NUM_ROWS, in_batches(tensors), "entry")
    assert [part.rows for part in entry.record.parts] == [5, 5, 5, 5, 3]
    generator = np.random.default_rng(0)
    for rows in (np.arange(NUM_ROWS), generator.permutation(NUM_ROWS), generator.integers(0, NUM_ROWS, 60)):
        gathered = entry.gather(rows)
        for ours, whole in zip(gathered, tensors, strict=True):
            assert ours.dtype == whole.dtype
            assert torch.equal(ours, whole[torch.from_numpy(rows)])
        assert gathered[0].is_contiguous(memory_format=torch.channels_last)
        assert gathered[2].is_contiguous()


@pytest.mark.usefixtures("small_parts")
def test_an_entry_outlives_its_store() -> None:
    fill_six_parts("a")
    found = ActivationStore().find(key("a"))
    assert found is not None
    assert_holds(found, crossings())


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("rows_before", [0, 3, 4, 12, 19])
def test_an_interrupted_fill_goes_on_and_equals_an_uninterrupted_one(rows_before: int) -> None:
    tensors = crossings()

    def interrupted(start: int) -> Iterable[Tensors]:
        for number, batch in enumerate(in_batches(tensors)(start)):
            if 4 * number >= rows_before:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        ActivationStore().fill(KEY, NUM_ROWS, interrupted, "entry")
    again = ActivationStore()
    assert again.find(KEY) is None
    calls: list[int] = []
    entry = again.fill(KEY, NUM_ROWS, in_batches(tensors, calls=calls), "entry")
    assert calls == [-(-rows_before // 4) * 4 // 5 * 5]
    assert_holds(entry, tensors)


@pytest.mark.usefixtures("small_parts")
def test_a_resumed_fill_keeps_the_layout_it_began_with() -> None:
    tensors = crossings()

    def interrupted(start: int) -> Iterable[Tensors]:
        yield from list(in_batches(tensors)(start))[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ActivationStore().fill(KEY, NUM_ROWS, interrupted, "entry")
    other_layout = (tensors[0].contiguous(), *tensors[1:])
    assert_holds(ActivationStore().fill(KEY, NUM_ROWS, in_batches(other_layout), "entry"), tensors)


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "bit flip": flip_bit,
    "truncated": truncate,
    "deleted": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_damaged_part_is_computed_again_and_only_from_there_on(damage: str, place: int) -> None:
    _, parts = fill_six_parts("a")
    times = [part.stat().st_mtime_ns for part in parts]
    DAMAGES[damage](parts[place])
    again = ActivationStore()
    assert again.find(key("a")) is None
    calls: list[int] = []
    entry = again.fill(key("a"), NUM_ROWS, in_batches(crossings(), calls=calls), "entry")
    assert calls == [5 * place]
    assert_holds(entry, crossings())
    assert [part.stat().st_mtime_ns for part in parts[:place]] == times[:place]
    assert ActivationStore().find(key("a")) is not None


@pytest.mark.usefixtures("small_parts")
def test_damage_is_noticed_by_a_store_that_has_read_the_entry_before() -> None:
    ours = ActivationStore()
    entry = ours.fill(KEY, NUM_ROWS, in_batches(crossings()), "entry")
    assert ours.find(KEY) is entry
    first = entry.folder / "part-00000.bin"
    del entry
    gc.collect()
    flip_bit(first)
    assert ours.find(KEY) is None


@pytest.mark.usefixtures("small_parts")
def test_every_damage_to_entry_json_is_noticed() -> None:
    folder, _ = fill_six_parts("a")
    path = folder / "entry.json"
    sound = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(sound)
        damaged[generator.integers(len(damaged))] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        found = ActivationStore().find(key("a"))
        if found is not None:
            assert_holds(found, crossings())
    for garbage in (b"", b"{", b"[]", b"\xff\xfe", b'{"about": 3}', sound[:-40]):
        path.write_bytes(garbage)
        again = ActivationStore()
        assert again.find(key("a")) is None
        assert_holds(again.fill(key("a"), NUM_ROWS, in_batches(crossings()), "entry"), crossings())


def small_entry(where: ActivationStore, name: str) -> Entry:
    return where.fill(key(name), 10, in_batches((torch.zeros(10, 100),)), name)


def test_the_least_recently_used_entries_go_first() -> None:
    ours = ActivationStore()
    for name in ("a", "b", "c"):
        small_entry(ours, name)
    gc.collect()
    entry_bytes = ours.used_bytes() // 3
    assert ours.find(key("a")) is not None
    gc.collect()
    # The time in last-used has more digits at one moment than at another.
    ActivationStore(limit_bytes=3 * entry_bytes + 100).make_room(entry_bytes)
    assert [ours.holds(key(name)) for name in ("a", "b", "c")] == [True, False, True]
    assert {record.about for _, record in ours.entries()} == {"a", "c"}


def test_entries_in_use_are_never_evicted_and_are_released_after_it() -> None:
    ours = ActivationStore(limit_bytes=1)
    entry = small_entry(ours, "a")
    ours.make_room(1)
    assert ours.holds(key("a"))
    assert torch.equal(entry.gather(np.array([3]))[0], torch.zeros(1, 100))
    del entry
    gc.collect()
    ours.make_room(1)
    assert not ours.holds(key("a"))


def test_entries_that_shall_stay_are_never_evicted() -> None:
    ours = ActivationStore(limit_bytes=1)
    small_entry(ours, "a")
    gc.collect()
    ours.make_room(1, keep={key("a").digest()})
    assert ours.holds(key("a"))


def test_filling_respects_the_cap() -> None:
    one = ActivationStore()
    small_entry(one, "a")
    entry_bytes = one.used_bytes()
    capped = ActivationStore(limit_bytes=int(2.5 * entry_bytes))
    for name in "bcdefg":
        small_entry(capped, name)
        gc.collect()
        assert capped.used_bytes() <= capped.limit_bytes
    assert capped.holds(key("g"))
    assert capped.holds(key("f"))


def test_the_cap_is_half_of_what_is_free_unless_given(tmp_path: Path) -> None:
    import shutil

    free = shutil.disk_usage(tmp_path).free
    assert ActivationStore(tmp_path / "not" / "yet").limit_bytes == pytest.approx(free / 2, rel=0.05)
    given = ActivationStore(tmp_path, limit_bytes=1000)
    assert given.fits(1000)
    assert not given.fits(1001)


def test_clearing_removes_everything_and_says_how_much() -> None:
    ours = ActivationStore()
    small_entry(ours, "a")
    small_entry(ours, "b")
    used = ours.used_bytes()
    assert used > 8000
    assert ours.clear() == used
    assert ours.used_bytes() == 0
    assert ours.find(key("a")) is None


def test_clearing_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "ab" / "photos").mkdir(parents=True)
    (tmp_path / "ab" / "photos" / "mine.jpg").write_bytes(b"mine")
    ActivationStore(tmp_path).clear()
    assert (tmp_path / "ab" / "photos" / "mine.jpg").exists()


def test_a_store_that_cannot_be_written_says_so_with_ways_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be written.*retop cache --clear.*--cache DIR.*--cache off"):
        small_entry(ActivationStore(tmp_path / "file"), "a")


def test_a_fill_that_ends_early_is_no_entry() -> None:
    ours = ActivationStore()
    with pytest.raises(StoreError, match="4 rows of 23"):
        ours.fill(KEY, NUM_ROWS, lambda start: [(torch.zeros(4, 3),)], "entry")
    assert ours.find(KEY) is None


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"other")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("harm", [cut_short, overwrite])
def test_a_part_that_is_changed_in_use_is_an_error_and_then_computed_again(harm: Callable[[Path], None]) -> None:
    entry = ActivationStore().fill(KEY, NUM_ROWS, in_batches(crossings()), "entry")
    harm(sorted(entry.folder.glob("part-*.bin"))[1])
    with pytest.raises(StoreError, match=r"part-00001\.bin was changed by another program.*retop resume"):
        entry.gather(np.arange(NUM_ROWS))
    again = ActivationStore()
    assert again.find(KEY) is None
    assert_holds(again.fill(KEY, NUM_ROWS, in_batches(crossings()), "entry"), crossings())


@pytest.mark.usefixtures("small_parts")
def test_an_entry_that_is_evicted_in_use_can_be_read_to_the_end() -> None:
    entry = ActivationStore().fill(KEY, NUM_ROWS, in_batches(crossings()), "entry")
    assert ActivationStore().clear() > 0
    assert not entry.folder.exists()
    assert_holds(entry, crossings())
    replaced = ActivationStore().fill(KEY, NUM_ROWS, in_batches(crossings()), "entry")
    assert replaced.folder == entry.folder
    assert_holds(entry, crossings())


@pytest.mark.usefixtures("small_parts")
def test_what_another_process_fills_is_not_the_first_to_be_evicted() -> None:
    old = ActivationStore().fill(key("old"), NUM_ROWS, in_batches(crossings()), "old").folder
    os.utime(old / "last-used", (0, 0))
    other = ActivationStore(limit_bytes=2**40)

    def filling(start: int) -> Iterable[Tensors]:
        batches = list(in_batches(crossings())(start))
        yield from batches[:3]
        used = other.used_bytes()
        ActivationStore(limit_bytes=used).make_room(1)
        yield from batches[3:]

    assert_holds(other.fill(key("new"), NUM_ROWS, filling, "new"), crossings())
    assert not old.exists()


@pytest.mark.usefixtures("small_parts")
def test_a_store_that_is_deleted_while_it_is_filled_is_named(tmp_path: Path) -> None:
    def deleting(start: int) -> Iterable[tuple[torch.Tensor, ...]]:
        for number, batch in enumerate(in_batches(crossings())(start)):
            if number == 2:
                shutil.rmtree(tmp_path / "store")
            yield batch

    with pytest.raises(StoreError, match=r"cannot be written: No such file.*--cache DIR"):
        ActivationStore(tmp_path / "store").fill(KEY, NUM_ROWS, deleting, "entry")


@pytest.mark.usefixtures("small_parts")
def test_an_entry_that_another_process_evicts_while_it_is_opened_is_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill_six_parts("a")
    map_part, evictions = store._map_part, [0]

    def evicted_first(folder: Path, *rest: object) -> object:
        if evictions[0] > 0:
            evictions[0] -= 1
            shutil.rmtree(folder)
        return map_part(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_map_part", evicted_first)
    again = ActivationStore()
    evictions[0] = 1
    assert again.find(key("a")) is None
    evictions[0] = 2
    calls: list[int] = []
    assert_holds(again.fill(key("a"), NUM_ROWS, in_batches(crossings(), calls=calls), "entry"), crossings())
    assert calls == [0, 0, 0]


@pytest.mark.usefixtures("small_parts")
def test_entries_that_are_filled_together_do_not_evict_each_other() -> None:
    calls: list[tuple[int, ...]] = []

    def both(starts: Sequence[int]) -> Iterator[tuple[int, Tensors]]:
        calls.append(tuple(starts))
        for batch in in_batches(crossings())(0):
            yield from ((place, batch) for place in range(2))

    # There is room for a part, and all that is kept is more.
    full = ActivationStore(limit_bytes=5 * ROW_BYTES)
    entries = full.fill_together([(key("a"), "a"), (key("b"), "b")], NUM_ROWS, both)
    for entry in entries:
        assert_holds(entry, crossings())
        # Together their parts in the making take what those of one entry do.
        assert {part.rows for part in entry.record.parts} == {2, 1}
    assert calls == [(0, 0)]


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.usefixtures("small_parts")
def test_what_another_process_finished_meanwhile_is_taken_as_it_is(at_once: bool) -> None:
    """Rows that no batch divides: a fill begins with the batch that its first missing row lies in."""
    tensors = crossings()

    def aligned(start: int) -> Iterable[Tensors]:
        for first in range(start - start % 8, NUM_ROWS, 8):
            # The other one is quicker.
            if at_once:
                ActivationStore().fill(key("a"), NUM_ROWS, in_batches(tensors), "other")
            yield tuple(tensor[max(first, start) : first + 8] for tensor in tensors)

    if not at_once:
        fill_six_parts()
    entry = ActivationStore().fill(key("a"), NUM_ROWS, aligned, "entry")
    assert_holds(entry, tensors)
    found = ActivationStore().find(key("a"))
    assert found is not None
    assert_holds(found, tensors)
