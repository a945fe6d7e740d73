"""Class folders, split or not, as a source of images."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa

from retop.data.decoding import BYTES_LIMIT
from retop.errors import DataError, UnreadableImageError
from retop.events import Listener, Notice

SCAN_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_ns", pa.int64()),
    ]
)

_VALIDATION_NAMES = ("validation", "val", "valid")
_TOOL_NAMES = frozenset(
    (
        "__macosx",
        "thumbs.db",
        "desktop.ini",
        "__pycache__",
        "@eadir",
        "$recycle.bin",
        "lost+found",
        "system volume information",
        "icon\r",
    )
)
# Only what nobody could mean as a picture. Everything else is opened, and its content decides.
_TEXT = (".txt", ".md", ".rst", ".log", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".toml")
_CODE = (".ini", ".cfg", ".html", ".htm", ".css", ".js", ".py", ".ipynb", ".sh", ".bat", ".exe", ".dll", ".so", ".lock")
_ARRAYS = (".pkl", ".pickle", ".npy", ".npz", ".mat", ".pt", ".pth", ".ckpt", ".h5", ".hdf5", ".onnx", ".safetensors")
_TABLES = (".parquet", ".arrow", ".feather", ".db", ".sqlite", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".md5", ".sha256")
_MEDIA = (".mp3", ".wav", ".flac", ".mp4", ".avi", ".mov", ".mkv", ".webm")
_OTHER_FILES = frozenset((*_TEXT, *_CODE, *_ARRAYS, *_TABLES, *_ARCHIVES, *_MEDIA))
_ROWS_PER_BATCH = 65_536


@dataclass
class _Leftovers:
    """What a scan leaves out."""

    by_extension: Counter[str] = field(default_factory=Counter)
    outside_classes: list[str] = field(default_factory=list)
    closed_folders: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    path: str
    label: str
    size_bytes: int
    modified_ns: int


class FolderSource:
    """A folder of class folders, or of train, validation and test folders that hold them."""

    def __init__(
        self, location: str, root: Path, parts: tuple[tuple[str | None, str], ...], beside: tuple[str, ...] = ()
    ) -> None:
        """Take a layout that is known already; `open` finds it out.

        Args:
            location: as the user gave it.
            root: the same as a path.
            parts: split (None where retop splits) and the folder's name below `root` (empty for `root` itself).
            beside: folders next to `parts` that belong to no split.
        """
        self.location = location
        self.identity = str(root.resolve())
        self._root = self.identity
        self._parts = parts
        self._beside = beside
        # Names that are not Unicode cannot stand in a table; their files are found again through this.
        self._real_paths: dict[str, str] = {}

    @classmethod
    def open(cls, location: str, root: Path) -> "FolderSource":
        """Find out how the folder is laid out.

        Args:
            location: as the user gave it.
            root: an existing folder.

        Returns:
            The source.

        Raises:
            DataError: it cannot be listed, holds no class folders, two validation folders, a validation or test
                folder but no train folder, or all of it lies one folder deeper.
        """
        try:
            folders, files = _list_folder(root)
        except OSError as error:
            raise DataError(f"{location} cannot be listed: {error.strerror or error}") from error
        _refuse_missing_classes(location, folders, files)
        splits = _find_splits(location, root, folders)
        if not splits:
            return cls(location, root, ((None, ""),))
        named = {folder for _, folder in splits}
        return cls(location, root, splits, tuple(folder for folder in folders if folder not in named))

    @property
    def split_by(self) -> Literal["folders", "retop"]:
        """``folders`` where there is a validation folder."""
        return "folders" if any(split == "validation" for split, _ in self._parts) else "retop"

    def scan(self, listener: Listener) -> pa.Table:
        """List the files in class folders; see `ImageSource.scan`.

        Raises:
            DataError: there is none.
        """
        leftovers = _Leftovers()
        batches = [batch for split, folder in self._parts for batch in _batches(split, self._walk(folder, leftovers))]
        _report(leftovers, listener)
        if self._beside:
            listener(
                Notice(
                    "warning",
                    f"{_few(list(self._beside))} in {self.location} is no train, validation or test folder and is "
                    f"ignored; if these are all classes, rename the folder train",
                )
            )
        if not batches:
            raise DataError(self._no_images(leftovers))
        return pa.Table.from_batches(batches, SCAN_SCHEMA)

    def read(self, path: str) -> bytes:
        """Read one file; see `ImageSource.read`.

        Raises:
            UnreadableImageError: it vanished, may not be read, is no regular file or is too large.
        """
        file = Path(self._real_paths.get(path) or Path(self._root, *PurePosixPath(path).parts))
        try:
            return read_regular_file(file, path)
        except FileNotFoundError as error:
            raise UnreadableImageError(path, "the file is no longer there") from error
        except OSError as error:
            raise UnreadableImageError(path, f"the file cannot be read: {error.strerror or error}") from error

    def _walk(self, folder: str, leftovers: _Leftovers) -> Iterator[_File]:
        pending = [(str(Path(self._root, folder)), _shown(folder), "", frozenset[tuple[int, int]]())]
        while pending:
            here, path, label, above = pending.pop()
            try:
                status = Path(here).stat()
                entries = list(os.scandir(here))
            except OSError:
                leftovers.closed_folders.append(path)
                continue
            # A link back to a folder that contains it would never end.
            if (status.st_dev, status.st_ino) in above:
                continue
            inside = above | {(status.st_dev, status.st_ino)}
            for entry in entries:
                name = _shown(entry.name)
                if _is_tool_name(name):
                    continue
                entry_path = f"{path}/{name}" if path else name
                if _is_folder(entry):
                    entry_label = unicodedata.normalize("NFC", f"{label}/{name}" if label else name)
                    pending.append((entry.path, entry_path, entry_label, inside))
                    continue
                file = self._file(entry, entry_path, label, leftovers)
                if file:
                    yield file

    def _file(self, entry: "os.DirEntry[str]", path: str, label: str, leftovers: _Leftovers) -> _File | None:
        extension = PurePosixPath(path).suffix.lower()
        try:
            status = entry.stat()
        except OSError:
            leftovers.by_extension["broken links"] += 1
            return None
        if not stat.S_ISREG(status.st_mode) or extension in _OTHER_FILES:
            leftovers.by_extension[extension if stat.S_ISREG(status.st_mode) else "pipes and devices"] += 1
            return None
        if not label:
            leftovers.outside_classes.append(path)
            return None
        if "\\x" in path:
            self._real_paths[path] = entry.path
        return _File(path, label, status.st_size, status.st_mtime_ns)

    def _no_images(self, leftovers: _Leftovers) -> str:
        closed = leftovers.closed_folders
        outside = leftovers.outside_classes
        if closed:
            return f"{self.location} holds no image: {_few(closed)} cannot be opened; check the folder permissions"
        if outside:
            return (
                f"{self.location}: {len(outside):,} images lie outside class folders ({_few(outside)}); "
                f"put the images of each class into a folder with the class's name"
            )
        return f"{self.location} has folders but no images in them; put the images of each class into its folder"


def read_regular_file(file: Path, name: str) -> bytes:
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
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError(name, "not a regular file")
    if status.st_size > BYTES_LIMIT:
        raise UnreadableImageError(name, f"{status.st_size:,} bytes; at most {BYTES_LIMIT:,} are read")
    return file.read_bytes()


def find_image_files(folder: Path) -> list[Path]:
    """All files at any depth that could be images: what a scan of class folders would take, whatever the classes.

    Args:
        folder: an existing folder.

    Returns:
        The files in the order of their paths, without hidden files, those of tools, and those that are no images by
        their name or kind.

    Raises:
        DataError: a folder cannot be listed, or there is no such file.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed: {error.strerror}; check its permissions") from error

    found: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        place = Path(here).resolve()
        # A link back to a folder that contains it would never end.
        above = {place, *place.parents}
        folders[:] = [f for f in folders if not _is_tool_name(_shown(f)) and (place / f).resolve() not in above]
        found += [Path(here, name) for name in files if _could_be_image(Path(here, name))]
    if not found:
        raise DataError(f"{folder} holds no images; give image files, or a folder that has some")
    return sorted(found)


