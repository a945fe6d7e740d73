"""Remote places through fsspec: class folders, and single files of the other kinds, with a cache on this machine."""

import datetime
import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import fsspec

from retop.data.decoding import BYTES_LIMIT
from retop.data.sources.layout import Member, arrange
from retop.data.sources.source import Listing, reading_names
from retop.data.sources.web import is_refusal, is_web, leads_back, list_pages, place_of, readable
from retop.errors import DataError, UnreadableImageError
from retop.events import Listener, PartAdvanced, PartFinished, PartStarted, ignore
from retop.places import cache_folder
from retop.schema import write_bytes

_NEEDED = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("abfs", "az"), "adlfs"),
}
_WAYS_IN = {
    **dict.fromkeys(
        ("s3", "s3a"),
        "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; FSSPEC_S3_ANON=true for a public bucket; "
        "AWS_ENDPOINT_URL for a service other than Amazon's",
    ),
    **dict.fromkeys(
        ("gs", "gcs"), "log in with 'gcloud auth application-default login', or set GOOGLE_APPLICATION_CREDENTIALS"
    ),
    "hf": "log in with 'hf auth login', or set HF_TOKEN",
}
"""How to say who one is, by protocol."""

_CLOSED = ("credential", "access denied", "forbidden", "unauthorized", "anonymous", "401", "403")
_CHECKSUM_KEYS = ("ETag", "etag", "md5Hash", "blob_id", "checksum")
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "created", "updated", "Last-Modified")

ASKING = "images: asking the server about each"
LOOKUPS = 16
"""Requests about single files at a time."""


