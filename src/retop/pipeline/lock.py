"""One process at a time in an output folder."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from retop.errors import RunBusyError
from retop.events import Listener, Notice
from retop.records.storing import writing
from retop.schema import PARTIAL

LOCK = ".lock"

if os.name == "nt":
    import msvcrt

    def _take(file: IO[str]) -> None:
        # Windows locks bytes against reading too; this one lies behind all that is written.
        file.seek(2**20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        file.seek(0)
else:
    import fcntl

    def _take(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def only_process_in(folder: Path, command: str, listener: Listener) -> Iterator[None]:
    """Hold a folder for this process. The system lets go of it when the process ends, however it ends.

    Args:
        folder: that is written; made where it is missing.
        command: for the message that another process gets.
        listener: receives a warning where the file system knows no locks.

    Raises:
        RunBusyError: another process is at work there; the message names it.
        OutputError: the folder cannot be made or written.
    """
    path = folder / LOCK
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = _open(path, listener)
    if file is None:
        yield
        return
    try:
        with writing(folder):
            file.truncate(0)
            file.write(json.dumps({"host": platform.node(), "process": os.getpid(), "command": command}))
            file.flush()
        yield
    finally:
        # Removed while it is held: whoever opened it in the meantime finds that it is no longer the folder's.
        with suppress(OSError):
            path.unlink()
        file.close()


def is_held(folder: Path) -> bool:
    """Whether another process is at work in a folder."""
    try:
        with (folder / LOCK).open("r+", encoding="utf-8") as file:
            _take(file)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def is_leftover(path: Path) -> bool:
    """Whether a file is what a killed process leaves: a lock that nobody holds, or one that is half written."""
    return path.name == LOCK or (path.name.startswith(".") and path.name.endswith(PARTIAL))


def _open(path: Path, listener: Listener) -> IO[str] | None:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            _take(file)
        except (BlockingIOError, PermissionError) as error:
            file.close()
            raise RunBusyError(
                f"{path.parent} is being worked on by {_owner(path)}. Wait for it, stop it, or choose another folder "
                f"with --out (out=)"
            ) from error
        except OSError as error:
            file.close()
            listener(
                Notice(
                    "warning",
                    f"{path.parent} lies on a file system without locks ({error.strerror}): make sure that no other "
                    f"process works there",
                )
            )
            return None
        with suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['process']} on {owner['host']} ({owner['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
