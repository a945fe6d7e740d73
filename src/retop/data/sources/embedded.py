"""Parquet with the bytes of the images inside, as Hugging Face datasets writes it."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retop.data.decoding import BYTES_LIMIT
from retop.data.sources.names import SPLIT_NAMES, name_below, split_named, splits_of_files
from retop.data.sources.source import Leftovers, Listing, Rows, SplitBy
from retop.data.sources.tables import as_text, column_of, split_by_table
from retop.errors import DataError, UnreadableImageError
from retop.evaluation.numerals import count, word
from retop.events import Listener, PartAdvanced, PartFinished, PartStarted, ignore
from retop.places import cache_folder
from retop.schema import remove_partial_files, whole_file

_ROWS_AT_ONCE = 1_000
_BYTES_AT_ONCE = 64 * 2**20
_READ_AT_ONCE = 2**20
"""Bytes; without it Arrow reads all of a column's part of a row group at once."""

_PART = "images: unpacking Parquet"


@dataclass(frozen=True)
class _Columns:
    """Which columns of a file hold what."""

    image: str
    label: str
    split: str | None
    group: str | None
    names: tuple[str, ...] | None
    """Class names, where the labels are numbers that Hugging Face's metadata explain."""


class ParquetImages:
    """Rows with an image's bytes and its label.

    Parquet can only be read in blocks of many rows, but training takes images in another order. So the bytes are
    written once into a memory-mapped Arrow file in the cache folder.

    Args:
        location: as the user gave it.
        root: the file, or the folder that the files lie in.
        files: the Parquet files, sorted.
        columns: column name by role, where it is not the role itself.
    """

    waits = False
    roles = ("label", "split", "group", "image")

    def __init__(self, location: str, root: Path, files: tuple[Path, ...], columns: Mapping[str, str]) -> None:
        self.location = location
        # Rows have the same paths whichever column is read, and in some data the same sizes too.
        self.identity = f"{root.resolve()}\nimage={columns['image']}" if "image" in columns else str(root.resolve())
        self._files = {name_below(file, root): file for file in files}
        self._columns = columns
        self._unpacked: dict[str, _Unpacked] = {}

    def scan(self, listener: Listener) -> Listing:
        """List the rows; see `ImageSource.scan`.

        Raises:
            DataError: a file cannot be read, lacks a column, has a row without a label, or cannot be unpacked; or
                there is no row.
        """
        rows, from_names = Rows(listener), splits_of_files(list(self._files))
        for name, file in self._files.items():
            try:
                self._list(name, file, from_names[name], rows, listener)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{self.location}: {name} cannot be read as Parquet: {error}") from error
        if not len(rows):
            raise DataError(f"{self.location} has no rows; give one row per image, with the columns image and label")
        table = rows.table()
        by_files: SplitBy = "folders" if "validation" in from_names.values() else split_by_table(table)
        return Listing(table, by_files, Leftovers())

    def read(self, path: str) -> bytes:
        """The bytes of one row; see `ImageSource.read`.

        Raises:
            UnreadableImageError: there is no such row, it holds no image, or one that is too large.
        """
        name, _, number = path.partition("::")
        if name not in self._files or not number.isdecimal():
            raise UnreadableImageError(path, f"{self.location} has no such row")
        try:
            return self._unpacked_of(name).read(int(number), path)
        except UnreadableImageError:
            raise
        except (DataError, OSError, pa.ArrowException) as error:
            raise UnreadableImageError(path, f"the row cannot be read: {error}") from error

    def _list(self, name: str, file: Path, split: str | None, rows: Rows, listener: Listener) -> None:
        parquet = pq.ParquetFile(file, buffer_size=_READ_AT_ONCE, pre_buffer=False)
        columns = find_columns(parquet.schema_arrow, self._columns, f"{self.location}: {name}")
        unpacked = _Unpacked(_unpacked_file(file, columns.image))
        if not unpacked.file.exists():
            unpack(parquet, columns.image, unpacked.file, listener)
        self._unpacked[name] = unpacked
        sizes, modified = unpacked.sizes(), file.stat().st_mtime_ns
        wanted = [column for column in (columns.label, columns.split, columns.group) if column]
        number = 0
        for batch in parquet.iter_batches(65_536, columns=wanted):
            where = f"{self.location}: {name}"
            labels = _labels(parquet, batch, columns, where)
            splits = _texts(batch, columns.split, where) or [split] * len(labels)
            groups = _texts(batch, columns.group, where) or [None] * len(labels)
            known_splits = splits if columns.split is None else _known_splits(splits, where)
            for label, known, group in zip(labels, known_splits, groups, strict=True):
                rows.add(f"{name}::{number}", label, known, int(sizes[number]), modified, group)
                number += 1

    def _unpacked_of(self, name: str) -> "_Unpacked":
        if name not in self._unpacked:
            parquet = pq.ParquetFile(self._files[name], buffer_size=_READ_AT_ONCE, pre_buffer=False)
            columns = find_columns(parquet.schema_arrow, self._columns, name)
            unpacked = _Unpacked(_unpacked_file(self._files[name], columns.image))
            # The cache may have been emptied, and a report looks at pictures without a listing.
            if not unpacked.file.exists():
                unpack(parquet, columns.image, unpacked.file, ignore)
            self._unpacked[name] = unpacked
        return self._unpacked[name]


