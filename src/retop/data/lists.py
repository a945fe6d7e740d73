"""Lists that users hand in: images to leave out, and a split to take again."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from retop.data.sources.names import SPLIT_NAMES
from retop.errors import DataError, RetopError, UsageError
from retop.evaluation.numerals import count, word
from retop.events import Listener, Notice
from retop.records import SPLIT_SCHEMA, read_split

EXCLUSION_COLUMNS = ("path", "code", "reason")
FEWEST_FOLDS = 3
"""One is tested, one validates, one is learned from."""


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
            above its header. The cells of a CSV may be separated by commas, semicolons or tabs.

    Returns:
        The paths.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = list(opened)
        said = [place for place, line in enumerate(lines) if line.strip() and not line.startswith("#")]
        if said and (form := _form_of(lines[said[0]])):
            # Names may have line breaks and begin with any sign: below the header nothing is a comment.
            rows = csv.reader(lines[said[0] + 1 :], delimiter=form.delimiter, skipinitialspace=form.spaced)
            return [row[form.column] for row in rows if len(row) > form.column and row[form.column]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--exclude {file} cannot be read: {_reason(error)} (DataRecipe.exclude)") from error
    return [lines[place].strip() for place in said]


class _Form(NamedTuple):
    """How a CSV is written: what separates its cells, whether blanks follow it, and which column holds paths."""

    delimiter: str
    spaced: bool
    column: int


def _form_of(header: str) -> _Form | None:
    """The form of a CSV with a column ``path``; None for anything else."""
    for delimiter in ",;\t":
        cells = next(csv.reader([header], delimiter=delimiter))
        names = [cell.strip().casefold() for cell in cells]
        if "path" in names:
            spaced = any(cell.startswith(" ") for cell in cells[1:])
            return _Form(delimiter, spaced, names.index("path"))
    return None


class Unwanted:
    """The images of an exclusion list, where they are met one by one.

    Args:
        file: the list.

    Raises:
        UsageError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._paths = frozenset(read_exclusions(file))
        self._met: set[str] = set()
        self._left_out = 0

    def has(self, *names: str) -> bool:
        """Whether an image is to be left out, by any of its names."""
        met = self._paths.intersection(names)
        self._met |= met
        self._left_out += bool(met)
        return bool(met)

    def tell(self, listener: Listener) -> None:
        """Say how many were left out, and what was never met."""
        listener(Notice("note", f"{count(self._left_out, 'image')} left out by {self._file}"))
        if lost := sorted(self._paths - self._met):
            named = count(len(lost), "image that is", "images that are")
            listener(Notice("warning", f"{self._file} names {named} not among these, such as {lost[0]}"))


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
    left_out = pc.sum(mask).as_py() or 0
    lost = pc.invert(pc.is_in(unwanted, value_set=table["path"].combine_chunks()))
    listener(
        Notice(
            "note", f"{left_out:,} of {count(table.num_rows, 'image')} {word(left_out, 'is', 'are')} left out by {file}"
        )
    )
    if left_out < len(unwanted):
        missing = unwanted.filter(lost)
        listener(
            Notice(
                "warning",
                f"{file} names {count(len(missing), 'image that is', 'images that are')} not in the data, such as "
                f"{missing[0]}",
            )
        )
    kept = table.filter(pc.invert(mask))
    if kept.num_rows == 0:
        raise DataError(f"{file} leaves out all images ({table.num_rows:,})")
    return kept


def read_split_file(file: str) -> pa.Table:
    """Read a split to take again: a split.parquet of a comparison, or a CSV with the columns path and split or fold.

    Args:
        file: which.

    Returns:
        The columns of `SPLIT_SCHEMA`, each path once; ``label`` and ``content`` may be empty where a CSV lacks them.

    Raises:
        UsageError: it cannot be read, a split is unknown, an image has two, or the folds are not 0, 1, 2 and on.
    """
    path = Path(file)
    try:
        if path.suffix.lower() == ".parquet":
            said = read_split(path)
        else:
            said = pa.Table.from_pylist([_split_row(row, file) for row in _read_rows(path)], SPLIT_SCHEMA)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error, pa.ArrowException, RetopError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"--split-file {file} cannot be read: {_reason(error)}; give a split.parquet, or a CSV with the columns "
            f"path and split (DataRecipe.split_file)"
        ) from error
    _refuse_odd_folds(said, file)
    return _each_once(said, file)


def _read_rows(file: Path) -> list[dict[str, str | None]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        header = opened.readline()
        opened.seek(0)
        sign = max(",;\t", key=header.count)
        reader = csv.DictReader(opened, delimiter=sign, skipinitialspace=f"{sign} " in header)
        said = reader.fieldnames or ()
        reader.fieldnames = names = [name.strip().casefold() for name in said]
        if "path" not in names:
            raise UsageError(
                f"--split-file {file} has no column 'path'; its columns are {', '.join(map(repr, said)) or 'none'}"
            )
        return list(reader)


def _split_row(row: dict[str, str | None], file: str) -> dict[str, object]:
    split, fold = ((row.get(column) or "").strip() for column in ("split", "fold"))
    if split and split.casefold() not in SPLIT_NAMES:
        raise UsageError(f"--split-file {file}: the split {split!r} is none of {', '.join(SPLIT_NAMES)}")
    if not row["path"]:
        raise UsageError(f"--split-file {file}: there is a row without a path; fill it in or remove it")
    return {
        "path": row["path"],
        "label": row.get("label") or "",
        "split": SPLIT_NAMES[split.casefold()] if split else None,
        "fold": int(fold) if fold else None,
        "content": row.get("content") or "",
    }


def _refuse_odd_folds(said: pa.Table, file: str) -> None:
    folds = sorted(pc.unique(said["fold"].drop_null()).to_pylist())
    if folds and (len(folds) < FEWEST_FOLDS or folds != list(range(len(folds)))):
        raise UsageError(
            f"--split-file {file} has the folds {', '.join(map(str, folds[:5]))}; give at least {FEWEST_FOLDS}, "
            f"numbered 0, 1, 2 and on without a gap"
        )


def _each_once(said: pa.Table, file: str) -> pa.Table:
    """One row for each path; an image on two sides would be learned from and tested."""
    if pc.count_distinct(said["path"]).as_py() == said.num_rows:
        return said
    first: dict[str, tuple[object, object]] = {}
    kept = []
    for at, row in enumerate(said.select(["path", "split", "fold"]).to_pylist()):
        side = (row["split"], row["fold"])
        if row["path"] not in first:
            kept.append(at)
        elif first[row["path"]] != side:
            role = "splits" if first[row["path"]][0] != side[0] else "folds"
            raise UsageError(
                f"--split-file {file} has {row['path']!r} twice, in different {role}; keep one of the rows"
            )
        first.setdefault(row["path"], side)
    return said.take(kept)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text ({error}); save it as UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
