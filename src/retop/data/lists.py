"""Lists that users hand in: images to leave out, and a split to take again."""

import csv
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from retop.data.sources.names import SPLIT_NAMES
from retop.errors import DataError, RetopError, UsageError
from retop.events import Listener, Notice
from retop.records import SPLIT_SCHEMA, read_split

EXCLUSION_COLUMNS = ("path", "code", "reason")


def write_exclusions(file: Path, rows: Iterable[tuple[str, str, str]]) -> int:
    """Write a list for ``--exclude``.

    Args:
        file: where to; an existing file is not touched.
        rows: path, code of the finding, and reason.

    Returns:
        How many images it holds.

    Raises:
        UsageError: the file exists, or cannot be written.
    """
    count = 0
    try:
        with file.open("x", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(EXCLUSION_COLUMNS)
            for row in rows:
                writer.writerow(row)
                count += 1
    except FileExistsError as error:
        raise UsageError(f"{file} exists already; choose another name with --write-exclusions") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from error
    return count


def read_exclusions(file: Path) -> list[str]:
    """Read paths of images to leave out: a CSV with a column ``path``, or one path a line.

    Args:
        file: as `write_exclusions` or a person wrote it; lines that begin with ``#`` are comments, in a CSV those
            above its header.

    Returns:
        The paths.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = list(opened)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--exclude {file} cannot be read: {error} (DataRecipe.exclude)") from error
    said = [place for place, line in enumerate(lines) if line.strip() and not line.startswith("#")]
    if said and "path" in next(csv.reader([lines[said[0]]])):
        # Names may have line breaks and begin with any sign: below the header nothing is a comment.
        return [row["path"] for row in csv.DictReader(lines[said[0] :]) if row["path"]]
    return [lines[place].strip() for place in said]


def leave_out(table: pa.Table, file: str, listener: Listener) -> pa.Table:
    """A listing or index without the images of an exclusion list.

    Args:
        table: with the column ``path``.
        file: the list.
        listener: is told how many are left out, and of paths that are not there.

    Returns:
        The other rows.

    Raises:
        UsageError: the list cannot be read.
        DataError: nothing is left.
    """
    unwanted = pa.array(sorted(set(read_exclusions(Path(file)))), pa.string())
    mask = pc.is_in(table["path"], value_set=unwanted)
    count = pc.sum(mask).as_py() or 0
    lost = pc.invert(pc.is_in(unwanted, value_set=table["path"].combine_chunks()))
    listener(Notice("note", f"{count:,} of {table.num_rows:,} images are left out by {file}"))
    if count < len(unwanted):
        missing = unwanted.filter(lost)
        listener(
            Notice("warning", f"{file} names {len(missing):,} images that are not in the data, such as {missing[0]}")
        )
    kept = table.filter(pc.invert(mask))
    if kept.num_rows == 0:
        raise DataError(f"{file} leaves out all {table.num_rows:,} images")
    return kept


def read_split_file(file: str) -> pa.Table:
    """Read a split to take again: a split.parquet of a comparison, or a CSV with the columns path and split or fold.

    Args:
        file: which.

    Returns:
        The columns of `SPLIT_SCHEMA`; ``label`` and ``content`` may be empty where a CSV lacks them.

    Raises:
        UsageError: it cannot be read, or a split is unknown.
    """
    path = Path(file)
    try:
        if path.suffix.lower() == ".parquet":
            return read_split(path)
        with path.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened))
        return pa.Table.from_pylist([_split_row(row, file) for row in rows], SPLIT_SCHEMA)
    except (OSError, UnicodeDecodeError, ValueError, pa.ArrowException, KeyError, RetopError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"--split-file {file} cannot be read: {error}; give a split.parquet, or a CSV with the columns path and "
            f"split (DataRecipe.split_file)"
        ) from error


def _split_row(row: dict[str, str], file: str) -> dict[str, object]:
    split, fold = row.get("split"), row.get("fold")
    if split and split.casefold() not in SPLIT_NAMES:
        raise UsageError(f"--split-file {file}: the split {split!r} is none of {', '.join(SPLIT_NAMES)}")
    return {
        "path": row["path"],
        "label": row.get("label") or "",
        "split": SPLIT_NAMES[split.casefold()] if split else None,
        "fold": int(fold) if fold else None,
        "content": row.get("content") or "",
    }
