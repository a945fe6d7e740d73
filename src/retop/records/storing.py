"""Records from and to JSON files."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from retop.errors import DamagedError, OutputError, RunError, SchemaError
from retop.schema import from_plain, write_json

R = TypeVar("R")


def write_record(path: Path, record: Any) -> None:
    """Write a record atomically as JSON."""
    write_json(path, record)


def read_record(kind: type[R], path: Path) -> R:
    """Read a record; keys of a newer version are ignored.

    Args:
        kind: the record's dataclass.
        path: the JSON file.

    Returns:
        The record.

    Raises:
        DamagedError: the file is not JSON.
        RunError: it is missing, or does not hold such a record.
    """
    try:
        return from_plain(kind, json.loads(path.read_text(encoding="utf-8")), allow_unknown=True)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    except SchemaError as error:
        raise RunError(f"{path} is not a {kind.__name__} that this version of retop can read: {error}") from error


@contextmanager
def writing(folder: Path, option: str = "--out (out=)") -> Iterator[None]:
    """Turn what the system says about a folder that cannot be written into an error of ours.

    Args:
        folder: where the body writes.
        option: that chose it.

    Raises:
        OutputError: no space, no permission, read-only, or the folder is gone.
        OSError: it is about a file elsewhere.
    """
    try:
        yield
    except OSError as error:
        if not _concerns(folder, error):
            raise
        way_out = f"Make it writable or free some space and go on with the same {option}, or choose another one"
        if isinstance(error, FileExistsError | NotADirectoryError):
            way_out = f"Choose another one with {option}"
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}. {way_out}") from error


def _concerns(folder: Path, error: OSError) -> bool:
    """Whether an error is about a folder, something in it or above it, or does not say what it is about."""
    if not isinstance(error.filename, str):
        return True
    named, own = Path(error.filename).absolute(), folder.absolute()
    return named.is_relative_to(own) or own.is_relative_to(named)
