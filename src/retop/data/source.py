"""Where images come from: one small protocol, and the choice of the source for a location."""

from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from retop.data.folders import FolderSource
from retop.errors import DataError
from retop.events import Listener

SUPPORTED = (
    "a folder with train/, validation/ (or val/, valid/) and optionally test/, each with one sub-folder per class, "
    "or one folder with one sub-folder per class"
)


class ImageSource(Protocol):
    """Labelled images in one place."""

    @property
    def location(self) -> str:
        """Path or address, as it was given."""

    @property
    def identity(self) -> str:
        """The same place in absolute form; what is remembered about its images is kept under this name."""

    @property
    def split_by(self) -> Literal["folders", "retop"]:
        """Whether the place itself says which images are for validation, or retop chooses them."""

    def scan(self, listener: Listener) -> pa.Table:
        """List what may be images, without opening any.

        Args:
            listener: receives a `Notice` for what is left out.

        Returns:
            One row per file, in no particular order: ``path`` (string, relative, ``/`` between its parts), ``label``
            (string), ``split`` (string: ``train``, ``validation``, ``test``; null where retop splits),
            ``size_bytes`` (int64), ``modified_ns`` (int64, since 1970).

        Raises:
            DataError: there is no image.
        """

    def read(self, path: str) -> bytes:
        """Read one file.

        Args:
            path: as `scan` gave it.

        Returns:
            Its whole content.

        Raises:
            UnreadableImageError: it vanished, may not be read, is no regular file or is too large.
        """


def open_source(location: str | Path) -> ImageSource:
    """Choose the source for a location.

    Args:
        location: a folder of class folders, split or not.

    Returns:
        The source; its images are not listed yet.

    Raises:
        DataError: the location does not exist, is not a folder, holds no class folders, holds two validation
            folders, or holds images outside class folders only.
    """
    given = str(location)
    if "://" in given:
        raise DataError(f"{given}: addresses cannot be read as data; give {SUPPORTED}")
    folder = Path(given).expanduser()
    if not folder.exists():
        raise DataError(f"{given} does not exist; give {SUPPORTED}")
    if not folder.is_dir():
        raise DataError(f"{given} is a file, which cannot be read as data; give {SUPPORTED}")
    return FolderSource.open(given, folder)
