"""One process at a time in an output folder, or at one file."""

import errno
import json
import os
import platform
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from retop.errors import OutputError, RunBusyError
from retop.events import Listener, Notice
from retop.records.storing import writing
from retop.schema import PARTIAL

LOCK = ".lock"
# Windows knows neither: a link there takes rights that few have. A pipe would wait for its other end.
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
TRIES, TRY_SECONDS = 20, 0.01
"""Whoever only looks whether a folder is held has it for much less than that."""

if os.name == "nt":
    import msvcrt

    def _take(file: IO[str], *, alone: bool = True) -> None:
        # Windows locks bytes against reading too; this one lies behind all that is written.
        file.seek(2**20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        file.seek(0)
else:
    import fcntl

    def _take(file: IO[str], *, alone: bool = True) -> None:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)


class Held:
    """A folder or file that is this process's own.

    Args:
        what: is held.
        path: of the lock.
        file: the lock, open; None where the file system knows no locks.
    """

    def __init__(self, what: Path, path: Path, file: IO[str] | None) -> None:
        self.what, self.path, self.file = what, path, file

    @property
    def is_in_place(self) -> bool:
        """Whether the lock still lies where it was put."""
        if self.file is None:
            return True
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self.file.fileno()))
        except OSError:
            return False

    def check(self) -> None:
        """Make sure, before something is written, that it would not be written into what somebody else began since.

        Raises:
            OutputError: the folder was deleted or replaced.
        """
        if not self.is_in_place:
            raise OutputError(
                f"{self.what} was deleted or replaced while this process was at work in it, so nothing more can be "
                f"written there. Run the same command again"
            )


@contextmanager
def only_process_in(folder: Path, command: str, listener: Listener) -> Iterator[Held]:
    """Hold a folder for this process. The system lets go of it when the process ends, however it ends.

    Args:
        folder: that is written; made where it is missing.
        command: for the message that another process gets.
        listener: receives a warning where the file system knows no locks.

    Yields:
        What to ask before each write.

    Raises:
        RunBusyError: another process is at work there; the message names it.
        OutputError: the folder cannot be made or written.
    """
    with _holding(folder / LOCK, folder, "--out (out=)", command, listener) as held:
        yield held


@contextmanager
def only_process_at(file: Path, option: str, command: str, listener: Listener) -> Iterator[None]:
    """Hold a file that is to be, for this process, as `only_process_in` holds a folder.

    Args:
        file: that is written; its folder is made where it is missing.
        option: that names it, for messages.
        command: see `only_process_in`.
        listener: see `only_process_in`.

    Raises:
        RunBusyError: another process is writing it.
        OutputError: its folder cannot be made or written.
    """
    with _holding(file.with_name(f".{file.name}{LOCK}"), file, option, command, listener):
        yield


@contextmanager
def _holding(path: Path, held: Path, option: str, command: str, listener: Listener) -> Iterator[Held]:
    with writing(path.parent, option):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open(path, held, option, listener)
    ours = Held(held, path, file)
    if file is None:
        yield ours
        return
    try:
        with writing(path.parent, option):
            file.truncate(0)
            file.write(json.dumps({"host": platform.node(), "process": os.getpid(), "command": command}))
            file.flush()
        yield ours
    finally:
        # Removed while it is held: whoever opened it in the meantime finds that it is no longer the folder's.
        if ours.is_in_place:
            with suppress(OSError):
                path.unlink()
        file.close()


def is_held(folder: Path) -> bool:
    """Whether another process is at work in a folder."""
    try:
        with (folder / LOCK).open("r+", encoding="utf-8") as file:
            _take(file, alone=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def refuse_if_held(folder: Path) -> None:
    """Tell before anything is computed that another process is at work in a folder.

    Raises:
        RunBusyError: it is; the message names it.
    """
    if is_held(folder):
        raise _busy(folder, folder / LOCK, "--out (out=)")


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed process leaves: a lock that nobody holds, or one that is half written."""
    return path.name == LOCK or (path.name.startswith(".") and path.name.endswith(PARTIAL))


def _open(path: Path, held: Path, option: str, listener: Listener) -> IO[str] | None:
    tries = 0
    while True:
        file = os.fdopen(_open_itself(path), "a+", encoding="utf-8")
        try:
            _take(file)
        except (BlockingIOError, PermissionError) as error:
            file.close()
            tries += 1
            if tries < TRIES:
                time.sleep(TRY_SECONDS)
                continue
            raise _busy(held, path, option) from error
        except OSError as error:
            file.close()
            listener(
                Notice(
                    "warning",
                    f"{held} lies on a file system without locks ({error.strerror}): make sure that no other "
                    f"process works at it",
                )
            )
            return None
        if Held(held, path, file).is_in_place:
            return file
        file.close()


def _open_itself(path: Path) -> int:
    """Open a file that is none of another place: what a link in somebody's folder leads to is not written.

    Raises:
        OSError: it is a link, or no plain file.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | NO_LINK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, f"{path.name} is a link; remove it", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path.name} is not a plain file; remove it", str(path))
    return descriptor


def _busy(held: Path, path: Path, option: str) -> RunBusyError:
    return RunBusyError(
        f"{held} is being worked on by {_owner(path)}. Wait for it, stop it, or choose another one with {option}"
    )


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['process']} on {owner['host']} ({owner['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
