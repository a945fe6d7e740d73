"""What may be asked, and what is answered."""

# K classes, F features, H, W

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL.JpegImagePlugin import JpegImageFile

from retop.data.colour import to_rgb
from retop.data.decoding import REDUCTION_MARGIN
from retop.data.orientation import read_orientation, turn_upright
from retop.data.sources import read_regular_file
from retop.data.views import evaluation_view, preprocess_bytes, shorter_side
from retop.errors import UnreadableImageError, UsageError
from retop.records import Preprocessing

Image = str | Path | bytes | PIL.Image.Image | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """The model's answer for one image.

    Attributes:
        path: the image's path, or a description of what was given.
        label: the most probable class; None where the image cannot be read, or the model refuses to answer.
        confidence: the greatest probability; None where the image cannot be read.
        probabilities: of every class by name, after temperature; empty where the image cannot be read.
        error: why the image cannot be read; None where it can.
        rejected: the confidence lies below the model's threshold: "none of these".
        features: F values that enter the head, where they were asked for.
    """

    path: str
    label: str | None
    confidence: float | None
    probabilities: dict[str, float]
    error: str | None = None
    rejected: bool = False
    features: tuple[float, ...] | None = None

    def best(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, at most `count`, the most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[: max(1, count)]

    def _repr_html_(self) -> str:
        if self.error is not None:
            return f"<p>{escape(self.path)}: {escape(self.error)}</p>"
        refused = "<tr><td colspan=2>none of these (below the threshold)</td></tr>" if self.rejected else ""
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{100 * p:.1f} %</td></tr>" for name, p in self.best(5))
        return f"<table><caption>{escape(self.path)}</caption>{refused}{rows}</table>"


def describe(image: Image) -> str:
    """How an answer names the image it is about."""
    if isinstance(image, str | Path):
        return str(image)
    if isinstance(image, bytes):
        return f"{len(image)} bytes"
    return f"{type(image).__name__}"


def read_pixels(image: Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The evaluation view of an image in any form; files take the path that evaluation takes.

    Args:
        image: a path, the bytes of an image file, a PIL image, or an array of uint8: grey [H, W], [H, W, 3], or
            [H, W, 4] with transparency. Large JPEGs that were decoded in full already differ a little from their
            files: see `decode_image`.
        preprocessing: size, crop and interpolation of the network.

    Returns:
        Pixels, uint8 [H, W, 3].

    Raises:
        UnreadableImageError: the image cannot be read.
        UsageError: it is no image.
    """
    name = describe(image)
    if isinstance(image, str | Path):
        try:
            return preprocess_bytes(read_regular_file(Path(image), name), name, preprocessing)
        except (OSError, ValueError) as error:
            raise UnreadableImageError(name, getattr(error, "strerror", None) or str(error)) from error
    if isinstance(image, bytes):
        return preprocess_bytes(image, name, preprocessing)
    if isinstance(image, PIL.Image.Image):
        try:
            if content := _large_file(image, shorter_side(preprocessing)):
                return preprocess_bytes(content, name, preprocessing)
            image.load()
            return evaluation_view(turn_upright(to_rgb(image), read_orientation(image)), preprocessing)
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableImageError(name, str(error)) from error
    if isinstance(image, np.ndarray) and _holds_pixels(image):
        return evaluation_view(to_rgb(PIL.Image.fromarray(image)), preprocessing)
    raise UsageError(
        f"expected a path, bytes, a PIL image or an array [H, W, 3] of uint8; received {type(image).__name__}"
        f"{f' {image.shape} {image.dtype}' if isinstance(image, np.ndarray) else ''}"
    )


def _large_file(image: PIL.Image.Image, needed: int) -> bytes | None:
    """The file of a large JPEG that was opened and not loaded yet, so that it is decoded as from its path."""
    if not isinstance(image, JpegImageFile) or image.fp is None or not image.tile or image.tell() != 0:
        return None
    if min(image.size) < 2 * REDUCTION_MARGIN * needed:
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(place)
    return content


def _holds_pixels(array: npt.NDArray[np.uint8]) -> bool:
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    return shaped and array.dtype == np.uint8 and array.size > 0
