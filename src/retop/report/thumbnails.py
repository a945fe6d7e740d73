"""Small copies of images for the page, read from where the data lies; each is embedded once."""

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

from retop.data import ImageSource, decode_image
from retop.errors import DataError, UsageError
from retop.records import DataRecord, recorded_contents
from retop.report.images import open_images

SIDE = 112
QUALITY = 74
MOST_BYTES = 4_500_000


class Thumbnails:
    """Thumbnails of several data sets under one limit of bytes.

    Attributes:
        images: data addresses, in the order in which they were asked for.
        problems: why some images are not shown, in words.
    """

    def __init__(self) -> None:
        self.images: list[str] = []
        self.problems: list[str] = []
        self._places: dict[tuple[str, str], int | None] = {}
        self._sources: dict[str, ImageSource | None] = {}
        self._bytes = 0

    def add(
        self,
        data: DataRecord,
        paths: Iterable[str],
        location: Path | None,
        folder: Path,
        columns: Mapping[str, str] | None = None,
    ) -> None:
        """Read images, the most important first; what is beyond the limit, or has changed, is left out.

        Args:
            data: the data set they belong to.
            paths: as its source names them.
            location: where the data lies now; None for where it lay.
            folder: of the comparison, which knows what the files held.
            columns: of the recipe: names of a table's columns by role.
        """
        paths = tuple(paths)
        recorded = recorded_contents(folder, paths)
        self._open(data, location, columns)
        for path in paths:
            key = (data.fingerprint, path)
            if key not in self._places:
                self._places[key] = self._read(data, path, recorded.get(path))

    def place(self, data: DataRecord, path: str) -> int | None:
        """Place of an image in `images`; None where it is not shown."""
        return self._places.get((data.fingerprint, path))

    def _read(self, data: DataRecord, path: str, recorded: str | None) -> int | None:
        source = self._sources[data.fingerprint]
        if source is None:
            return None
        if self._bytes > MOST_BYTES:
            self._note(f"Only the first {len(self.images)} images are shown, to keep this page small.")
            return None
        try:
            content = source.read(path)
            if recorded not in (None, hashlib.sha256(content).hexdigest()):
                self._note(f"Not shown: {path} is no longer the file that the run read.")
                return None
            image = decode_image(content, path, at_least=SIDE)
        except DataError as error:
            self._note(f"Not shown: {error}.")
            return None
        self.images.append(_address(image))
        self._bytes += len(self.images[-1])
        return len(self.images) - 1

    def _open(self, data: DataRecord, location: Path | None, columns: Mapping[str, str] | None) -> None:
        if data.fingerprint in self._sources:
            return
        self._sources[data.fingerprint] = None
        try:
            self._sources[data.fingerprint] = open_images(data.location, location, columns)
        except (DataError, UsageError) as error:
            self._note(f"The images are not shown: {error}. Say where they are now: retop report RUN --data DIR.")

    def _note(self, problem: str) -> None:
        if problem not in self.problems and len(self.problems) < 5:
            self.problems.append(problem)


def _address(image: Image.Image) -> str:
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
