"""Web servers among the remote places: they list names percent-encoded, between links that are no files."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from retop.data.sources.names import shown

_REFUSED = (401, 403, 404, 410)
"""What a server answers of one file while others may be there."""


def is_web(address: str) -> bool:
    """Whether an address is that of a web server."""
    return address.startswith(("http://", "https://"))


def readable(path: str) -> str:
    """A percent-encoded path as it is meant; as it is where a name in it would have a slash."""
    return path if "%2f" in path.lower() else shown(unquote(path, errors="surrogateescape"))


def leads_back(path: str) -> bool:
    """Whether a listed path is a link that sorts the list, or one to a place within a page, rather than a file."""
    return "?" in path or "#" in path


def place_of(root: str, path: str, facts: Mapping[str, Any]) -> str:
    """Where a listed file is fetched from.

    Args:
        root: the folder that was listed.
        path: below it, as people read it.
        facts: what the service says of the file.
    """
    return str(facts["name"]) if is_web(root) else f"{root.rstrip('/')}/{path}"


def list_pages(files: Any, root: str) -> dict[str, Mapping[str, Any]]:
    """Every file that the pages of a web server list below an address, and the folders that it refuses to show.

    fsspec's own walk passes in silence over a folder that is not there, and ends at one that is closed.

    Args:
        files: the file system.
        root: the address.

    Returns:
        By address, what the server says of it; a refused folder is a directory with ``refused``. Nothing where there
        is no such page, or no server.
    """
    found: dict[str, Mapping[str, Any]] = {}
    pending, seen = [root], {root.rstrip("/")}
    while pending:
        page = pending.pop()
        try:
            listed = files.ls(page, detail=True)
        # Every service has errors of its own.
        except Exception as error:
            if page == root and isinstance(error, OSError):
                return {}
            if page == root or not (is_refusal(error) or isinstance(error, FileNotFoundError)):
                raise
            found[page] = {"name": page, "type": "directory", "refused": True}
            continue
        for facts in listed:
            name = facts["name"]
            if facts["type"] != "directory":
                found[name] = facts
            elif name.rstrip("/") not in seen:
                seen.add(name.rstrip("/"))
                pending.append(name)
    # fsspec lists a page's files as a set.
    return dict(sorted(found.items()))


def is_refusal(error: BaseException | None) -> bool:
    """Whether behind an error stands the answer that there is no such file, or that it is not for everybody."""
    while error is not None:
        if getattr(error, "status", None) in _REFUSED:
            return True
        error = error.__cause__
    return False
