"""Frozen dataclasses from and to plain data (what JSON and YAML can hold).

Strict in one direction only: reading refuses unknown keys, missing keys and wrong types by name and path, so
that nothing a user sets is silently dropped.
"""

import dataclasses
import json
import os
import re
import secrets
import shutil
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from retop.errors import SchemaError

T = TypeVar("T")

# What the name of a file ends with until it is whole.
PARTIAL = ".partial"
_OWN_PARTIAL = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(PARTIAL)}", re.DOTALL)


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as dicts, lists and scalars.

    Args:
        value: a dataclass instance or anything JSON can hold.

    Returns:
        The same content as dict, list, str, int, float, bool or None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: type[T], value: Any, *, where: str = "", allow_unknown: bool = False) -> T:
    """Read plain data into a dataclass.

    Args:
        kind: the dataclass.
        value: a mapping, as read from JSON or YAML.
        where: path of `value` in its document, for messages.
        allow_unknown: ignore keys that the dataclass lacks (records written by a newer version).

    Returns:
        An instance of `kind`.

    Raises:
        SchemaError: `value` is not a mapping, has unknown keys (unless allowed), lacks keys that have no
            default, or holds a value of the wrong type.
    """
    if not isinstance(value, dict):
        raise SchemaError(f"{where or 'the document'} should be a mapping, received {_shown(value)}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in value if key not in fields)
    if unknown and not allow_unknown:
        raise SchemaError(
            f"unknown key{'s' if len(unknown) > 1 else ''} {', '.join(_path(where, key) for key in unknown)}; "
            f"known here: {', '.join(sorted(fields))}"
        )
    filled = {}
    for name, field in fields.items():
        if name in value:
            filled[name] = _convert(hints[name], value[name], _path(where, name), allow_unknown)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{_path(where, name)} is missing")
    return kind(**filled)


def check_range(name: str, value: float, least: float, most: float) -> None:
    """What a record's own value must be.

    Args:
        name: of the value, for messages.
        value: that was given.
        least: the least that it may be.
        most: the greatest that it may be.

    Raises:
        SchemaError: it lies outside, or is no number.
    """
    if not least <= value <= most:
        raise SchemaError(f"{name} must lie between {least:g} and {most:g}; received {str(value)[:60]}")


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What differs between two pieces of plain data, in words.

    Args:
        before: mappings, lists and scalars.
        now: the same form.
        where: path of both in their document.

    Returns:
        One text for each value that differs, with its path.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [text for key in keys for text in differences(before.get(key), now.get(key), _path(where, key))]
    return [] if before == now else [f"{where} was {str(before)[:60]} and is {str(now)[:60]}"]


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"


def _convert(hint: Any, value: Any, where: str, allow_unknown: bool) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where, allow_unknown)
    if origin is typing.Literal:
        if value in args and type(value) in {type(arg) for arg in args}:
            return value
        raise SchemaError(f"{where} should be one of {', '.join(map(str, args))}; received {_shown(value)}")
    if origin is tuple:
        return _convert_tuple(args, value, where, allow_unknown)
    if origin is dict:
        if not isinstance(value, dict):
            raise SchemaError(f"{where} should be a mapping, received {_shown(value)}")
        return {
            _convert(args[0], key, where, allow_unknown): _convert(args[1], item, _path(where, str(key)), allow_unknown)
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), value, where=where, allow_unknown=allow_unknown)
    return _convert_scalar(hint, value, where)


