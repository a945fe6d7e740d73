"""split.parquet: which image lies on which side of the split; ``--split-file`` takes it again."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retop.errors import RunError
from retop.schema import write_bytes

SPLIT_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),  # as the source names it
        pa.field("label", pa.string(), nullable=False),  # class name
        pa.field("split", pa.string()),  # train, validation or test; null with folds
        pa.field("fold", pa.int32()),  # fold that tests the image, from 0; null without folds
        pa.field("group", pa.string()),  # images of one group share a side; null without groups
        pa.field("content", pa.string(), nullable=False),  # SHA-256 of the file, hexadecimal
        pa.field("width", pa.int32()),  # pixels, as stored
        pa.field("height", pa.int32()),  # pixels, as stored
    ]
)
SPLIT = "split.parquet"
SPLIT_VERSION = b"1"


def write_split(path: Path, table: pa.Table) -> None:
    """Write a split table atomically.

    Args:
        path: where to.
        table: with the columns of `SPLIT_SCHEMA`.
    """
    content = pa.BufferOutputStream()
    marked = table.cast(SPLIT_SCHEMA).replace_schema_metadata({b"retop.version": SPLIT_VERSION})
    pq.write_table(marked, content, compression="zstd")
    write_bytes(path, memoryview(content.getvalue()))


def read_split(path: Path) -> pa.Table:
    """Read a split table.

    Args:
        path: a split.parquet.

    Returns:
        The columns of `SPLIT_SCHEMA`.

    Raises:
        RunError: the file is missing, of another version, or not such a table.
    """
    try:
        table = pq.read_table(path)
        version = (table.schema.metadata or {})[b"retop.version"]
        if version != SPLIT_VERSION:
            raise RunError(
                f"{path} has version {version.decode()}; this retop reads version {SPLIT_VERSION.decode()}. Update "
                f"retop"
            )
        return table.select(SPLIT_SCHEMA.names).cast(SPLIT_SCHEMA)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise RunError(f"{path} is not a split table: {error}") from error


def recorded_contents(folder: Path, paths: Collection[str]) -> dict[str, str]:
    """What files held when a comparison, or the run of one, read them.

    Args:
        folder: of a comparison or of one of its runs.
        paths: of images, as their source names them.

    Returns:
        SHA-256 in hexadecimal by path; of those of which it is known.
    """
    file = next((place for one in (folder, folder.parent) if (place := one / SPLIT).is_file()), None)
    if file is None:
        return {}
    table = read_split(file)
    known = table.filter(pc.is_in(table["path"], pa.array(list(paths), pa.string())))
    return dict(zip(known["path"].to_pylist(), known["content"].to_pylist(), strict=True))
