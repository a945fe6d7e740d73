"""The choice of the source for a location."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from retop.data.sources.archives import ZipSource
from retop.data.sources.embedded import ParquetImages, holds_images
from retop.data.sources.fetching import fetch
from retop.data.sources.folders import FolderSource
from retop.data.sources.names import extension_of, is_other_file, is_tool_name, shown
from retop.data.sources.remote import RemoteFolder, file_facts, list_files, open_address
from retop.data.sources.shards import TarSource, is_tar
from retop.data.sources.source import ImageSource, few
from retop.data.sources.tables import ROLES, TableSource, refuse_columns
from retop.data.sources.web import is_web, readable
from retop.errors import DataError, UsageError
from retop.events import Listener, Notice, ignore

SUPPORTED = (
    "a folder with train/, validation/ (or val/, valid/) and optionally test/, each with one sub-folder per class; one "
    "folder with one sub-folder per class; a .csv, .tsv or .parquet table with the columns path and label; Parquet "
    "files with the images inside; a .zip of class folders; WebDataset .tar shards; or an address such as "
    "s3://bucket/folder"
)
WHOLE_FILES = (".parquet", ".zip", ".tar")
"""Remote files that are fetched whole before they are read."""


def open_source(
    location: str | Path, columns: Mapping[str, str] | None = None, listener: Listener = ignore
) -> ImageSource:
    """Choose the source for a location.

    Args:
        location: a folder of class folders, split or not; a table; Parquet files with images, a ZIP file, tar files;
            or an address.
        columns: column name by role (``path``, ``label``, ``split``, ``group``, ``image``), where it is not the role.
        listener: receives the progress of what is listed on, or fetched whole from, another machine.

    Returns:
        The source; its images are not listed yet.

    Raises:
        DataError: the location does not exist or is nothing of the kind.
        UsageError: a role does not exist.
    """
    chosen = dict(columns or {})
    if unknown := sorted(chosen.keys() - set(ROLES)):
        raise UsageError(f"--columns knows {', '.join(ROLES)} (DataRecipe.columns); received {', '.join(unknown)}")
    given = str(location)
    if "://" in given:
        return _open_remote(given, chosen, listener)
    place = Path(given).expanduser()
    try:
        if place.is_dir():
            return _open_folder(given, place, chosen, listener)
        if place.is_file():
            return _open_file(given, place, chosen)
    except OSError as error:
        raise DataError(f"{given} cannot be read: {error.strerror or error}") from error
    raise DataError(f"{given} does not exist; give {SUPPORTED}")


def _open_folder(given: str, folder: Path, columns: Mapping[str, str], listener: Listener) -> ImageSource:
    for suffix in (".parquet", ".tar"):
        # Hugging Face keeps the files of a dataset in data/.
        for place in (folder, folder / "data"):
            files = tuple(sorted(file for file in place.glob(f"*{suffix}") if not is_tool_name(file.name)))
            if files and (_is_clone(folder, place) or not _has_classes(_first_of_each_folder(folder))):
                source = ParquetImages if suffix == ".parquet" else TarSource
                refuse_columns(given, columns, source.roles)
                _tell_ignored(given, folder, listener)
                return source(given, folder, files, columns)
    refuse_columns(given, columns)
    return FolderSource(given, folder)


def _is_clone(folder: Path, place: Path) -> bool:
    """Whether shards lie where a dataset's repository of Hugging Face keeps them; its other folders are no classes."""
    return place != folder and (folder / ".gitattributes").is_file()


def _tell_ignored(given: str, folder: Path, listener: Listener) -> None:
    if beside := sorted(path.rpartition("/")[0] for path in _first_of_each_folder(folder)):
        listener(
            Notice("note", f"{given}: images in {few(beside)} lie beside the files of the dataset and are ignored")
        )


def _first_of_each_folder(folder: Path) -> Iterator[str]:
    """Of every folder below one file that could be an image; folders of tools are not looked into."""
    for inner in folder.iterdir():
        if is_tool_name(inner.name):
            continue
        # Where a link leads to a folder it is followed, but none inside that.
        for place, folders, names in os.walk(inner):
            folders[:] = [name for name in folders if not is_tool_name(name)]
            if name := next((name for name in names if not is_other_file(extension_of(name))), None):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _open_file(given: str, file: Path, columns: Mapping[str, str]) -> ImageSource:
    with file.open("rb") as opened:
        head = opened.read(4)
    if head == b"PK\x03\x04":
        refuse_columns(given, columns)
        return ZipSource(given, file)
    is_text = file.suffix.lower() in (".csv", ".tsv", ".txt")
    if (head == b"PAR1" or is_text) and shown(str(file)) != str(file):
        raise DataError(f"{shown(given)} has a name that is no Unicode, by which no table can be opened; rename it")
    if head == b"PAR1" and (holds_images(file) or "image" in columns):
        refuse_columns(given, columns, ParquetImages.roles)
        return ParquetImages(given, file, (file,), columns)
    if head != b"PAR1" and is_tar(file):
        refuse_columns(given, columns, TarSource.roles)
        return TarSource(given, file, (file,), columns)
    if head == b"PAR1" or is_text:
        refuse_columns(given, columns, TableSource.roles)
        return TableSource(given, file, columns)
    if file.suffix.lower() in (".gz", ".tgz", ".bz2", ".xz", ".zst"):
        raise DataError(
            f"{given} is compressed, so no image of it can be read without all before it; unpack it to .tar"
        )
    raise DataError(f"{given} is a file that cannot be read as data; give {SUPPORTED}")


def _open_remote(address: str, columns: Mapping[str, str], listener: Listener) -> ImageSource:
    files, root = open_address(address)
    # What stands behind a question mark chooses how a web server sends a file.
    plain = address.partition("?")[0] if is_web(root) else address
    if address.lower().endswith((".csv", ".tsv")):
        raise DataError(f"{address}: a table must lie on this machine; give {SUPPORTED}")
    if plain.lower().endswith(WHOLE_FILES):
        folder, _, name = (plain if is_web(root) else root).rpartition("/")
        name = readable(name) if is_web(root) else name
        fetched = fetch(files, {name: file_facts(files, root, address)}, folder, address, listener)
        return _open_file(address, fetched / name, columns)
    listed = list_files(files, root, address, listener)
    shards = {path: facts for path, facts in listed.items() if _is_shard(path)}
    if shards and not _has_classes(listed):
        return _open_folder(address, fetch(files, shards, root, address, listener), columns, listener)
    refuse_columns(address, columns)
    return RemoteFolder(address, files, root, listed)


def _has_classes(listed: Iterable[str]) -> bool:
    """Whether images lie in several folders beside what could be shards; one folder may hold pictures for a page."""
    folders = {""}
    for path in listed:
        folder = path.rpartition("/")[0]
        if folder != "data" and not is_other_file(extension_of(path)) and not any(map(is_tool_name, folder.split("/"))):
            folders.add(folder)
        if len(folders) > 2:
            return True
    return False


def _is_shard(path: str) -> bool:
    """Whether a file is one of a dataset of Parquet or tar files, in the folder itself or in data/."""
    folder, _, name = path.rpartition("/")
    return folder in ("", "data") and name.endswith((".parquet", ".tar"))
