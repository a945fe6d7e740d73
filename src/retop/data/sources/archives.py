"""One ZIP file of class folders as a source of images, read without extracting."""

import calendar
import lzma
import zipfile
import zlib
from pathlib import Path
from threading import Lock

from retop.data.decoding import BYTES_LIMIT
from retop.data.sources.layout import Member, arrange
from retop.data.sources.names import shown
from retop.data.sources.source import Listing, reading_names
from retop.errors import DataError, UnreadableImageError
from retop.events import Listener

_FAILURES = (zipfile.BadZipFile, OSError, RuntimeError, ValueError, zlib.error, lzma.LZMAError, EOFError)

_ENCRYPTED, _IN_UTF8 = 1, 0x800
"""Bits of a member's flags."""


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
        self._name = f"{shown(file.name)}::"
        self._lock = Lock()
        self._archive: zipfile.ZipFile | None = None
        # Names as they are shown; those in the archive may begin with ./ or have backslashes.
        self._members: dict[str, zipfile.ZipInfo] = {}

    def scan(self, listener: Listener) -> Listing:
        """List the members; see `ImageSource.scan`. A folder around everything is looked through.

        Raises:
            DataError: the archive is damaged, holds no class folders, or no image in them.
        """
        with reading_names(listener):
            self._open()
        files = (
            Member(name, info.file_size, _modified_ns(info))
            for name, info in self._members.items()
            if not name.endswith("/")
        )
        folders = [name for name in self._members if name.endswith("/")]
        return arrange(self.location, files, folders, self._name, listener)

    def read(self, path: str) -> bytes:
        """Read one member; see `ImageSource.read`.

        Raises:
            UnreadableImageError: there is no such member, it is damaged, encrypted or too large.
        """
        try:
            archive = self._open()
            info = self._members[path.removeprefix(self._name)]
            if info.file_size > BYTES_LIMIT:
                raise UnreadableImageError(path, f"{info.file_size:,} bytes; at most {BYTES_LIMIT:,} are read")
            if info.flag_bits & _ENCRYPTED:
                raise UnreadableImageError(path, "it is encrypted; pack the archive again without a password")
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
                    archive = zipfile.ZipFile(self._file)
                except _FAILURES as error:
                    raise DataError(f"{self.location} is not a ZIP file that can be read: {error}") from error
                self._members = {_below(info): info for info in archive.infolist()}
                self._archive = archive
            return self._archive


def _below(info: zipfile.ZipInfo) -> str:
    """A member's name as a path below the archive: with slashes, without those that lead nowhere."""
    plain = _text(info).replace("\\", "/")
    return "/".join(part for part in plain.split("/") if part not in ("", ".")) + ("/" if plain.endswith("/") else "")


def _text(info: zipfile.ZipInfo) -> str:
    """A member's name; macOS writes UTF-8 without saying so, which is then read as the code page of old PCs."""
    if info.flag_bits & _IN_UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _modified_ns(info: zipfile.ZipInfo) -> int:
    """The time of a member and its checksum: times in archives are coarse, and copied without care."""
    try:
        seconds = calendar.timegm((*info.date_time, 0, 0, 0))
    except ValueError:
        # Some tools write month 0. The checksum alone then tells a changed member.
        seconds = 0
    return seconds * 1_000_000_000 + info.CRC % 1_000_000_000
