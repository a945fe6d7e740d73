"""The activation store: results of frozen computations, kept on disk, memory-mapped, checksummed.

    <store>/<first two digits>/<digest>/
        entry.json            what the entry is, its layout and its parts
        part-00000.bin        rows 0 .. r: the first crossing's rows, then the second's, ...

Parts are bounded, written as temporary files and renamed; entry.json is rewritten after each, so a fill that was
interrupted goes on at the first missing row. A part whose checksum does not fit is dropped with all after it
and computed again; so is an entry whose entry.json is damaged.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import torch

from retop.activations.key import EntryKey
from retop.activations.layout import ArrayLayout, EntryRecord, PartRecord
from retop.errors import RunError, StoppedError, StoreError
from retop.places import cache_folder
from retop.records import read_record, write_record
from retop.schema import remove_partial_files, write_bytes

PART_BYTES = 256 * 2**20
# Rows that are computed at once. Parts hold whole batches, so a fill that goes on computes the batches it would have.
PREFIX_BATCH = 32
FREE_DISK_FRACTION = 0.5

Rows = npt.NDArray[np.int64]
Tensors = tuple[torch.Tensor, ...]


class Entry:
    """The rows of one complete entry, memory-mapped.

    Attributes:
        folder: where it lies.
        record: what entry.json says.
    """

    def __init__(self, folder: Path, record: EntryRecord) -> None:
        self.folder = folder
        self.record = record
        self._starts = np.cumsum([0, *(part.rows for part in record.parts)])
        self._maps = [_map_part(folder, record.layout, part) for part in record.parts]
        self._stamps = [_stamp(folder / part.file) for part in record.parts]

    def __len__(self) -> int:
        return self.record.num_rows

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, all crossings together."""
        return sum(layout.row_bytes for layout in self.record.layout)

    def gather(self, rows: Rows) -> Tensors:
        """Copy rows out of the map.

        Args:
            rows: [N] row numbers, in any order, repeats allowed.

        Returns:
            One tensor [N, ...] per crossing, in the stored number format; images channels-last if they were
            stored so.

        Raises:
            StoreError: another program changed or cut short a file of the entry since it was opened.
        """
        places = np.searchsorted(self._starts, rows, side="right") - 1
        for place in np.unique(places):
            self._check(int(place))
        gathered = []
        for number, layout in enumerate(self.record.layout):
            out = np.empty((len(rows), layout.row_bytes), dtype=np.uint8)
            for place in np.unique(places):
                chosen = places == place
                out[chosen] = self._maps[place][number][rows[chosen] - self._starts[place]]
            gathered.append(layout.to_tensor(out))
        return tuple(gathered)

    def _check(self, place: int) -> None:
        """The map of a file that was cut short would end the process, that of an overwritten one give other numbers."""
        path, before = self.folder / self.record.parts[place].file, self._stamps[place]
        now = _stamp(path)
        # What is gone, or replaced by another file, lives on in the map.
        if before is not None and now is not None and now[0] == before[0] and now != before:
            raise StoreError(
                f"{path} was changed by another program while it was in use. Go on with the same command, or with "
                f"'retop resume': what is damaged is computed again"
            )