def _could_be_image(file: Path) -> bool:
    return not _is_tool_name(_shown(file.name)) and file.suffix.lower() not in _OTHER_FILES and file.is_file()


def _list_folder(folder: Path) -> tuple[list[str], list[str]]:
    folders, files = [], []
    for entry in os.scandir(folder):
        if _is_tool_name(_shown(entry.name)):
            continue
        if _is_folder(entry):
            folders.append(entry.name)
        elif PurePosixPath(entry.name).suffix.lower() not in _OTHER_FILES:
            files.append(entry.name)
    return sorted(folders), sorted(files)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_tool_name(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _TOOL_NAMES


def _shown(name: str) -> str:
    """A name as text that can be stored: bytes that are not UTF-8 are written as a backslash, x and two digits."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def _refuse_missing_classes(location: str, folders: list[str], files: list[str]) -> None:
    if folders:
        return
    if files:
        raise DataError(
            f"{location} holds {len(files):,} files ({_few(files)}) but no class folders; put the images of each "
            f"class into a folder with the class's name"
        )
    raise DataError(f"{location} is empty: it should hold one folder per class, or train/ and validation/ with those")


def _find_splits(location: str, root: Path, folders: list[str]) -> tuple[tuple[str, str], ...]:
    names = {"train": ("train",), "validation": _VALIDATION_NAMES, "test": ("test",)}
    found = {split: [f for f in folders if f.casefold() in known] for split, known in names.items()}
    split_folders = [folder for group in found.values() for folder in group]
    holders = [folder for folder in split_folders if _has_folders(root / folder)]
    # "train" may be a class too, beside "bus" and "car"; a split is told by the class folders inside it.
    only_splits = len(split_folders) == len(folders)
    if not any(folder in holders for folder in found["train"]) and not (only_splits and holders):
        _refuse_flat_splits(location, split_folders if only_splits else [])
        _refuse_wrapped(location, root, folders)
        return ()
    for split, group in found.items():
        if len(group) > 1:
            raise DataError(
                f"{location} has {len(group)} {split} folders, {' and '.join(group)}; keep one, or rename the others"
            )
    return tuple((split, group[0]) for split, group in found.items() if group)


def _refuse_flat_splits(location: str, split_folders: list[str]) -> None:
    if split_folders:
        raise DataError(
            f"{location}: the images in {' and '.join(split_folders)} do not lie in class folders; "
            f"put the images of each class into a folder with the class's name inside each of them"
        )


def _refuse_wrapped(location: str, root: Path, folders: list[str]) -> None:
    if len(folders) == 1 and _has_folders(root / folders[0] / "train"):
        raise DataError(
            f"{location} holds only the folder {folders[0]}, which has train/ in it; give {root / folders[0]} instead"
        )


def _has_folders(folder: Path) -> bool:
    try:
        return bool(_list_folder(folder)[0])
    except OSError:
        return False


def _batches(split: str | None, files: Iterator[_File]) -> Iterator[pa.RecordBatch]:
    rows: list[_File] = []
    for file in files:
        rows.append(file)
        if len(rows) == _ROWS_PER_BATCH:
            yield _batch(split, rows)
            rows = []
    if rows:
        yield _batch(split, rows)


def _batch(split: str | None, files: list[_File]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "path": [file.path for file in files],
            "label": [file.label for file in files],
            "split": [split] * len(files),
            "size_bytes": [file.size_bytes for file in files],
            "modified_ns": [file.modified_ns for file in files],
        },
        SCAN_SCHEMA,
    )


def _report(leftovers: _Leftovers, listener: Listener) -> None:
    if leftovers.by_extension:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in leftovers.by_extension.most_common(6))
        total = leftovers.by_extension.total()
        listener(Notice("note", f"{total:,} files are not images by their name or kind and are ignored: {kinds}"))
    if leftovers.outside_classes:
        listener(
            Notice(
                "warning",
                f"{len(leftovers.outside_classes):,} files lie outside class folders and are ignored: "
                f"{_few(leftovers.outside_classes)}; move them into the folder of their class",
            )
        )
    if leftovers.closed_folders:
        listener(
            Notice(
                "warning",
                f"{len(leftovers.closed_folders):,} folders cannot be opened and are ignored: "
                f"{_few(leftovers.closed_folders)}; check their permissions",
            )
        )


def _few(names: list[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(_shown(name) for name in sorted(names)[:shown]) + more
