"""The one way in which bytes become an image, for training, evaluation, prediction and serving.

What a file is gets decided by its content. The accepted formats are a list; nothing else is handed to a decoder.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

from PIL import Image, ImageFile, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from retop import bounds
from retop.data.colour import to_rgb
from retop.data.likeness import LOOKED_AT, Pixels, shrink
from retop.data.orientation import read_orientation, turn_size, turn_upright
from retop.errors import UnreadableImageError

BYTES_LIMIT = 512 * 1024 * 1024
REDUCTION_MARGIN = 2
"""A JPEG is decoded at reduced scale only while it stays this many times larger than what was asked for."""

# The standard table of luminance, at quality 50; its order plays no part in a sum.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip

# What Pillow's decoders raise on files that are damaged or hostile.
_DECODER_FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_Opener = Callable[[BytesIO], ImageFile.ImageFile]

_AVIF_BRANDS = (b"avif", b"avis")
_OPENERS: dict[str, _Opener] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
}
if features.check("avif"):
    _OPENERS["AVIF"] = AvifImageFile

_OTHER_PICTURES = {
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\0\0\1\0": "an icon (ICO)",
    **dict.fromkeys((b"\xff\x0a", b"\0\0\0\x0cJXL "), "a JPEG XL picture"),
    **dict.fromkeys((b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n"), "a PBM, PGM or PPM picture"),
}
"""How pictures begin that are not read, and what each is."""

READABLE = f"; the formats that can be read are {', '.join(_OPENERS)}"
"""How the reason ends why a file of another format is refused."""


@dataclass(frozen=True)
class ImageFacts:
    """What a file is, before it is turned and converted."""

    format: str
    """``JPEG``, ``PNG``, ``WEBP``, ``GIF``, ``TIFF``, ``BMP`` or ``AVIF``."""

    mode: str
    """Pillow's name of the pixel layout, e.g. ``RGB``, ``L``, ``P``, ``CMYK``."""

    width: int
    """Pixels, as stored."""

    height: int
    """Pixels, as stored."""

    quality: int | None
    """Of a JPEG: the quality, 1 to 100, whose usual quantisation table is closest; None for other formats."""

    small: Pixels | None
    """The picture itself, for `likeness.look_at`; None where only the header was read."""


def decode_image(content: bytes, path: str, at_least: int | None = None) -> Image.Image:
    """Decode one image to upright RGB with 8 bits per channel.

    The first frame of animations and multi-page files is read, the others are never looked at. EXIF orientation is
    applied; an embedded colour profile is converted to sRGB; transparency lies over white; 16-bit grey keeps its 256
    upper levels.

    Args:
        content: the whole file.
        path: its name, for messages.
        at_least: shorter side in pixels that is needed; None for all there is. A JPEG whose shorter side is
            at least four times as long is decoded at 1/2, 1/4 or 1/8 of its size, such that twice `at_least`
            remains. After resizing to `at_least`, pixels differ from those of the full decode by 0.7 levels of 255 in
            the mean on enlarged photos with grain (at most 42, at sharp edges), by 1.2 (at most 8) on textures as
            rough as nature's (1/f), and by up to 7 on full-contrast stripes a few pixels wide.

    Returns:
        An image of mode RGB.

    Raises:
        UnreadableImageError: the content is empty, larger than 512 MiB, of no accepted format, of more than 200
            million pixels, truncated or damaged.
    """
    return _decode(content, path, at_least, _only_image)


def inspect_image(content: bytes, path: str) -> ImageFacts:
    """Find out what an image is, and that `decode_image` will succeed on it.

    Args:
        content: the whole file.
        path: its name, for messages.

    Returns:
        Its format, mode, size and looks.

    Raises:
        UnreadableImageError: as `decode_image`.
    """
    return _decode(content, path, LOOKED_AT, _describe)


def read_header(content: bytes, path: str) -> ImageFacts:
    """Find out what a file says it is; damage behind its header stays unseen.

    Args:
        content: the whole file.
        path: its name, for messages.

    Returns:
        Its format, mode and size.

    Raises:
        UnreadableImageError: as `decode_image`, where the header shows it.
    """
    return _open(content, path, lambda image, seen: ImageFacts(*seen, None))


_Seen = tuple[str, str, int, int, int | None]
_T = TypeVar("_T")
_FULL_SIZE = "retop full size"


def _only_image(image: Image.Image, seen: _Seen) -> Image.Image:
    return image


