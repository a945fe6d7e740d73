"""What is known about each image of a source: its content's hash, format and size, its looks, or why it is unreadable.

The index is kept on disk under the source's absolute location. A row counts again as long as path, size and
modification time are the same.
"""

import hashlib
import time
from pathlib import Path

import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retop.data.inspector import FACTS
from retop.data.reading import read_files
from retop.data.sources import ImageSource
from retop.events import Listener, Notice
from retop.places import cache_folder
from retop.schema import remove_partial_files, write_bytes

INDEX_VERSION = 4

_KEYS = ["path", "size_bytes", "modified_ns"]
# A file written a moment ago could change again without getting another time.
_SETTLED_NS = 2_000_000_000


def index_images(source: ImageSource, scanned: pa.Table, listener: Listener, decode: bool = True) -> pa.Table:
    """Read every image of which not enough is known yet.

    Args:
        source: where the images are.
        scanned: rows of `source.scan`.
        listener: receives progress.
        decode: whether pixels are decoded too; without, damage behind a header, and how an image looks, may stay
            unknown.

    Returns:
        `scanned` with the columns of `FACTS`.
    """
    file = index_file(source.identity)
    joined = _join(scanned, _load(file))
    enough = pc.or_(joined["decoded"], pc.is_valid(joined["problem"])) if decode else pc.is_valid(joined["content"])
    enough = pc.fill_null(enough, False)
    unknown = joined.filter(pc.invert(enough)).select(scanned.column_names)
    if unknown.num_rows == 0:
        return joined
    started_ns = time.time_ns()
    found = read_files(source, unknown["path"], decode, listener)
    fresh = pa.table([*unknown.columns, *found.columns], names=joined.column_names)
    table = pa.concat_tables([joined.filter(enough), fresh])
    settled = pc.less(table["modified_ns"], started_ns - _SETTLED_NS)
    keep = table.filter(pc.and_(settled, pc.is_valid(table["content"])))
    _save(file, keep.select(_KEYS + FACTS.names), listener)
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


def _join(scanned: pa.Table, known: pa.Table | None) -> pa.Table:
    """The rows with what is known of them, as long as size and time are the same."""
    if known is None:
        facts = [pa.nulls(scanned.num_rows, field.type) for field in FACTS]
    elif all(scanned[key].equals(known[key]) for key in _KEYS):
        # Nothing has changed, and the folders list their files in the same order.
        facts = known.select(FACTS.names).columns
    else:
        # A join of tables would hold a million rows three times.
        places = pc.index_in(scanned["path"], value_set=known["path"].combine_chunks())
        same = [pc.equal(scanned[key], known[key].take(places)) for key in ("size_bytes", "modified_ns")]
        unchanged = pc.fill_null(pc.and_(*same), False)
        facts = known.select(FACTS.names).take(pc.if_else(unchanged, places, None)).columns
    return pa.table([*scanned.columns, *facts], names=[*scanned.column_names, *FACTS.names])


def _load(file: Path) -> pa.Table | None:
    try:
        table = pq.read_table(file, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None
    expected = [*_KEYS, *FACTS.names]
    return table.select(expected) if set(expected) <= set(table.column_names) else None


def _save(file: Path, table: pa.Table, listener: Listener) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_partial_files(file.parent)
        write_bytes(file, sink.getvalue().to_pybytes())
    except OSError as error:
        listener(
            Notice(
                "note",
                f"the image index cannot be kept in {file.parent} ({error.strerror or error}), so every run reads all "
                f"images; set RETOP_CACHE to a folder that can be written",
            )
        )
