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


def is_refusal(error: BaseException | None) -> bool:
    """Whether behind an error stands the answer that there is no such file, or that it is not for everybody."""
    while error is not None:
        if getattr(error, "status", None) in _REFUSED:
            return True
        error = error.__cause__
    return False