def _convert_union(args: tuple[Any, ...], value: Any, where: str, allow_unknown: bool) -> Any:
    problems = []
    for arg in args:
        try:
            return _convert(arg, value, where, allow_unknown)
        except SchemaError as problem:
            problems.append(str(problem))
    raise SchemaError(next((p for p in problems if "NoneType" not in p), problems[0]))


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str, allow_unknown: bool) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SchemaError(f"{where} should be a list, received {_shown(value)}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(args[0], item, f"{where}[{i}]", allow_unknown) for i, item in enumerate(value))
    if len(value) != len(args):
        raise SchemaError(f"{where} should have {len(args)} items, received {len(value)}")
    return tuple(
        _convert(arg, item, f"{where}[{i}]", allow_unknown)
        for i, (arg, item) in enumerate(zip(args, value, strict=True))
    )


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is type(None) and value is None:
        return None
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise SchemaError(
                f"{where} is a whole number of {len(str(value))} digits, more than a float holds"
            ) from error
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise SchemaError(f"{where} should be {hint.__name__}, received {_shown(value)}")


def as_unicode(text: str) -> bytes:
    """Text as UTF-8; what is no Unicode in a name is written with a backslash, which JSON reads as it was."""
    return text.encode("utf-8", "backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write plain data or a dataclass as JSON, atomically (see `write_bytes`)."""
    text = json.dumps(to_plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, as_unicode(text + "\n"))


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write dataclasses as JSON Lines, atomically (see `write_bytes`)."""
    lines = (json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False) + "\n" for value in values)
    write_bytes(path, as_unicode("".join(lines)))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file or nothing (see `whole_file`).

    Args:
        path: where the file shall be; its folder must exist.
        content: all of it.
    """
    with whole_file(path) as temporary:
        # On Windows a file is text unless it is said to be none.
        descriptor = os.open(temporary, os.O_WRONLY | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file that is there whole or not at all: temporary file beside it, fsync, rename, fsync of the folder.

    What a process leaves that is killed meanwhile, `remove_partial_files` removes.

    Args:
        path: where the file shall be; its folder must exist.

    Yields:
        The temporary file, empty, to be written and closed; no other process has its name.
    """
    temporary, lock = _begin(path)
    try:
        yield temporary
        _sync_file(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    sync_folder(path.parent)


def remove_partial_files(*folders: Path) -> None:
    """Remove what writers left that were killed in `write_bytes`, and nothing that another process is writing.

    Args:
        *folders: where they wrote; one that is missing or closed is left as it is.
    """
    for folder in folders:
        with suppress(OSError):
            for path in folder.iterdir():
                if _OWN_PARTIAL.fullmatch(path.name):
                    _remove_if_left(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder that is there whole or not at all: written under a name of its own beside it, then renamed.

    What a process of the same folder left that was killed meanwhile is removed first, except on Windows, where a folder
    cannot be locked. If the folder is there by then because another process was faster, that one stays.

    Args:
        path: where the folder shall be; the folder around it must exist.

    Yields:
        The temporary folder, empty; no other process has its name.
    """
    for left in path.parent.iterdir():
        if left.name.startswith(f".{path.name}.") and _OWN_PARTIAL.fullmatch(left.name):
            _remove_folder_if_left(left)
    temporary, lock = _begin_folder(path)
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)
    sync_folder(path.parent)


def _begin_folder(path: Path) -> tuple[Path, int | None]:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        temporary.mkdir()
        if os.name == "nt":
            return temporary, None
        with suppress(FileNotFoundError):
            lock = os.open(temporary, os.O_RDONLY)
            if _take(lock) is not False and temporary.is_dir():
                return temporary, lock
            os.close(lock)
        # Another process took it for a leftover before it was locked.


def _remove_folder_if_left(path: Path) -> None:
    if os.name == "nt":
        return
    with suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if _take(lock):
                shutil.rmtree(path)
        finally:
            os.close(lock)


def _begin(path: Path) -> tuple[Path, int | None]:
    """A temporary file, and what holds its lock for as long as it is open: it is no leftover."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        lock = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if os.name == "nt":
            # A file that is open can be neither renamed nor removed there.
            os.close(lock)
            return temporary, None
        if _take(lock) is not False:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), temporary.stat()):
                    return temporary, lock
        # Another process took it for a leftover before it was locked.
        os.close(lock)


def _remove_if_left(path: Path) -> None:
    with suppress(OSError):
        lock = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        if os.name == "nt":
            os.close(lock)
            path.unlink()
            return
        try:
            if _take(lock):
                path.unlink()
        finally:
            os.close(lock)


def _take(descriptor: int) -> bool | None:
    """Lock an open file; False where somebody else has, None where the file system knows no locks."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
