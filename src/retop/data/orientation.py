"""EXIF orientation: which way up a photo was taken."""

import struct

from PIL import Image

_ORIENTATION_TAG = 0x0112
_SHORT = 3
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LAID_OVER = (5, 6, 7, 8)


def read_orientation(image: Image.Image) -> int:
    """Read the orientation from an image's EXIF block (JPEG, PNG, WebP, AVIF).

    The block is read here rather than by Pillow, which warns about, or fails on, damage elsewhere in it. A TIFF has
    none: Pillow turns it by its own tag while it loads the pixels.

    Args:
        image: as opened or in memory; its pixels are loaded already, since PNG may keep the block behind them.

    Returns:
        1 to 8; 1, upright, where nothing or nonsense is said.

    Source: Exif 2.32 (CIPA DC-008), 4.5.2 and 4.6.4 A.
    """
    value = _from_exif(image.info.get("exif", b""))
    return value if value in _TURNS else 1


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn or mirror an image so that it stands as it was taken.

    Args:
        image: any image.
        orientation: 1 to 8, as EXIF counts.

    Returns:
        The image itself for 1, else a turned copy.
    """
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def turn_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of an image after `turn_upright`.

    Args:
        size: width and height as stored.
        orientation: 1 to 8, as EXIF counts.

    Returns:
        Width and height, exchanged where the orientation lays the image over.
    """
    return (size[1], size[0]) if orientation in _LAID_OVER else size


def _from_exif(exif: bytes) -> int:
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, first)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, first + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG and kind == _SHORT:
                return int(value)
    except struct.error:
        return 1
    return 1
