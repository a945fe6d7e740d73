"""Remote files that are read whole, fetched into the cache of this machine."""

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retop.data.sources.remote import change_number, reason_of, remote_cache
from retop.data.sources.web import place_of
from retop.errors import DataError
from retop.events import Listener, PartAdvanced, PartFinished, PartStarted
from retop.schema import remove_partial_files, whole_file

FETCHING = "images: fetching"
LOOK_SECONDS = 0.5
"""Between two looks at how much is there."""

_MB = 10**6


def fetch(files: Any, wanted: Mapping[str, Mapping[str, Any]], root: str, address: str, listener: Listener) -> Path:
    """Fetch some files whole, unless these versions of them are there already.

    Args:
        files: the file system.
        wanted: path below `root`, and what the service says of it.
        root: the folder there.
        address: as messages name it.
        listener: receives the progress in MB, from a thread of its own.

    Returns:
        The folder that now holds them under the same paths.

    Raises:
        DataError: one cannot be fetched.
    """
    versions = "\n".join(f"{path} {facts.get('size')} {change_number(facts)}" for path, facts in wanted.items())
    folder = remote_cache() / hashlib.sha256(f"{address}\n{versions}".encode()).hexdigest()[:32]
    missing = {path: facts for path, facts in wanted.items() if not (folder / path).exists()}
    if not missing:
        return folder
    sizes = [int(facts.get("size") or 0) for facts in missing.values()]
    started = time.perf_counter()
    listener(PartStarted(FETCHING, -(-sum(sizes) // _MB) if all(sizes) else None, "MB"))
    told = _Told(listener)
    for path, facts in missing.items():
        try:
            _fetch(files, place_of(root, path, facts), folder / path, int(facts.get("size") or 0), told)
        # Every service has errors of its own.
        except Exception as error:
            raise DataError(f"{address}: {path} cannot be fetched: {reason_of(error)}") from error
    listener(PartFinished(FETCHING, time.perf_counter() - started))
    return folder


class _Told:
    """How much of all files the listener knows to be there."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._whole_bytes = self._told_mb = 0

    def tell(self, more_bytes: int) -> None:
        """So many bytes lie beside the files that are whole."""
        steps = (self._whole_bytes + more_bytes) // _MB - self._told_mb
        if steps > 0:
            self._told_mb += steps
            self._listener(PartAdvanced(FETCHING, steps))

    def keep(self, num_bytes: int) -> None:
        """One more file is whole."""
        self._whole_bytes += num_bytes
        self.tell(0)


def _fetch(files: Any, path: str, target: Path, least: int, told: _Told) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_partial_files(target.parent)
    with whole_file(target) as partial:
        with _watched(partial, told):
            files.get_file(path, str(partial))
        # More are right: some services unpack what they send.
        if _size(partial) < least:
            raise OSError(f"only {_size(partial):,} of {least:,} bytes came")
        told.keep(_size(partial))


@contextmanager
def _watched(file: Path, told: _Told) -> Iterator[None]:
    """Tell how a file grows.

    The file is looked at: not every service counts for fsspec what it sends, and the hub's way is slower if it must.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            told.tell(_size(file))

    thread = threading.Thread(target=watch, name="retop-fetch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
