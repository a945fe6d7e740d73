"""Class folders, split or not, as a source of images; and reading of single files."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from retop.data.decoding import BYTES_LIMIT
from retop.data.sources.layout import find_splits, finish, refuse_missing_classes
from retop.data.sources.names import class_name, extension_of, is_other_file, is_tool_name, shown, tool_kind
from retop.data.sources.source import ROWS_PER_BATCH, Leftovers, Listing, Rows
from retop.errors import DataError, UnreadableImageError
from retop.events import Listener

_Seen = frozenset[tuple[int, int]]
# A pipe is opened without waiting for whoever writes into it.
_READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_STATED_BYTE = re.compile(rb"\\x([0-9a-f]{2})")
_PLAIN_ENDS = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG")


class FolderSource:
    """A folder of class folders, or of train, validation and test folders that hold them.

    Args:
        location: as the user gave it.
        root: the same as a path; an existing folder.
    """

    waits = False

    def __init__(self, location: str, root: Path) -> None:
        self.location = location
        self.identity = str(root.resolve())
        # Names that are not Unicode cannot stand in a table; their files are found again through this.
        self._real_paths: dict[str, str] = {}

    def scan(self, listener: Listener) -> Listing:
        """List the files in class folders; see `ImageSource.scan`.

        Raises:
            DataError: the folder cannot be listed, holds no class folders or no image in them, two validation
                folders, or all of it lies one folder deeper.
        """
        root = Path(self.identity)
        try:
            folders, files, tools = _list_folder(root)
        except OSError as error:
            raise DataError(f"{self.location} cannot be listed: {error.strerror or error}") from error
        refuse_missing_classes(self.location, folders, files, Leftovers(tool_names=Counter(tools)))
        splits = find_splits(self.location, folders, lambda folder: _has_folders(root / folder))
        if not splits:
            _refuse_wrapped(self.location, root, folders)
        leftovers, rows = Leftovers(), Rows(listener)
        if splits:
            # The walk does not come by what lies beside the splits.
            named = {folder for _, folder in splits}
            leftovers.beside = tuple(shown(folder) for folder in folders if folder not in named)
            leftovers.tool_names.update(tools)
        for split, folder in splits or ((None, ""),):
            self._walk(split, folder, leftovers, rows)
        return finish(self.location, rows, leftovers, splits, listener)

    def read(self, path: str) -> bytes:
        """Read one file; see `ImageSource.read`.

        Raises:
            UnreadableImageError: it vanished, may not be read, is no regular file or is too large.
        """
        return read_named_file(self._real_paths.get(path) or self._as_stored(path), path)

    def _as_stored(self, path: str) -> str:
        """Where a file lies that no scan has come by: of names that are not Unicode, the bytes stand in the path."""
        plain = f"{self.identity}/{path}"
        if "\\" not in path or os.path.lexists(plain):
            return plain
        content = _STATED_BYTE.sub(lambda stated: bytes.fromhex(stated[1].decode()), os.fsencode(path))
        return f"{self.identity}/{os.fsdecode(content)}"

    def _walk(self, split: str | None, folder: str, leftovers: Leftovers, rows: Rows) -> None:
        start = str(Path(self.identity, folder)) if folder else self.identity
        pending: list[tuple[str, str, str, _Seen]] = [(start, shown(folder), "", frozenset())]
        while pending:
            here, path, label, above = pending.pop()
            before, inner = len(rows), len(pending)
            try:
                # A folder may hold a million files: they are taken one by one.
                with os.scandir(here) as entries:
                    status = Path(here).stat()
                    # A link back to a folder that contains it would never end.
                    if (status.st_dev, status.st_ino) in above:
                        leftovers.by_kind["loops of links"] += 1
                        continue
                    inside = above | {(status.st_dev, status.st_ino)}
                    # Files of a folder whose name is not Unicode are found again one by one.
                    plain = bool(label) and "\\" not in path
                    for entry in self._take_plain(entries, path, label, split, rows) if plain else entries:
                        name = shown(entry.name)
                        if is_tool_name(name):
                            leftovers.tool_names[tool_kind(name)] += 1
                        elif _is_folder(entry):
                            below = class_name(f"{label}/{name}" if label else name)
                            pending.append((entry.path, f"{path}/{name}" if path else name, below, inside))
                        else:
                            self._take(entry, f"{path}/{name}" if path else name, label, split, leftovers, rows)
            except OSError:
                leftovers.closed_folders.add(path)
                continue
            if label and len(rows) == before and len(pending) == inner:
                leftovers.empty_folders.add(path)

    def _take_plain(
        self, entries: Iterator["os.DirEntry[str]"], folder: str, label: str, split: str | None, rows: Rows
    ) -> Iterator["os.DirEntry[str]"]:
        """Take what is a picture by the plainest of names, and hand on all else: of a million files, nearly none."""
        regular, kind = stat.S_IFREG, stat.S_IFMT
        paths: list[str] = []
        sizes: list[int] = []
        times: list[int] = []
        try:
            for entry in entries:
                name = entry.name
                if name.endswith(_PLAIN_ENDS) and name.isascii() and name[0] != "." and "\\" not in name:
                    try:
                        status = entry.stat()
                    except OSError:
                        yield entry
                        continue
                    if kind(status.st_mode) == regular:
                        paths.append(f"{folder}/{name}")
                        sizes.append(status.st_size)
                        times.append(status.st_mtime_ns)
                        if len(paths) == ROWS_PER_BATCH:
                            rows.add_alike(paths, label, split, sizes, times)
                            paths, sizes, times = [], [], []
                        continue
                yield entry
        finally:
            # What a folder showed before it failed counts.
            rows.add_alike(paths, label, split, sizes, times)

    def _take(
        self, entry: "os.DirEntry[str]", path: str, label: str, split: str | None, leftovers: Leftovers, rows: Rows
    ) -> None:
        extension = extension_of(path)
        try:
            status = entry.stat()
        except OSError:
            leftovers.by_kind["broken links"] += 1
            return
        if not stat.S_ISREG(status.st_mode):
            leftovers.by_kind["pipes and devices"] += 1
        elif is_other_file(extension):
            leftovers.by_kind[extension] += 1
        elif not label:
            leftovers.outside_classes.add(path)
        else:
            if "\\x" in path:
                self._real_paths[path] = entry.path
            rows.add(path, label, split, status.st_size, status.st_mtime_ns)


def read_named_file(file: Path | str, name: str, lost: str = "the file is no longer there") -> bytes:
    """Read a file, with every trouble as our own error.

    Args:
        file: which.
        name: as messages name it.
        lost: what is said where it is not there.

    Returns:
        The whole file.

    Raises:
        UnreadableImageError: it is not there, may not be read, is no regular file, or is too large.
    """
    try:
        return read_regular_file(file, name)
    except FileNotFoundError as error:
        raise UnreadableImageError(name, lost) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnreadableImageError(name, f"the file cannot be read: {reason or error}") from error


def read_regular_file(file: Path | str, name: str) -> bytes:
    """Read a file, unless it would never end or is far larger than any image.

    Args:
        file: which.
        name: as messages name it.

    Returns:
        The whole file.

    Raises:
        UnreadableImageError: it is no regular file, or too large.
        OSError: it is not there or may not be read.
    """
    descriptor = os.open(file, _READING)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError(name, "not a regular file")
        if status.st_size > BYTES_LIMIT:
            raise UnreadableImageError(name, f"{status.st_size:,} bytes; at most {BYTES_LIMIT:,} are read")
        with open(descriptor, "rb", buffering=0, closefd=False) as opened:
            return opened.read()
    finally:
        os.close(descriptor)


def find_image_files(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """All files that could be images: what a scan of class folders would take, whatever the classes.

    One folder is listed at a time, so that memory depends on the largest one, not on how many files there are.

    Args:
        folder: an existing folder.
        recursive: with its sub-folders, at any depth.

    Yields:
        The files in the order of their paths, without hidden files, those of tools, and those that are no images by
        their name or kind.

    Raises:
        DataError: a folder cannot be listed, or there is no such file.
    """
    found = False
    for file in _walk_images(folder, recursive, frozenset()):
        found = True
        yield file
    if not found:
        below = "give image files, or a folder that has some" if recursive else "--recursive looks into its sub-folders"
        raise DataError(f"{folder} {'' if recursive else 'itself '}holds no images; {below}")


def _walk_images(folder: Path, recursive: bool, above: _Seen) -> Iterator[Path]:
    try:
        status = folder.stat()
        # A link back to a folder that contains it would never end.
        if (status.st_dev, status.st_ino) in above:
            return
        with os.scandir(folder) as entries:
            named = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}; check its permissions") from error
    inside = above | {(status.st_dev, status.st_ino)}
    for name, is_folder in named:
        if is_tool_name(shown(name)):
            continue
        if is_folder and recursive:
            yield from _walk_images(folder / name, recursive, inside)
        elif not is_folder and not is_other_file(extension_of(name)) and (folder / name).is_file():
            yield folder / name


def _list_folder(folder: Path) -> tuple[list[str], list[str], Counter[str]]:
    """Folders, possible images, and what belongs to tools."""
    folders, files = [], []
    tools: Counter[str] = Counter()
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_tool_name(shown(entry.name)):
                tools[shown(entry.name)] += 1
            elif _is_folder(entry):
                folders.append(entry.name)
            elif not is_other_file(extension_of(entry.name)):
                files.append(shown(entry.name))
    return sorted(folders), sorted(files), tools


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _has_folders(folder: Path) -> bool:
    try:
        return bool(_list_folder(folder)[0])
    except OSError:
        return False


def _refuse_wrapped(location: str, root: Path, folders: list[str]) -> None:
    if len(folders) == 1 and _has_folders(root / folders[0] / "train"):
        raise DataError(
            f"{location} holds only the folder {folders[0]}, which has train/ in it; give {root / folders[0]} instead"
        )