class _Unpacked:
    """The images of one Parquet file, memory-mapped."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._batches: tuple[list[pa.Array], np.ndarray] | None = None

    def read(self, number: int, path: str) -> bytes:
        arrays, starts = self._open()
        if number >= starts[-1]:
            raise UnreadableImageError(path, "there is no such row")
        at = int(np.searchsorted(starts, number, side="right")) - 1
        buffer = arrays[at][number - int(starts[at])].as_buffer()
        if buffer is None:
            raise UnreadableImageError(path, "the row holds no image")
        if buffer.size > BYTES_LIMIT:
            raise UnreadableImageError(path, f"{buffer.size:,} bytes; at most {BYTES_LIMIT:,} are read")
        return buffer.to_pybytes()  # type: ignore[no-any-return]

    def sizes(self) -> np.ndarray:
        """Bytes of every row; 0 where it holds no image."""
        arrays, _ = self._open()
        lengths = [pc.fill_null(pc.binary_length(array), 0).to_numpy(False) for array in arrays]
        return np.concatenate([np.zeros(0, np.int64), *lengths])

    def _open(self) -> tuple[list[pa.Array], np.ndarray]:
        if self._batches is None:
            reader = pa.ipc.open_file(pa.memory_map(str(self.file)))
            arrays = [reader.get_batch(at).column(0) for at in range(reader.num_record_batches)]
            self._batches = arrays, np.cumsum([0, *map(len, arrays)])
        return self._batches


def holds_images(file: Path) -> bool:
    """Whether a Parquet file has a column with the bytes of images, rather than paths."""
    try:
        return _image_column(pq.read_schema(file), {}) is not None
    except (OSError, pa.ArrowException):
        return False


def find_columns(schema: pa.Schema, given: Mapping[str, str], where: str) -> _Columns:
    """Find out which columns hold image, label, split and group.

    Raises:
        DataError: there is no column of images or of labels, or not the one that was named.
    """
    image = _image_column(schema, given)
    label = column_of("label", given, schema.names)
    for role, column in (("image", image), ("label", label)):
        if column is None or column not in schema.names:
            raise DataError(
                f"{where} has no column of {role}s; its columns are {', '.join(map(repr, schema.names))}. Say which is "
                f"which with --columns {role}=NAME (DataRecipe.columns)"
            )
    for column in (image, label):
        if schema.names.count(column) > 1:
            raise DataError(
                f"{where} has {schema.names.count(column)} columns {column!r}; keep one, or rename the others"
            )
    others = {role: column_of(role, given, schema.names) for role in ("split", "group")}
    found = {role: name if name in schema.names else None for role, name in others.items()}
    for role in given.keys() & found.keys():
        if found[role] is None:
            raise DataError(f"{where} has no column {given[role]!r} (--columns {role}=NAME)")
    return _Columns(str(image), label, found["split"], found["group"], _class_names(schema, label))


def unpack(parquet: pq.ParquetFile, column: str, target: Path, listener: Listener) -> None:
    """Write a file's images into a memory-mapped Arrow file, whole or not at all.

    Raises:
        DataError: there is no room for them, or the folder cannot be written.
    """
    try:
        _unpack(parquet, column, target, listener)
    except OSError as error:
        # What Arrow says of a damaged file is an OSError too, without a number.
        if error.errno is None:
            raise
        raise DataError(
            f"the images of a Parquet file cannot be unpacked into {target.parent}: {error.strerror or error}; free "
            f"some space, or set RETOP_CACHE to another folder"
        ) from error


def _unpack(parquet: pq.ParquetFile, column: str, target: Path, listener: Listener) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_partial_files(target.parent)
    started = time.perf_counter()
    listener(PartStarted(_PART, parquet.metadata.num_rows, "images"))
    schema = pa.schema([("bytes", pa.large_binary())])
    with whole_file(target) as partial, pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _batches(parquet, column):
            values = batch.column(0)
            if pa.types.is_struct(values.type):
                values = values.field("bytes") if values.null_count == 0 else pc.struct_field(values, "bytes")
            writer.write_batch(pa.record_batch([values.cast(pa.large_binary())], schema=schema))
            listener(PartAdvanced(_PART, batch.num_rows))
    listener(PartFinished(_PART, time.perf_counter() - started))


def _batches(parquet: pq.ParquetFile, column: str) -> Iterator[pa.RecordBatch]:
    """The rows of a column, so few at a time that large photographs take no more memory than small ones."""
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        chunks = [group.column(place) for place in range(group.num_columns)]
        held = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)
        # A few rows may hold nearly all of a large group.
        rows = _ROWS_AT_ONCE if held <= _BYTES_AT_ONCE else 1
        yield from _joined(parquet.iter_batches(rows, [number], [column], use_threads=False))


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches put together as far as their rows and bytes allow."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        held = sum(each.nbytes for each in pending)
        if pending and (held + batch.nbytes > _BYTES_AT_ONCE or len(pending) == _ROWS_AT_ONCE):
            yield pa.Table.from_batches(pending).combine_chunks().to_batches()[0]
            pending = []
        pending.append(batch)
    if pending:
        yield pa.Table.from_batches(pending).combine_chunks().to_batches()[0]


def _image_column(schema: pa.Schema, given: Mapping[str, str]) -> str | None:
    if "image" in given:
        return given["image"]
    kinds = {field.name: field.type for field in schema}
    binary = [name for name, kind in kinds.items() if _holds_bytes(kind)]
    return next((name for name in ("image", "img", "bytes") if name in binary), binary[0] if len(binary) == 1 else None)


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return "bytes" in names and _holds_bytes(kind.field("bytes").type)
    return any(holds(kind) for holds in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _empty(texts: list[str | None]) -> list[int]:
    return [at for at, text in enumerate(texts) if not (text or "").strip()]


def _rows_without_label(parquet: pq.ParquetFile, label: str, where: str) -> str:
    """What is said of all of them, not only of those in the rows that are read at once."""
    rows: list[int] = []
    start = 0
    for batch in parquet.iter_batches(65_536, columns=[label]):
        rows += [start + at for at in _empty(as_text(batch.column(0), where, label).to_pylist())]
        start += batch.num_rows
    return (
        f"{where}: {count(len(rows), 'row has', 'rows have')} no label, the first is row {rows[0]:,} (counted from 0); "
        f"fill in what is missing, or remove {word(len(rows), 'it', 'them')}"
    )


def _labels(parquet: pq.ParquetFile, batch: pa.RecordBatch, columns: _Columns, where: str) -> list[str]:
    column, names = batch.column(columns.label), columns.names
    texts = as_text(column, where, columns.label).to_pylist()
    if _empty(texts):
        raise DataError(_rows_without_label(parquet, columns.label, where))
    if names is not None and pa.types.is_integer(column.type):
        values = column.to_pylist()
        unknown = sorted({value for value in values if not 0 <= value < len(names)})
        if unknown:
            withheld = "; where labels are withheld, lay the other files into a folder of their own and give that"
            raise DataError(
                f"{where}: the label {unknown[0]} has no name; there are names for 0 to {len(names) - 1}"
                f"{withheld * (unknown[0] == -1)}"
            )
        return [names[value] for value in values]
    return texts  # type: ignore[no-any-return]


def _known_splits(said: list[str | None], where: str) -> list[str | None]:
    by_name: dict[str | None, str | None] = {}
    for name in set(said):
        try:
            by_name[name] = split_named(name)
        except KeyError:
            raise DataError(
                f"{where}: the split {name!r} is none of {', '.join(SPLIT_NAMES)}; correct it, or name another column "
                f"with --columns split=NAME"
            ) from None
    return [by_name[name] for name in said]


def _texts(batch: pa.RecordBatch, column: str | None, where: str) -> list[str | None] | None:
    return None if column is None else as_text(batch.column(column), where, column).to_pylist()


def _unpacked_file(file: Path, column: str) -> Path:
    status = file.stat()
    key = f"1\n{file.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n{column}"
    return cache_folder() / "unpacked" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.arrow"
