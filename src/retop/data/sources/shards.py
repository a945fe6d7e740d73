"""Tar files as a source of images, read without extracting: WebDataset shards, or class folders."""

import json
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from retop.data.decoding import BYTES_LIMIT
from retop.data.sources.layout import Member, arrange
from retop.data.sources.names import extension_of, is_other_file, is_tool_name, name_below, shown, splits_of_files
from retop.data.sources.source import Leftovers, Listing, Rows, few, reading_names
from retop.data.sources.tables import column_of, refuse_columns
from retop.errors import DataError, UnreadableImageError
from retop.evaluation.numerals import count, word
from retop.events import Listener, Notice

_SIDECARS = (".cls", ".json")
_SIDECAR_BYTES = 1_000_000


@dataclass(frozen=True)
class _Place:
    """Where a member's bytes lie."""

    shard: str
    offset: int
    size_bytes: int
    modified_ns: int
    link: str | None = None
    """What it is a link to, where the shard does not hold that."""


@dataclass
class _Sample:
    """What belongs together in a WebDataset: an image, what else looks like one, and what is said about it."""

    images: list[str] = field(default_factory=list)
    said: dict[str, bytes] = field(default_factory=dict)


class TarSource:
    """Tar files: WebDataset shards (``key.jpg`` beside ``key.cls`` or ``key.json``), or one tar of class folders.

    Args:
        location: as the user gave it.
        root: the file, or the folder that the shards lie in.
        files: the tar files, sorted; not compressed.
        columns: key of the JSON files by role (``label``, ``group``), where it is not the role itself.
    """

    waits = False
    roles = ("label", "group")

    def __init__(self, location: str, root: Path, files: tuple[Path, ...], columns: Mapping[str, str]) -> None:
        self.location = location
        self.identity = str(root.resolve())
        self._files = {name_below(file, root): file for file in files}
        self._columns = columns
        self._places: dict[str, _Place] | None = None
        self._lock = Lock()

    def scan(self, listener: Listener) -> Listing:
        """List the members; see `ImageSource.scan`.

        Raises:
            DataError: a file is no tar file, is compressed, or holds neither WebDataset samples nor class folders.
        """
        with reading_names(listener):
            self._places = places = self._list(listener)
            samples = self._samples(places)
        if self._is_webdataset(samples):
            return self._webdataset(places, samples, listener)
        members = (Member(path.partition("::")[2], p.size_bytes, p.modified_ns) for path, p in places.items())
        if len(self._files) > 1:
            raise DataError(
                f"{self.location} holds {len(self._files)} tar files without labels; WebDataset shards have a file "
                f"key.cls (or key.json with a label) beside each image"
            )
        refuse_columns(self.location, self._columns)
        return arrange(self.location, members, (), f"{next(iter(self._files))}::", listener)

    def read(self, path: str) -> bytes:
        """Read one member; see `ImageSource.read`.

        Raises:
            UnreadableImageError: there is no such member, or it is too large or cut short.
        """
        if self._places is None:
            with self._lock:
                self._places = self._places or self._list(lambda event: None)
        place = self._places.get(path)
        if place is None:
            raise UnreadableImageError(path, f"{self.location} has no such member")
        if place.link is not None:
            raise UnreadableImageError(path, f"a link to {place.link}, which {place.shard} does not hold")
        if place.size_bytes > BYTES_LIMIT:
            raise UnreadableImageError(path, f"{place.size_bytes:,} bytes; at most {BYTES_LIMIT:,} are read")
        try:
            return self._bytes(place)
        except OSError as error:
            raise UnreadableImageError(path, f"the shard cannot be read: {error.strerror or error}") from error

    def _bytes(self, place: _Place) -> bytes:
        with open(self._files[place.shard], "rb", buffering=0) as file:  # noqa: PTH123
            file.seek(place.offset)
            return file.read(place.size_bytes)

    def _list(self, listener: Listener) -> dict[str, _Place]:
        places: dict[str, _Place] = {}
        for name, file in self._files.items():
            modified = file.stat().st_mtime_ns
            links: dict[str, str] = {}
            try:
                with tarfile.open(file, "r:") as tar:
                    for member in tar:
                        path = _below(name, member.name)
                        if member.isreg() and not member.issparse():
                            places[path] = _Place(name, member.offset_data, member.size, modified)
                        elif member.islnk():
                            links[path] = _below(name, member.linkname)
                        elif member.issym():
                            beside = posixpath.join(posixpath.dirname(member.name), member.linkname)
                            links[path] = _below(name, posixpath.normpath(beside))
            except (tarfile.TarError, OSError, ValueError, EOFError) as error:
                if not any(place.shard == name for place in places.values()):
                    raise DataError(
                        f"{self.location}: {name} is not a tar file that can be read ({error}); a compressed one must "
                        f"be decompressed first"
                    ) from error
                listener(Notice("warning", f"{name} is cut short or damaged ({error}); what comes before is used"))
            # A file that has two names in a folder is packed once, and then as a link to it.
            for path, target in links.items():
                lost = _Place(name, 0, 0, modified, target.partition("::")[2])
                places.setdefault(path, places.get(target, lost))
        return places

    def _samples(self, places: Mapping[str, _Place]) -> dict[str, _Sample]:
        samples: dict[str, _Sample] = {}
        for path, place in places.items():
            folder, _, name = path.rpartition("/") if "/" in path.partition("::")[2] else path.rpartition("::")
            if is_tool_name(name):
                continue
            key = f"{folder}/{name.partition('.')[0]}"
            extension = extension_of(name)
            if extension in _SIDECARS and place.size_bytes <= _SIDECAR_BYTES:
                samples.setdefault(key, _Sample()).said[extension] = self._bytes(place)
            elif not is_other_file(extension):
                samples.setdefault(key, _Sample()).images.append(path)
        return samples

    def _is_webdataset(self, samples: Mapping[str, _Sample]) -> bool:
        """Whether images have labels beside them; JSON files may also lie in class folders."""
        beside = [sample for sample in samples.values() if sample.images and sample.said]
        if any(_read_said(sample.said, self._columns)[0] for sample in beside):
            return True
        outside = any("/" not in path.partition("::")[2] for sample in beside for path in sample.images)
        return bool(beside) and (outside or len(self._files) > 1 or bool(self._columns))

    def _webdataset(self, places: Mapping[str, _Place], samples: Mapping[str, _Sample], listener: Listener) -> Listing:
        rows, leftovers, splits = Rows(listener), Leftovers(), splits_of_files(list(self._files))
        for path, label, group in self._labelled(samples, leftovers):
            place = places[path]
            rows.add(path, label, splits[place.shard], place.size_bytes, place.modified_ns, group)
        if leftovers.outside_classes.count:
            listener(
                Notice(
                    "warning",
                    f"{count(leftovers.outside_classes.count, 'image')} of {self.location} "
                    f"{word(leftovers.outside_classes.count, 'has no label and is', 'have no label and are')} ignored: "
                    f"{leftovers.outside_classes}",
                )
            )
        if leftovers.by_kind:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in leftovers.by_kind.most_common(6))
            listener(
                Notice("note", f"Beside the image of a sample, {self.location} has others, which are ignored: {kinds}")
            )
        if not len(rows):
            raise DataError(f"{self.location} holds no labelled image; {_label_wanted(samples)}")
        listing = rows.table()
        if "group" in self._columns and listing["group"].null_count == len(listing):
            raise DataError(
                f"{self.location}: no sample has a JSON file with the key {self._columns['group']!r} (--group, "
                f"--columns group=KEY)"
            )
        return Listing(listing, "folders" if "validation" in splits.values() else "retop", leftovers)

    def _labelled(self, samples: Mapping[str, _Sample], leftovers: Leftovers) -> Iterator[tuple[str, str, str | None]]:
        for sample in samples.values():
            if not sample.images:
                continue
            image = self._image_of(sample, leftovers)
            label, group = _read_said(sample.said, self._columns)
            if label:
                yield image, label, group
            else:
                leftovers.outside_classes.add(image)

    def _image_of(self, sample: _Sample, leftovers: Leftovers) -> str:
        """The image: ``key.jpg``; what has a longer extension, such as ``key.seg.png``, belongs to it."""
        plain = [path for path in sample.images if "." not in _extensions(path)] or sample.images
        if len(plain) > 1:
            raise DataError(
                f"{self.location}: {few(plain)} are images of one sample; keep one of them, or give each a key and a "
                f"label of its own"
            )
        for path in sample.images:
            if path != plain[0]:
                leftovers.by_kind[f".{_extensions(path)}"] += 1
        return plain[0]