class ActivationStore:
    """A folder of entries under a byte cap; the least recently used go first.

    Args:
        folder: where entries live; None for ``activations`` in retop's cache folder.
        limit_bytes: cap; None for half of the disk space that is free or already taken by the store.

    Attributes:
        folder: where entries live.
        written_bytes: of rows that this process has written.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int | None = None) -> None:
        self.folder = folder or cache_folder() / "activations"
        self._limit_bytes = limit_bytes
        # Entries that somebody still reads; what nobody holds any more may be evicted.
        self._open: WeakValueDictionary[str, Entry] = WeakValueDictionary()
        self._verified: dict[str, list[tuple[int, int]]] = {}
        self.written_bytes = 0

    @property
    def limit_is_chosen(self) -> bool:
        """Whether somebody set the cap; else it follows from the disk."""
        return self._limit_bytes is not None

    @property
    def limit_bytes(self) -> int:
        """The cap in force."""
        if self._limit_bytes is not None:
            return self._limit_bytes
        existing = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
        return int((shutil.disk_usage(existing).free + self.used_bytes()) * FREE_DISK_FRACTION)

    def used_bytes(self) -> int:
        """Bytes of all entries."""
        return sum(_folder_bytes(folder) for folder in self._folders())

    def entries(self) -> tuple[tuple[Path, EntryRecord], ...]:
        """Every readable entry, the most recently used first."""
        found = []
        for folder in sorted(self._folders(), key=_last_used, reverse=True):
            try:
                found.append((folder, read_record(EntryRecord, folder / "entry.json")))
            except RunError:
                continue
        return tuple(found)

    def clear(self) -> int:
        """Remove every entry.

        Returns:
            Bytes that were freed.
        """
        self._open.clear()
        self._verified.clear()
        return sum(_remove(folder) for folder in list(self._folders()))

    def fits(self, num_bytes: int) -> bool:
        """Whether entries of that size could be kept, evicting others if need be."""
        return num_bytes <= self.limit_bytes

    def find(self, key: EntryKey) -> Entry | None:
        """The complete, undamaged entry of that key, or None."""
        digest = key.digest()
        if (entry := self._open.get(digest)) is not None:
            return entry
        folder = self._folder(digest)
        record = self._read(folder, key)
        if record is None or not record.complete:
            return None
        # Hashing takes seconds for each gigabyte, and every seed asks again.
        if self._verified.get(digest) != _stamps(folder, record) and _intact_parts(folder, record) != record.parts:
            return None
        with suppress(OSError):
            return self._opened(digest, folder, record)
        # Another process has evicted it since it was read.
        return None

    def holds(self, key: EntryKey) -> bool:
        """Whether a complete entry of that key lies in the store, without checking its content."""
        record = self._read(self._folder(key.digest()), key)
        return record is not None and record.complete

    def fill(
        self,
        key: EntryKey,
        num_rows: int,
        compute: Callable[[int], Iterable[Tensors]],
        about: str,
    ) -> Entry:
        """Compute an entry's missing rows, write them and open it.

        Args:
            key: the entry's identity.
            num_rows: rows of the finished entry.
            compute: given the first missing row, yields tensors [N, ...] per crossing for the rows from there
                on, in order and in the number format to be stored.
            about: a few words for ``retop cache``, e.g. ``"vgg16 from block5, view 0"``.

        Returns:
            The complete entry.

        Raises:
            StoreError: the disk is full or not writable, or `compute` ended early.
        """
        (entry,) = self.fill_together(
            [(key, about)], num_rows, lambda starts: ((0, tensors) for tensors in compute(starts[0]))
        )
        return entry

    def fill_together(
        self,
        wanted: Sequence[tuple[EntryKey, str]],
        num_rows: int,
        compute: Callable[[Sequence[int]], Iterable[tuple[int, Tensors]]],
    ) -> list[Entry]:
        """Compute the missing rows of several entries side by side; all their parts in the making are of `PART_BYTES`.

        Args:
            wanted: of each entry what it is and a few words for ``retop cache``.
            num_rows: rows of each finished entry.
            compute: given the first missing row of each entry (`num_rows` where there is none), yields the number of
                an entry and its next rows, as `fill` takes them.

        Returns:
            The complete entries.

        Raises:
            StoreError: the disk is full or not writable, or `compute` ended early.
        """
        fillings = [self._begin(key, num_rows, about, PART_BYTES // len(wanted)) for key, about in wanted]
        kept = [filling.folder.name for filling in fillings]
        # Another process may have finished them since they were looked for.
        starts = [filling.record.rows_done for filling in fillings]
        try:
            for number, tensors in compute(starts) if min(starts) < num_rows else ():
                self._append(fillings[number], fillings[number].take(tensors), kept)
        except StoppedError:
            # What is computed by then becomes a part too.
            for filling in fillings:
                self._append(filling, filling.rest(), kept)
            raise
        for filling in fillings:
            self._append(filling, filling.rest(), kept)
            if not filling.record.complete:
                raise StoreError(
                    f"{filling.folder} has {filling.record.rows_done} rows of {num_rows}; this is a defect of retop"
                )
        with suppress(FileNotFoundError):
            return [self._opened(filling.folder.name, filling.folder, filling.record) for filling in fillings]
        # Another process has evicted one since it was written.
        return self.fill_together(wanted, num_rows, compute)

    def make_room(self, num_bytes: int, keep: Collection[str] = ()) -> None:
        """Evict the least recently used entries until that many bytes fit the cap.

        Args:
            num_bytes: that are about to be written.
            keep: digests of entries that stay, besides those in use here.
        """
        folders = sorted(self._folders(), key=_last_used)
        used = sum(map(_folder_bytes, folders))
        limit = self.limit_bytes
        for folder in folders:
            if used + num_bytes <= limit:
                return
            if folder.name not in self._open and folder.name not in keep:
                used -= _remove(folder)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the activation store at {self.folder} cannot be written: {error.strerror or error}. Free some "
                f"space, clear it with 'retop cache --clear', choose another place with --cache DIR, or do without "
                f"it with --cache off in a new folder (--out)"
            ) from error

    def _begin(self, key: EntryKey, num_rows: int, about: str, part_bytes: int) -> "_Filling":
        folder = self._folder(key.digest())
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            remove_partial_files(folder)
            record = self._resumable(folder, key, num_rows, about)
            _touch(folder)
        return _Filling(folder, record, part_bytes)

    def _append(self, filling: "_Filling", parts: Iterable[list[npt.NDArray[np.uint8]]], kept: Collection[str]) -> None:
        """Write parts of an entry, evicting others but those that are kept."""
        for arrays in parts:
            with self._writing():
                folder, record = filling.folder, filling.record
                content = b"".join(array.tobytes() for array in arrays)
                self.make_room(len(content), kept)
                checksum = hashlib.sha256(content).hexdigest()
                part = PartRecord(f"part-{len(record.parts):05d}.bin", len(arrays[0]), len(content), checksum)
                write_bytes(folder / part.file, content)
                self.written_bytes += len(content)
                filling.record = replace(record, parts=(*record.parts, part)).sealed()
                write_record(folder / "entry.json", filling.record)
                _touch(folder)

    def _resumable(self, folder: Path, key: EntryKey, num_rows: int, about: str) -> EntryRecord:
        record = self._read(folder, key)
        if record is None:
            return EntryRecord(about=about, key=key, num_rows=num_rows, layout=(), parts=())
        intact = _intact_parts(folder, record)
        return replace(record, layout=record.layout if intact else (), parts=intact)

    def _read(self, folder: Path, key: EntryKey) -> EntryRecord | None:
        try:
            record = read_record(EntryRecord, folder / "entry.json")
        except RunError:
            return None
        return record if record.intact and record.key == key else None

    def _opened(self, digest: str, folder: Path, record: EntryRecord) -> Entry:
        _touch(folder)
        self._verified[digest] = _stamps(folder, record)
        self._open[digest] = entry = Entry(folder, record)
        return entry

    def _folder(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest

    def _folders(self) -> Iterator[Path]:
        return (path for path in self.folder.glob("[0-9a-f][0-9a-f]/*") if path.is_dir() and len(path.name) == 64)


class _Filling:
    """An entry in the making: batches collect into parts of bounded size; a layout that earlier parts have is kept."""

    def __init__(self, folder: Path, record: EntryRecord, part_bytes: int) -> None:
        self.folder = folder
        self.record = record
        self._part_bytes = part_bytes
        self._buffers: list[npt.NDArray[np.uint8]] = []
        self._filled = 0

    def take(self, tensors: Tensors) -> Iterator[list[npt.NDArray[np.uint8]]]:
        """Add rows; yields the parts that they complete."""
        if not self.record.layout:
            self.record = replace(self.record, layout=tuple(ArrayLayout.of(tensor) for tensor in tensors))
        layout = self.record.layout
        if not self._buffers:
            most = _rows_of_a_part(sum(item.row_bytes for item in layout), self._part_bytes)
            capacity = min(self.record.num_rows - self.record.rows_done, most)
            self._buffers = [np.empty((capacity, item.row_bytes), dtype=np.uint8) for item in layout]
        rows = [item.to_bytes(tensor) for item, tensor in zip(layout, tensors, strict=True)]
        taken = 0
        while taken < len(rows[0]):
            step = min(len(rows[0]) - taken, len(self._buffers[0]) - self._filled)
            for buffer, row in zip(self._buffers, rows, strict=True):
                buffer[self._filled : self._filled + step] = row[taken : taken + step]
            self._filled += step
            taken += step
            if self._filled == len(self._buffers[0]):
                yield self._buffers
                self._filled = 0

    def rest(self) -> Iterator[list[npt.NDArray[np.uint8]]]:
        """Yields what has been added since the last part, if anything."""
        if self._filled:
            yield [buffer[: self._filled] for buffer in self._buffers]
            self._filled = 0


def _rows_of_a_part(row_bytes: int, part_bytes: int) -> int:
    rows = max(1, part_bytes // row_bytes)
    return rows - rows % PREFIX_BATCH if rows > PREFIX_BATCH else rows


def _map_part(
    folder: Path, layout: tuple[ArrayLayout, ...], part: PartRecord
) -> list[np.memmap[tuple[int, int], np.dtype[np.uint8]]]:
    maps, offset = [], 0
    for item in layout:
        maps.append(np.memmap(folder / part.file, np.uint8, mode="r", offset=offset, shape=(part.rows, item.row_bytes)))
        offset += part.rows * item.row_bytes
    return maps


def _intact_parts(folder: Path, record: EntryRecord) -> tuple[PartRecord, ...]:
    """The parts before the first one that is missing or damaged."""
    intact = []
    for part in record.parts:
        if _checksum(folder / part.file) != part.sha256:
            break
        intact.append(part)
    return tuple(intact)


def _checksum(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _stamps(folder: Path, record: EntryRecord) -> list[tuple[int, int]]:
    """Size and time of every part: as long as they stay, so does the content."""
    with suppress(OSError):
        found = [(folder / part.file).stat() for part in record.parts]
        return [(stat.st_size, stat.st_mtime_ns) for stat in found]
    return []


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Which file it is, its size, and when it was written; None where it is gone."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def _last_used(folder: Path) -> float:
    try:
        return (folder / "last-used").stat().st_mtime
    except OSError:
        return 0.0


def _touch(folder: Path) -> None:
    """Note that an entry is used now. A store that may only be read is still of use."""
    with suppress(OSError):
        (folder / "last-used").write_text(str(time.time()))


def _folder_bytes(folder: Path) -> int:
    # Another process may clear the store at this moment.
    with suppress(OSError):
        return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return 0


def _remove(folder: Path) -> int:
    size = _folder_bytes(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return 0 if folder.exists() else size