class RemoteFolder:
    """Class folders in a bucket or on a server; each file is fetched once and kept.

    Args:
        address: as the user gave it, with its protocol.
        files: the file system there.
        root: the folder there.
        listed: what `list_files` has just found there; the first scan takes it.
    """

    waits = True

    def __init__(self, address: str, files: Any, root: str, listed: Mapping[str, Mapping[str, Any]]) -> None:
        self.location = address
        self.identity = address.rstrip("/")
        self._files, self._root = files, root
        self._listed: Mapping[str, Mapping[str, Any]] | None = listed
        self._members_by_path: dict[str, Member] | None = None
        # Where files lie that are called otherwise there.
        self._places: dict[str, str] = {}
        self._lock = Lock()

    def scan(self, listener: Listener) -> Listing:
        """List the files; see `ImageSource.scan`.

        Raises:
            DataError: the address cannot be listed, or holds no class folders or no image in them.
        """
        found = self._list(listener)
        refused = [path.rstrip("/") for path, facts in found.items() if facts.get("refused")]
        folders = [path for path, facts in found.items() if path.endswith("/") and not facts.get("refused")]
        members = list(self._members(found, listener))
        self._members_by_path = {member.path: member for member in members}
        return arrange(self.location, members, folders, "", listener, refused)

    def read(self, path: str) -> bytes:
        """Read one file, from the cache if it is there; see `ImageSource.read`.

        Raises:
            UnreadableImageError: it vanished, cannot be fetched or is too large.
        """
        member = self._member(path)
        if member.size_bytes > BYTES_LIMIT:
            # Before it is fetched: it may be larger than memory.
            raise UnreadableImageError(path, f"{member.size_bytes:,} bytes; at most {BYTES_LIMIT:,} are read")
        kept = _kept(f"{self.identity}/{path}\n{member.modified_ns}")
        try:
            if kept.exists():
                return kept.read_bytes()
            content = bytes(self._files.cat_file(self._place(path)))
        except FileNotFoundError as error:
            raise UnreadableImageError(path, "the file is no longer there") from error
        # Every service has errors of its own.
        except Exception as error:
            raise UnreadableImageError(path, f"the file cannot be fetched: {reason_of(error)}") from error
        if len(content) > BYTES_LIMIT:
            raise UnreadableImageError(path, f"{len(content):,} bytes; at most {BYTES_LIMIT:,} are read")
        _keep(kept, content)
        return content

    def _list(self, listener: Listener = ignore) -> Mapping[str, Mapping[str, Any]]:
        found, self._listed = self._listed or list_files(self._files, self._root, self.location, listener), None
        return found

    def _members(self, found: Mapping[str, Mapping[str, Any]], listener: Listener = ignore) -> Iterator[Member]:
        files = {path: facts for path, facts in found.items() if not path.endswith("/")}
        for path, facts in files.items():
            if (place := place_of(self._root, path, facts)) != self._place(path):
                self._places[path] = place
        waits, started = not all(map(_is_known, files.values())), time.perf_counter()
        if waits:
            listener(PartStarted(ASKING, len(files), "files"))
        with ThreadPoolExecutor(LOOKUPS) as pool:
            for path, facts in zip(files, pool.map(self._looked_up, files.items()), strict=True):
                if waits:
                    listener(PartAdvanced(ASKING, 1))
                yield Member(path, int(facts.get("size") or 0), change_number(facts))
        if waits:
            listener(PartFinished(ASKING, time.perf_counter() - started))

    def _looked_up(self, file: tuple[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """What the service says of a file; web servers list names alone, and are asked for each."""
        path, facts = file
        if _is_known(facts):
            return facts
        try:
            return file_facts(self._files, self._place(path), f"{self.location}/{path}")
        except DataError as error:
            # It is named when it is read.
            if is_refusal(error):
                return {}
            raise

    def _place(self, path: str) -> str:
        return self._places.get(path) or f"{self._root.rstrip('/')}/{path}"

    def _member(self, path: str) -> Member:
        with self._lock:
            if self._members_by_path is None:
                self._members_by_path = {member.path: member for member in self._members(self._list())}
        if path not in self._members_by_path:
            raise UnreadableImageError(path, f"{self.location} has no such file")
        return self._members_by_path[path]


def open_address(address: str) -> tuple[Any, str]:
    """The file system of an address and the path there.

    Raises:
        DataError: the protocol is not known or needs a package that is missing.
    """
    protocol = address.partition("://")[0]
    # Without a handler, Python prints what these packages log: a line for every file where nobody is logged in.
    for package in ("gcsfs", "s3fs"):
        logging.getLogger(package).addHandler(logging.NullHandler())
    try:
        files, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        package = _NEEDED.get(protocol, protocol)
        raise DataError(f"{address}: {protocol}:// needs a package that is missing: pip install {package}") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{address} cannot be opened: {reason_of(error)}{_way_in(address, error)}") from error
    return files, root


def list_files(files: Any, root: str, address: str, listener: Listener) -> dict[str, Mapping[str, Any]]:
    """Every file below an address: path relative to it, and what the service says of it.

    What a store's console makes as a folder is an object without content; its path ends in a slash.

    Raises:
        DataError: it cannot be listed.
    """
    try:
        with reading_names(listener):
            found = list_pages(files, root) if is_web(root) else files.find(root, detail=True)
    # Every service has errors of its own.
    except Exception as error:
        raise DataError(f"{address} cannot be listed: {reason_of(error)}{_way_in(address, error)}") from error
    base = root.rstrip("/") + "/"
    listed = {_plain(path).removeprefix(_plain(base)): facts for path, facts in found.items()}
    listed.pop(_plain(root), None)
    listed.pop("", None)
    if is_web(root):
        listed = {readable(path): facts for path, facts in listed.items() if not leads_back(path)}
    if not listed:
        # Some say of what they cannot reach that it is empty.
        file_facts(files, root, address)
        raise DataError(f"{address} is empty: it should hold one folder per class")
    return {_marked(path.lstrip("/"), facts): facts for path, facts in listed.items()}


def file_facts(files: Any, path: str, address: str) -> Mapping[str, Any]:
    """What the service says of one file.

    Raises:
        DataError: it is not there.
    """
    try:
        facts: Mapping[str, Any] = files.info(path)
    # Every service has errors of its own.
    except Exception as error:
        raise DataError(f"{address} cannot be opened: {reason_of(error)}{_way_in(address, error)}") from error
    return facts


def remote_cache() -> Path:
    """Where fetched files are kept."""
    return cache_folder() / "remote"


def change_number(facts: Mapping[str, Any]) -> int:
    """A number that changes with a file's content: from its checksum, else its time in nanoseconds since 1970.

    Times are whole seconds in places, so that a file may be written twice at one time.
    """
    for key in _CHECKSUM_KEYS:
        if facts.get(key):
            return int.from_bytes(hashlib.sha256(str(facts[key]).encode()).digest()[:8], "big") % 10**18
    for key in _TIME_KEYS:
        value = facts.get(key)
        if isinstance(value, datetime.datetime):
            return int(value.timestamp() * 1e9)
        if isinstance(value, int | float):
            return int(value * 1e9)
        if value:
            return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:8], "big") % 10**18
    return 0


def reason_of(error: Exception) -> str:
    """Why: services say of what they cannot reach that it does not exist, and name the cause behind it."""
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__
        return reason_of(cause) if isinstance(cause, Exception) and str(cause) else "it does not exist"
    return str(error).partition("\n")[0] or type(error).__name__


def _way_in(address: str, error: Exception) -> str:
    way = _WAYS_IN.get(address.partition("://")[0])
    # The hub says of what is private that it does not exist.
    signs = ("404", "not found", *_CLOSED) if address.startswith("hf://") else _CLOSED
    closed = isinstance(error, PermissionError) or any(sign in reason_of(error).lower() for sign in signs)
    return f"; {way}" if way and closed else ""


def _is_known(facts: Mapping[str, Any]) -> bool:
    return facts.get("size") is not None or bool(change_number(facts))


def _marked(path: str, facts: Mapping[str, Any]) -> str:
    return f"{path.rstrip('/')}/" if facts.get("type") == "directory" else path


def _plain(path: str) -> str:
    return path.partition("://")[2] if "://" in path else path.lstrip("/")


def _kept(version: str) -> Path:
    digest = hashlib.sha256(version.encode()).hexdigest()
    return remote_cache() / digest[:2] / digest[2:34]


def _keep(file: Path, content: bytes) -> None:
    """A cache that cannot be written costs time, not the run."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content)
    except OSError:
        return
