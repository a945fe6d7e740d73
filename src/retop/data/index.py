"""What is known about each image of a source: its content's hash, format, mode and size, or why it is unreadable.

The index is kept on disk under the source's absolute location. A row counts again as long as path, size and
modification time are the same.
"""

import hashlib
import os
import time
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retop.data.decoding import inspect_image
from retop.data.likeness import COLOUR_BYTES, HASH_BYTES
from retop.data.sources import ImageSource
from retop.errors import UnreadableImageError
from retop.events import Listener, Notice, PartAdvanced, PartFinished, PartStarted
from retop.places import cache_folder
from retop.schema import write_bytes

INDEX_VERSION = 3
PART = "images: reading"

_KEYS = ["path", "size_bytes", "modified_ns"]
_FACTS = pa.schema(
    [
        ("content", pa.binary(32)),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("quality", pa.int16()),
        ("hash", pa.binary(HASH_BYTES)),
        ("colours", pa.binary(COLOUR_BYTES)),
        ("problem", pa.string()),
    ]
)
_CHUNK = 64
# A file written a moment ago could change again without getting another time.
_SETTLED_NS = 2_000_000_000


def index_images(source: ImageSource, scanned: pa.Table, listener: Listener, threads: int | None = None) -> pa.Table:
    """Read every image that is not known yet and find out what it is.

    Args:
        source: where the images are.
        scanned: rows of `source.scan`.
        listener: receives progress.
        threads: how many read at once; None for one per core.

    Returns:
        `scanned` with the columns ``content`` (SHA-256, 32 bytes; null where the file could not be read), ``format``,
        ``mode``, ``width``, ``height`` (null where unreadable), ``quality`` (of a JPEG), ``hash`` and ``colours`` (how
        it looks; see `likeness`), and ``problem`` (why it is unreadable, else null).
    """
    file = index_file(source.identity)
    known = _load(file)
    joined = _join(scanned, known)
    missing = pc.and_(pc.is_null(joined["content"]), pc.is_null(joined["problem"]))
    unknown = joined.filter(missing).select(scanned.column_names)
    if unknown.num_rows == 0:
        return joined
    started_ns = time.time_ns()
    fresh = _read_all(source, unknown, listener, threads or available_cores())
    table = pa.concat_tables([joined.filter(pc.invert(missing)), fresh])
    settled = pc.less(table["modified_ns"], started_ns - _SETTLED_NS)
    keep = table.filter(pc.and_(settled, pc.is_valid(table["content"])))
    _save(file, keep.select(_KEYS + _FACTS.names), listener)
    return table


def index_file(identity: str) -> Path:
    """Where the index of a source is kept.

    Args:
        identity: the source's absolute location.

    Returns:
        A Parquet file, which need not exist.
    """
    key = hashlib.sha256(f"{INDEX_VERSION}\n{PIL.__version__}\n{identity}".encode("utf-8", "surrogateescape"))
    return cache_folder() / "index" / f"{key.hexdigest()[:32]}.parquet"


def available_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _join(scanned: pa.Table, known: pa.Table | None) -> pa.Table:
    if known is None:
        empty = [pa.nulls(scanned.num_rows, field.type) for field in _FACTS]
        return pa.table([*scanned.columns, *empty], names=[*scanned.column_names, *_FACTS.names])
    joined = scanned.join(known, _KEYS, join_type="left outer")
    return joined.select([*scanned.column_names, *_FACTS.names]).combine_chunks()


def _read_all(source: ImageSource, rows: pa.Table, listener: Listener, threads: int) -> pa.Table:
    listener(PartStarted(PART, rows.num_rows, "images"))
    started = time.perf_counter()
    facts = []
    # Pillow warns about odd metadata in files that decode well; nobody can act on it.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for batch in _in_order(source, rows["path"], threads):
            facts.append(batch)
            listener(PartAdvanced(PART, batch.num_rows))
    listener(PartFinished(PART, time.perf_counter() - started))
    found = pa.Table.from_batches(facts, _FACTS)
    return pa.table([*rows.columns, *found.columns], names=[*rows.column_names, *_FACTS.names])


def _in_order(source: ImageSource, paths: pa.ChunkedArray, threads: int) -> Iterator[pa.RecordBatch]:
    pending: deque[Future[pa.RecordBatch]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="retop-index")
    try:
        for start in range(0, len(paths), _CHUNK):
            pending.append(pool.submit(_read_some, source, paths.slice(start, _CHUNK).to_pylist()))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read_some(source: ImageSource, paths: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([_read_one(source, path) for path in paths], _FACTS)


def _read_one(source: ImageSource, path: str) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(_FACTS.names)
    try:
        content = source.read(path)
        row["content"] = hashlib.sha256(content).digest()
        facts = inspect_image(content, path)
    except UnreadableImageError as error:
        return {**row, "problem": error.reason}
    return {**row, **vars(facts)}


def _load(file: Path) -> pa.Table | None:
    try:
        table = pq.read_table(file, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None
    expected = [*_KEYS, *_FACTS.names]
    return table.select(expected) if set(expected) <= set(table.column_names) else None


def _save(file: Path, table: pa.Table, listener: Listener) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, sink.getvalue().to_pybytes())
    except OSError as error:
        listener(
            Notice(
                "note",
                f"the image index cannot be kept in {file.parent} ({error.strerror or error}), so every run reads all "
                f"images; set RETOP_CACHE to a folder that can be written",
            )
        )
