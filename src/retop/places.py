"""Where retop keeps files of its own on this machine."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    r"""The folder for everything that can be computed again: image indexes, activation stores.

    Returns:
        ``RETOP_CACHE`` where that is set; else the platform's cache folder for the user: ``$XDG_CACHE_HOME/retop``
        or ``~/.cache/retop``, ``~/Library/Caches/retop`` on macOS, ``%LOCALAPPDATA%\retop`` on Windows. It need not
        exist yet.
    """
    chosen = os.environ.get("RETOP_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return _platform_cache() / "retop"


def _platform_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
