"""From what a user names to image files, one at a time."""

import csv
import glob
import shlex
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path

from retop.data.lists import Unwanted
from retop.data.sources import find_image_files
from retop.data.sources.embedded import holds_images
from retop.data.sources.names import shown
from retop.data.sources.tables import delimiter_of
from retop.errors import DataError, UsageError

STANDARD_INPUT = "-"
TABLES = (".csv", ".tsv", ".parquet")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
PATH_COLUMNS = ("path", "file", "filename", "image", "image_path")


def find_inputs(
    named: Iterable[str],
    recursive: bool,
    lines: Iterable[str],
    apart: Path | None = None,
    unwanted: Unwanted | None = None,
) -> Iterator[str]:
    """The image files that were named, without those of an exclusion list.

    Args:
        named: files, folders, patterns such as ``photos/*.jpg``, tables with a column of paths, or ``-`` for a list on
            standard input, one path a line.
        recursive: folders with all their sub-folders.
        lines: standard input.
        apart: a folder for pictures made of the images; None for none.
        unwanted: what is left out, by its path as it would be given here, or below the folder or table that names it.

    Yields:
        Paths, in the order in which they were named, those of a folder sorted. Files that do not exist are among them:
        their answers say so.

    Raises:
        DataError: a folder holds no image, a pattern fits nothing, or a table has no column of paths.
        UsageError: an archive or Parquet with images inside was named, or the folder of pictures lies among the
            images, so that they would be images of the next command.
    """
    for name in named:
        base = f"{_base(name)}/"
        for path in _inputs_of(name, recursive, lines, apart):
            if unwanted is None or not unwanted.has(shown(path), shown(path.removeprefix(base))):
                yield path


def _base(name: str) -> Path:
    """The folder below which paths of a list may be given: the one that was named, or that of a table or a pattern."""
    path = Path(name)
    if _holds(path.is_dir):
        return path
    if not glob.has_magic(name) or _holds(path.exists):
        return path.parent
    plain = takewhile(lambda part: not glob.has_magic(part), path.parts)
    return Path(*plain)


def _inputs_of(name: str, recursive: bool, lines: Iterable[str], apart: Path | None) -> Iterator[str]:
    """What one name stands for."""
    path = Path(name)
    if name == STANDARD_INPUT:
        yield from (line for line in (line.rstrip("\r\n") for line in lines) if line)
    elif _holds(path.is_dir):
        place = apart.resolve() if apart else None
        if place is not None and (place == path.resolve() or (recursive and path.resolve() in place.parents)):
            raise _among(place, name)
        yield from map(str, find_image_files(path, recursive))
    elif path.suffix.lower() in TABLES:
        yield from _read_table(path)
    elif glob.has_magic(name) and not _holds(path.exists):
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - absolute patterns, too
        if not found:
            raise DataError(f"nothing fits {name}; check the pattern and where the command runs")
        if apart is not None and any(Path(file).resolve().parent == apart.resolve() for file in found):
            raise _among(apart, name)
        yield from found
    elif path.suffix.lower() in ARCHIVES and _holds(path.is_file):
        raise _inside(path, "unpack it and give the folder")
    else:
        yield name


def _holds(question: Callable[[], bool]) -> bool:
    """The answer about a path; no, where the system refuses even the name: reading it will say why."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def _among(apart: Path, name: str) -> UsageError:
    return UsageError(
        f"the folder {apart} of heat maps (--explain) lies in {name}, where the images are: the maps would be images "
        f"of the next command. Choose a folder beside it"
    )


def _inside(path: Path, way_out: str) -> UsageError:
    return UsageError(
        f"{path} has the images inside, and predict reads files, folders, patterns, tables with a column of paths, or "
        f"a list on standard input: {way_out}. Where it has labels, retop evaluate MODEL {shlex.quote(str(path))} "
        f"measures the model on it as it is"
    )


def _read_table(path: Path) -> Iterator[str]:
    """Paths of a table; relative ones, also with backslashes, belong to the table's folder where they exist there."""
    for text in _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path):
        beside = (path.parent / name for name in (text, text.replace("\\", "/")) if not Path(name).is_absolute())
        yield next((str(place) for place in beside if _holds(place.exists)), text)


def _read_csv(path: Path) -> Iterator[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=delimiter_of(path, header))
            column = _path_column(path, rows.fieldnames or ())
            spaced = column.startswith(" ")
            yield from (row[column].lstrip() if spaced else row[column] for row in rows if row[column])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the table {path} cannot be read: {error}") from error


def _read_parquet(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if not {name.lower() for name in names} & set(PATH_COLUMNS[:3]) and holds_images(path):
                raise _inside(path, "write the images into files and give their folder")
            column = _path_column(path, names)
            kind = file.schema_arrow.field(column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
                raise DataError(f"the column {column} of the table {path} holds {kind}, not paths")
            for batch in file.iter_batches(columns=[column]):
                yield from (str(value) for value in batch.column(0).to_pylist() if value)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"the table {path} cannot be read: {error}") from error


def _path_column(path: Path, names: Iterable[str]) -> str:
    known = list(names)
    column = next((name for wanted in PATH_COLUMNS for name in known if name.strip().lower() == wanted), None)
    if column is None:
        raise UsageError(
            f"the table {path} has no column of paths: it has {', '.join(known) or 'none'}; name one "
            f"{', '.join(PATH_COLUMNS)}"
        )
    return column