def full_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of a decoded image as it is stored, upright: its own, unless it was decoded at reduced scale."""
    width, height = image.info.get(_FULL_SIZE, image.size)
    return width, height


def _describe(image: Image.Image, seen: _Seen) -> ImageFacts:
    return ImageFacts(*seen, shrink(image))


def _decode(content: bytes, path: str, at_least: int | None, finish: Callable[[Image.Image, _Seen], _T]) -> _T:
    def load(image: ImageFile.ImageFile, seen: _Seen) -> _T:
        if at_least is not None and seen[0] == "JPEG":
            needed = REDUCTION_MARGIN * at_least
            image.draft(None, (needed, needed))
        image.load()
        orientation = read_orientation(image)
        upright = turn_upright(to_rgb(image), orientation)
        full = turn_size((seen[2], seen[3]), orientation)
        if seen[0] == "JPEG" and upright.size != full:
            upright.info[_FULL_SIZE] = full
        return finish(upright, seen)

    return _open(content, path, load)


def _open(content: bytes, path: str, go_on: Callable[[ImageFile.ImageFile, _Seen], _T]) -> _T:
    """Read the header and go on; every trouble on the way is our own error."""
    kind = recognise_format(content, path)
    try:
        with _OPENERS[kind](BytesIO(content)) as image:
            _refuse_giant(image, path)
            return go_on(image, (kind, image.mode, image.width, image.height, _quality(image)))
    except _DECODER_FAILURES as error:
        raise UnreadableImageError(path, _explain(kind, error)) from error


def recognise_format(content: bytes, path: str) -> str:
    """Tell the format by the first bytes.

    Args:
        content: the whole file.
        path: its name, for messages.

    Returns:
        One of the accepted formats.

    Raises:
        UnreadableImageError: the content is empty, too large or of no accepted format.
    """
    if not content:
        raise UnreadableImageError(path, "the file is empty")
    if len(content) > BYTES_LIMIT:
        raise UnreadableImageError(path, f"{len(content):,} bytes; at most {BYTES_LIMIT:,} are read")
    kind = _signature(content)
    if kind not in _OPENERS:
        raise UnreadableImageError(path, _other_kind(content) + READABLE)
    return kind


def _signature(content: bytes) -> str:
    head = content[:16]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head[4:8] == b"ftyp" and any(brand in _brands(content) for brand in _AVIF_BRANDS):
        return "AVIF"
    if head.startswith(b"BM"):
        return "BMP"
    return ""


def _brands(content: bytes) -> list[bytes]:
    """The brands of an ISO media file: its major one and the compatible ones."""
    end = min(int.from_bytes(content[:4], "big"), 256)
    return [content[at : at + 4] for at in range(8, end - 3, 4) if at != 12]


def _other_kind(content: bytes) -> str:
    head = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"%PDF"):
        return "a PDF document, not an image"
    if head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "an EPS or PostScript file"
    if head[:1] == b"<" and b"<svg" in content[:4096].lower():
        return "an SVG drawing"
    if head[:1] == b"<":
        return "an HTML or XML page, not an image"
    if head[4:8] == b"ftyp":
        heic = any(brand in _brands(content) for brand in (b"heic", b"heix", b"mif1"))
        return "a HEIC photo (convert it to JPEG)" if heic else "a film or another media file, not a photo"
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive, not an image"
    return next((kind for start, kind in _OTHER_PICTURES.items() if content.startswith(start)), "not an image")


def _quality(image: Image.Image) -> int | None:
    """The quality that would give this luminance table, by the mean ratio to that of quality 50.

    Source: ITU-T T.81, table K.1, and the scaling of libjpeg's ``jpeg_quality_scaling``.
    """
    tables = getattr(image, "quantization", None)
    if not tables or len(tables.get(0, ())) != len(_LUMINANCE):
        return None
    scale: float = 100 * sum(tables[0]) / sum(_LUMINANCE)
    quality = (200 - scale) / 2 if scale < 100 else 5000 / scale
    return min(max(round(quality), 1), 100)


def _refuse_giant(image: Image.Image, path: str) -> None:
    if image.width * image.height > bounds.PIXEL_LIMIT:
        reason = f"{image.width:,} x {image.height:,} pixels; at most {bounds.PIXEL_LIMIT:,} are decoded"
        raise UnreadableImageError(path, reason)


def _explain(kind: str, error: Exception) -> str:
    text = str(error) or type(error).__name__
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"the {kind} is truncated ({text})"
    if isinstance(error, MemoryError):
        return f"the {kind} does not fit into memory"
    return f"the {kind} is damaged ({text})"
