"""A table of paths and labels as a source of images: CSV, TSV or Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from retop.data.sources.folders import read_named_file
from retop.data.sources.names import SPLIT_NAMES
from retop.data.sources.source import Examples, Leftovers, Listing, Rows, SplitBy
from retop.errors import DataError, UsageError
from retop.evaluation.numerals import count, word
from retop.events import Listener, Notice

ROLES = ("path", "label", "split", "group", "image")
"""What a column can be; a column may have the role as its name, or be given one with ``--columns``."""

_Row = tuple[str, str, str | None, str | None]


class TableSource:
    """Rows with the path of an image and its label; perhaps its split and its group.

    Args:
        location: as the user gave it.
        file: an existing CSV, TSV or Parquet file; paths in it are relative to its folder.
        columns: column name by role, where it is not the role itself.
    """

    waits = False
    roles = ROLES[:4]

    def __init__(self, location: str, file: Path, columns: Mapping[str, str]) -> None:
        self.location = location
        self.identity = str(file.resolve())
        self._file = file.resolve()
        self._columns = columns

    def scan(self, listener: Listener) -> Listing:
        """List the rows; see `ImageSource.scan`. A file that is not there is listed, and found unreadable later.

        Raises:
            DataError: the table cannot be read, lacks a column, has an empty path or label, an unknown split, or one
                path with two labels or splits; or it has no row.
        """
        table = read_columns(self._file, self.location, self._columns)
        rows, leftovers = Rows(listener), Leftovers()
        seen: dict[str, _Row] = {}
        for row in self._rows(table):
            if row[0] in seen:
                self._refuse_contradiction(seen[row[0]], row)
                leftovers.repeated_rows.add(row[0])
                continue
            seen[row[0]] = row
            path, label, split, group = row
            rows.add(path, label, split, *self._stat(path), group)
        if not len(rows):
            raise DataError(_no_rows(self.location))
        if leftovers.repeated_rows.count:
            listener(
                Notice(
                    "note",
                    f"{self.location}: {count(leftovers.repeated_rows.count, 'row says', 'rows say')} again what "
                    f"another one says and {word(leftovers.repeated_rows.count, 'is', 'are')} ignored: "
                    f"{leftovers.repeated_rows}",
                )
            )
        listing = rows.table()
        return Listing(listing, split_by_table(listing), leftovers)

    def read(self, path: str) -> bytes:
        """Read one file; see `ImageSource.read`.

        Raises:
            UnreadableImageError: it is not there, may not be read, is no regular file or is too large.
        """
        return read_named_file(
            self._file.parent / path, path, f"there is no such file (paths are relative to {self._file.parent})"
        )

    def _stat(self, path: str) -> tuple[int, int]:
        try:
            status = (self._file.parent / path).stat()
        except (OSError, ValueError):
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def _rows(self, table: pa.Table) -> Iterator[_Row]:
        empty, unknown, broken = Examples(), Examples(), Examples()
        for batch in table.to_batches(max_chunksize=65_536):
            columns = [batch.column(place).to_pylist() for place in range(4)]
            for path, label, split, group in zip(*columns, strict=True):
                if not path or not label or not label.strip():
                    empty.add(repr(path or label or ""))
                    continue
                if "\n" in label.strip():
                    broken.add(path)
                    continue
                known = SPLIT_NAMES.get(split.strip().casefold()) if split else None
                if split and split.strip() and known is None:
                    unknown.add(repr(split))
                    continue
                yield path.replace("\\", "/"), label, known, group or None
        if empty.count:
            raise DataError(
                f"{self.location}: {count(empty.count, 'row has', 'rows have')} no path or no label ({empty}); fill in "
                f"what is missing, or remove {word(empty.count, 'it', 'them')}"
            )
        if broken.count:
            raise DataError(
                f"{self.location}: {count(broken.count, 'row has', 'rows have')} a label of several lines ({broken}); "
                f'most likely a quote (") was opened there and never closed'
            )
        if unknown.count:
            raise DataError(
                f"{self.location}: {count(unknown.count, 'row has', 'rows have')} a split that is none of "
                f"{', '.join(SPLIT_NAMES)} ({unknown}); correct it, or name another column with --columns split=NAME"
            )

    def _refuse_contradiction(self, first: _Row, second: _Row) -> None:
        if first != second:
            role = next(ROLES[at] for at in range(1, 4) if first[at] != second[at])
            raise DataError(
                f"{self.location} has {first[0]!r} twice, with different {role}s "
                f"({first[ROLES.index(role)]!r} and {second[ROLES.index(role)]!r}); keep one of the rows"
            )


def split_by_table(listing: pa.Table) -> SplitBy:
    """Whether a column makes the split."""
    return "table" if "validation" in pc.unique(listing["split"]).to_pylist() else "retop"


def refuse_columns(location: str, columns: Mapping[str, str], taken: Sequence[str] = ()) -> None:
    """Refuse columns that nothing would be taken from.

    Args:
        location: as messages name it.
        columns: column name by role.
        taken: roles that a column of the location can have.

    Raises:
        UsageError: a column is named for another role.
    """
    others = ", ".join(role for role in columns if role not in taken)
    if others and taken:
        raise UsageError(
            f"{location} has columns for {', '.join(taken)}, so {others} cannot be taken from one (--columns, --group)"
        )
    if others:
        raise UsageError(
            f"{location} has no columns, so {others} cannot be taken from one (--columns, --group); groups of class "
            f"folders come from --group-pattern"
        )


def column_of(role: str, given: Mapping[str, str], names: Sequence[str]) -> str:
    """The column that was named for a role, else that of its name in any case; blanks around names do not count.

    Args:
        role: one of `ROLES`.
        given: column name by role.
        names: of the columns that are there.
    """
    wanted = given.get(role, role)
    alike = [name for name in names if (name.strip() if role in given else name.strip().casefold()) == wanted]
    return wanted if wanted in names or len(alike) != 1 else alike[0]


def read_columns(file: Path, location: str, columns: Mapping[str, str]) -> pa.Table:
    """Read path, label, split and group of a table, as text.

    Args:
        file: a CSV, TSV or Parquet file.
        location: as messages name it.
        columns: column name by role, where it is not the role itself.

    Returns:
        The four columns under the names of their roles; split and group are null where the table lacks them.

    Raises:
        DataError: the table cannot be read, or lacks a column that it must have or that was named.
    """
    try:
        table = _read(file)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, UnicodeDecodeError) or "UTF8" in reason:
            reason = f"it is not UTF-8 text ({reason}); save it as UTF-8"
        elif "straddling object" in reason:
            reason = 'one of its rows is longer than 1 MB; most likely a quote (") was opened there and never closed'
        elif "Empty CSV" in reason:
            raise DataError(_no_rows(location)) from error
        raise DataError(f"{location} cannot be read as a table: {reason}") from error
    chosen = {}
    for role in ROLES[:4]:
        name = column_of(role, columns, table.column_names)
        if table.column_names.count(name) > 1:
            raise DataError(
                f"{location} has {table.column_names.count(name)} columns {name!r}; keep one, or rename the others"
            )
        if name in table.column_names:
            text = as_text(table[name], location, name)
            # Whoever writes blanks behind the commas does not mean them.
            chosen[role] = pc.utf8_ltrim_whitespace(text) if name.startswith(" ") else text
        elif role in columns or role in ("path", "label"):
            raise DataError(_no_column(location, file, table.column_names, role, name, columns))
        else:
            chosen[role] = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    return pa.table(chosen)


def _no_column(
    location: str, file: Path, names: Sequence[str], role: str, name: str, columns: Mapping[str, str]
) -> str:
    if any(_is_file(file.parent / said) for said in names):
        return (
            f"{location} begins with the row {', '.join(names)}, and not with the names of its columns; write "
            f"{','.join(ROLES[: len(names)])} above it"
        )
    needed = [other for other in ("path", "label") if column_of(other, columns, names) not in names]
    way = ",".join(f"{other}=NAME" for other in needed or [role])
    return (
        f"{location} has no column {name!r}; its columns are {', '.join(map(repr, names))}. Say which is which with "
        f"--columns {way} (DataRecipe.columns)"
    )


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except (OSError, ValueError):
        return False


def _no_rows(location: str) -> str:
    return f"{location} has no rows; give one row per image, with the columns path and label"


def as_text(column: pa.ChunkedArray, location: str, name: str) -> pa.ChunkedArray:
    """A column as text; a whole number is written without a point, and what is no number is missing.

    Args:
        column: of text or numbers; an `pa.Array` serves as well.
        location: as messages name it.
        name: of the column.

    Raises:
        DataError: it holds something else.
    """
    try:
        if pa.types.is_floating(column.type):
            # pandas writes numbers of which some are missing as floats, with NaN for those.
            column = pc.if_else(pc.is_nan(column), None, column)
        return column.cast(pa.string())
    except pa.ArrowException as error:
        raise DataError(f"{location}: the column {name!r} holds {column.type}, which is neither text nor number") from (
            error
        )


def _read(file: Path) -> pa.Table:
    with file.open("rb") as opened:
        if opened.read(4) == b"PAR1":
            return pq.ParquetFile(file).read()
    header = _header(file)
    parse = csv.ParseOptions(delimiter=delimiter_of(file, header), newlines_in_values=True)
    # Everything is text: a class "007" is not 7, and a class "NA" is not nothing.
    names = csv.open_csv(file, parse_options=parse).schema.names
    convert = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    return csv.read_csv(file, parse_options=parse, convert_options=convert)


def _header(file: Path) -> str:
    with file.open(encoding="utf-8-sig") as opened:
        line = opened.readline()
    if "\0" in line:
        raise UnicodeDecodeError("utf-8", line.encode(), line.index("\0"), line.index("\0") + 1, "it has zero bytes")
    return line


def delimiter_of(file: Path, header: str) -> str:
    """What separates the columns of a table: a comma, semicolon or tab, by its header and the name of its file."""
    if file.suffix.lower() == ".tsv" or ("\t" in header and "," not in header):
        return "\t"
    return ";" if ";" in header and "," not in header else ","
