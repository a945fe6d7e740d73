"""Where images come from: one small protocol, and what a listing holds."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import pyarrow as pa

from retop.events import Listener, PartAdvanced, PartFinished, PartStarted

SplitBy = Literal["folders", "table", "file", "retop"]

SCAN_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("group", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_ns", pa.int64()),
    ]
)
NAMES = "images: reading the list of files"
"""Of an archive or a server, which give all names before the first of them can be looked at."""

LISTING = "images: listing"
LATE_SECONDS = 2.0
"""A listing that takes longer shows how far it is."""

ROWS_PER_BATCH = 4_096
_FEWEST_PER_BATCH = 256
_EXAMPLES = 100


@dataclass
class Examples:
    """How many there are of something, and the names of the first hundred."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.names) < _EXAMPLES:
            self.names.append(name)

    def __str__(self) -> str:
        return few(self.names, self.count)


@dataclass
class Leftovers:
    """What a listing leaves out."""

    by_kind: Counter[str] = field(default_factory=Counter)
    """Files that are no images by name or kind: how many of each extension or kind."""

    tool_names: Counter[str] = field(default_factory=Counter)
    """Hidden files and folders, and those of tools: how many of each name."""

    outside_classes: Examples = field(default_factory=Examples)
    """Files that lie outside class folders."""

    leading_out: Examples = field(default_factory=Examples)
    """Names in an archive that lead out of it (``../cat/1.jpg``)."""

    closed_folders: Examples = field(default_factory=Examples)
    """Folders that cannot be opened."""

    empty_folders: Examples = field(default_factory=Examples)
    """Folders without an image and without folders."""

    beside: tuple[str, ...] = ()
    """Folders beside train, validation and test."""

    repeated_rows: Examples = field(default_factory=Examples)
    """Rows of a table that say again what another one says."""


@dataclass(frozen=True)
class Listing:
    """What may be images, before any is opened."""

    table: pa.Table
    """The columns of `SCAN_SCHEMA`, in no particular order: ``path`` (unique; relative, ``/`` between its parts;
    ``archive::member`` in an archive), ``label``, ``split`` (``train``, ``validation``, ``test``; null where retop
    splits), ``group`` (null where there is none), ``size_bytes``, ``modified_ns`` (since 1970, or another number that
    changes with the content)."""

    split_by: SplitBy
    """What says which images are for validation: folders or the names of files, a column of a table, or
    nothing, so that retop chooses (``file``: ``--split-file``, which no listing knows of)."""

    leftovers: Leftovers = field(default_factory=Leftovers)
    """What is left out."""


class ImageSource(Protocol):
    """Labelled images in one place. `tests/unit/data/test_conformance.py` says what every source must do."""

    @property
    def location(self) -> str:
        """Path or address, as it was given."""

    @property
    def identity(self) -> str:
        """The same place in absolute form; what is remembered about its images is kept under this name."""

    @property
    def waits(self) -> bool:
        """Whether a read waits for a server, so that many at a time are worth it."""

    def scan(self, listener: Listener) -> Listing:
        """List what may be images, without opening any.

        Args:
            listener: receives a `Notice` for what is left out.

        Returns:
            The listing; it has at least one row.

        Raises:
            DataError: there is no image, or the place is not laid out as it must be.
        """

    def read(self, path: str) -> bytes:
        """Read one file; several threads may do so at once.

        Args:
            path: as `scan` gave it.

        Returns:
            Its whole content.

        Raises:
            UnreadableImageError: it is not there, vanished, may not be read, is no regular file or is too large.
        """


class Rows:
    """Collects the rows of a listing in bounded memory: no list ever holds all paths.

    Args:
        listener: is told how many there are so far, once the listing has taken two seconds.
        at_once: whether it is told from the beginning, where much is to be done before the first row.
    """

    def __init__(self, listener: Listener, at_once: bool = False) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._full = 0
        self._pending: list[tuple[str, str, str | None, str | None, int, int]] = []
        self._listener = listener
        self._began = time.perf_counter()
        self._told: int | None = None
        if at_once:
            self._begin()

    def add(
        self, path: str, label: str, split: str | None, size_bytes: int, modified_ns: int, group: str | None = None
    ) -> None:
        """Add one file."""
        # A million files: one tuple for each takes a third of the time of an entry in each of six lists.
        self._pending.append((path, label, split, group, size_bytes, modified_ns))
        if len(self._pending) >= ROWS_PER_BATCH:
            self._flush()

    def add_alike(
        self, paths: list[str], label: str, split: str | None, sizes_bytes: list[int], modified_ns: list[int]
    ) -> None:
        """Add files of one folder, for half of what it takes one by one."""
        if len(paths) < _FEWEST_PER_BATCH:
            for path, size, modified in zip(paths, sizes_bytes, modified_ns, strict=True):
                self.add(path, label, split, size, modified)
            return
        alike = [pa.repeat(pa.scalar(value, pa.string()), len(paths)) for value in (label, split, None)]
        numbers = [pa.array(values, pa.int64()) for values in (sizes_bytes, modified_ns)]
        self._append([pa.array(paths, pa.string()), *alike, *numbers])

    def table(self) -> pa.Table:
        """Everything that was added."""
        self._flush()
        if self._told is not None:
            self._listener(PartFinished(LISTING, time.perf_counter() - self._began))
            self._told = None
        return pa.Table.from_batches(self._batches, SCAN_SCHEMA)

    def __len__(self) -> int:
        return self._full + len(self._pending)

    def _flush(self) -> None:
        if self._pending:
            columns = zip(*self._pending, strict=True)
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCAN_SCHEMA, strict=True)]
            self._pending = []
            self._append(arrays)

    def _append(self, arrays: list[pa.Array]) -> None:
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=SCAN_SCHEMA))
        self._full += len(arrays[0])
        self._tell()

    def _tell(self) -> None:
        if self._told is None and time.perf_counter() - self._began >= LATE_SECONDS:
            self._begin()
        if self._told is not None:
            self._listener(PartAdvanced(LISTING, len(self) - self._told))
            self._told = len(self)

    def _begin(self) -> None:
        self._listener(PartStarted(LISTING, None, "files"))
        self._told = 0


@contextmanager
def reading_names(listener: Listener) -> Iterator[None]:
    """Show that names are asked for, which cannot be counted before all are there."""
    began = time.perf_counter()
    listener(PartStarted(NAMES, None, "files"))
    yield
    listener(PartFinished(NAMES, time.perf_counter() - began))


def few(names: Sequence[str], count: int | None = None, shown: int = 3) -> str:
    """The first names, and how many more there are."""
    total = len(names) if count is None else count
    more = f" and {total - shown:,} more" if total > shown else ""
    return ", ".join(sorted(names)[:shown]) + more
