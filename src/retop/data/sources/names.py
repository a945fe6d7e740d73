"""What file and folder names tell: what belongs to tools, what cannot be a picture, which split is meant."""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of splits, lower case, and the split that each means."""

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
_FILE_OF_SPLIT = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![a-z])", re.IGNORECASE)


def is_tool_name(name: str) -> bool:
    """Whether a file or folder is hidden or belongs to a tool."""
    return name.startswith(".") or name.casefold() in _TOOL_NAMES


def tool_kind(name: str) -> str:
    """How the name of a tool is counted: macOS writes a ``._photo.jpg`` beside every file."""
    return "._*" if name.startswith("._") else name


def extension_of(name: str) -> str:
    """The last extension of a name or path, lower case, with its dot; none for a hidden file without another dot."""
    # A million names: the standard library takes three to fifteen times as long.
    stem, dot, end = name.rpartition(".")
    return f".{end.lower()}" if dot and stem and stem[-1] != "/" and "/" not in end else ""


def is_other_file(extension: str) -> bool:
    """Whether nobody could mean a file of this extension as a picture."""
    return extension in _OTHER_FILES


def split_of_file(name: str) -> str | None:
    """The split that the name of a shard states: ``train-00001-of-00004.parquet``, ``val.tar``."""
    found = _FILE_OF_SPLIT.match(name)
    return SPLIT_NAMES[found[1].lower()] if found else None


def split_named(text: str | None) -> str | None:
    """The split that a table means; none where it says nothing.

    Raises:
        KeyError: it is no split.
    """
    said = (text or "").strip().casefold()
    return SPLIT_NAMES[said] if said else None


def splits_of_files(names: Sequence[str]) -> dict[str, str | None]:
    """The split of each shard by its name; none for any where one says nothing, or all say ``train``."""
    splits = {name: split_of_file(name.rpartition("/")[2]) for name in names}
    if None in splits.values() or set(splits.values()) == {"train"}:
        return dict.fromkeys(names)
    return splits


def name_below(file: Path, root: Path) -> str:
    """The path of a file below a folder, ``/`` between its parts; its name where the root is the file itself."""
    return shown(file.name if file == root else file.relative_to(root).as_posix())


def class_name(name: str) -> str:
    """A class as it is compared: the same text however the file system spells it."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def shown(name: str) -> str:
    """A name as text that can be stored: bytes that are not UTF-8 are written as a backslash, x and two digits."""
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name