def _below(shard: str, name: str) -> str:
    """The path of a member; bytes of its name that are no text are written as a backslash, x and two digits."""
    return f"{shard}::{shown(name.removeprefix('./'))}"


def _extensions(path: str) -> str:
    """What follows the key: all of a name after its first dot."""
    return path.partition("::")[2].rpartition("/")[2].partition(".")[2]


def is_tar(file: Path) -> bool:
    """Whether a file is a tar file, not compressed."""
    with file.open("rb") as opened:
        head = opened.read(512)
    return head[257:262] == b"ustar" or (os.fspath(file).endswith(".tar") and bool(head))


def _label_wanted(samples: Mapping[str, _Sample]) -> str:
    keys = next((tuple(known) for one in samples.values() if (known := _document(one.said))), None)
    if keys is None:
        return "put key.cls, or key.json with a label, beside each image"
    return f"say which key of its JSON ({few([repr(key) for key in keys])}) is the label with --columns label=KEY"


def _document(said: Mapping[str, bytes]) -> dict[str, Any]:
    """What the JSON of a sample says; nothing where it is none."""
    try:
        document = json.loads(said.get(".json", b"{}"))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _read_said(said: Mapping[str, bytes], columns: Mapping[str, str]) -> tuple[str | None, str | None]:
    document = _document(said)
    label = document.get(column_of("label", columns, tuple(document)))
    if label is None and ".cls" in said and "label" not in columns:
        label = said[".cls"].decode("utf-8", "replace").strip()
    group = document.get(column_of("group", columns, tuple(document)))
    return (None if label is None or not str(label).strip() else str(label)), (None if group is None else str(group))
