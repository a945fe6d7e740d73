"""One ZIP file of class folders as a source of images, read without extracting."""

import calendar
import zipfile
import zlib
from pathlib import Path
from threading import Lock

from retop.data.decoding import BYTES_LIMIT
from retop.data.sources.layout import Member, arrange
from retop.data.sources.source import Listing
from retop.errors import DataError, UnreadableImageError
from retop.events import Listener

_FAILURES = (zipfile.BadZipFile, OSError, RuntimeError, ValueError, zlib.error, EOFError)


class ZipSource:
    """Class folders, split or not, inside a ZIP file.

    Args:
        location: as the user gave it.
        file: the archive.
    """

    waits = False

    def __init__(self, location: str, file: Path) -> None:
        self.location = location
        self.identity = str(file.resolve())
        self._file = file.resolve()
        self._name = f"{file.name}::"
        self._lock = Lock()
        self._archive: zipfile.ZipFile | None = None

    def scan(self, listener: Listener) -> Listing:
        """List the members; see `ImageSource.scan`. A folder around everything is looked through.

        Raises:
            DataError: the archive is damaged, holds no class folders, or no image in them.
        """
        members = {info.filename.replace("\\", "/"): info for info in self._open().infolist()}
        files = (
            Member(name.strip("/"), info.file_size, _modified_ns(info))
            for name, info in members.items()
            if not info.is_dir()
        )
        folders = [name for name, info in members.items() if info.is_dir()]
        return arrange(self.location, files, folders, self._name, listener)

    def read(self, path: str) -> bytes:
        """Read one member; see `ImageSource.read`.

        Raises:
            UnreadableImageError: there is no such member, it is damaged, encrypted or too large.
        """
        try:
            archive = self._open()
            info = archive.getinfo(path.removeprefix(self._name))
            if info.file_size > BYTES_LIMIT:
                raise UnreadableImageError(path, f"{info.file_size:,} bytes; at most {BYTES_LIMIT:,} are read")
            with archive.open(info) as member:
                # What a member says of its size need not be true.
                content = member.read(BYTES_LIMIT + 1)
        except KeyError as error:
            raise UnreadableImageError(path, f"{self.location} has no such member") from error
        except DataError as error:
            raise (
                error if isinstance(error, UnreadableImageError) else UnreadableImageError(path, str(error))
            ) from error
        except _FAILURES as error:
            raise UnreadableImageError(path, f"the member of the archive cannot be read: {error}") from error
        if len(content) > BYTES_LIMIT:
            raise UnreadableImageError(path, f"more than {BYTES_LIMIT:,} bytes")
        return content

    def _open(self) -> zipfile.ZipFile:
        with self._lock:
            if self._archive is None:
                try:
                    self._archive = zipfile.ZipFile(self._file)
                except _FAILURES as error:
                    raise DataError(f"{self.location} is not a ZIP file that can be read: {error}") from error
            return self._archive


def _modified_ns(info: zipfile.ZipInfo) -> int:
    """The time of a member and its checksum: times in archives are coarse, and copied without care."""
    try:
        seconds = calendar.timegm((*info.date_time, 0, 0, 0))
    except ValueError:
        # Some tools write month 0. The checksum alone then tells a changed member.
        seconds = 0
    return seconds * 1_000_000_000 + info.CRC % 1_000_000_000
