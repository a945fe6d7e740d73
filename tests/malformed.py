"""Malformed image files, any number of them, the same ones every time."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
DISGUISES = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html": b"<!doctype html><title>404</title>",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
    "film": b"\0\0\0\x18ftypisom\0\0\0\0isommp41",
    "psd": b"8BPS\0\1" + b"\0" * 60,
    "zip": b"PK\3\4" + b"\0" * 60,
    "text": b"not an image at all\n",
    "pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07builtins.",
    "ppm": b"P6\n9 9\n255\n" + b"\1" * 243,
    "ico": b"\0\0\1\0\1\0" + b"\0" * 60,
    "exe": b"MZ\x90\0" + b"\0" * 60,
    "empty": b"",
    "zeros": b"\0" * 4096,
}
"""Contents of no accepted format."""


def malformed_files(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Malformed files: a name that says what was done, and the content.

    Args:
        count: how many.
        seed: chooses others.
    """
    seeds = _sound_files()
    ways = (_cut, _flip, _zero, _swap, _insert, _lie_about_size, _double, _scramble_header)
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        if number % 20 == 19:
            name, content = list(DISGUISES.items())[(number // 20) % len(DISGUISES)]
            tail = generator.integers(0, 256, int(generator.integers(0, 200)), dtype=np.uint8).tobytes()
            yield f"{number:05d}-{name}.jpg", content + tail * (name != "empty")
            continue
        kind = KINDS[number % len(KINDS)]
        variants = seeds[kind]
        content = variants[int(generator.integers(len(variants)))]
        way = ways[int(generator.integers(len(ways)))]
        yield f"{number:05d}-{kind.lower()}{way.__name__}.jpg", way(content, generator)


def png_bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few kilobytes that claims, and would unpack to, a very large image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeezer = zlib.compressobj(9)
    row = b"\0" * (width // 8 + 1)
    data = b"".join(squeezer.compress(row) for _ in range(height)) + squeezer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif_bomb(frames: int = 100_000) -> bytes:
    """A GIF of very many small frames."""
    image = Image.new("P", (8, 8))
    image.putpalette([200, 10, 10] * 256)
    buffer = io.BytesIO()
    image.save(buffer, "GIF")
    whole = buffer.getvalue()
    start = whole.index(b"\x2c")
    return whole[:start] + whole[start:-1] * frames + b"\x3b"


Way = Callable[[bytes, np.random.Generator], bytes]


def _sound_files() -> dict[str, list[bytes]]:
    coarse = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, list[dict[str, object]]] = {
        "JPEG": [{}, {"progressive": True}, {"exif": exif, "quality": 60}, {"icc_profile": b"junk" * 50}],
        "PNG": [{}, {"exif": exif}, {"compress_level": 0}],
        "WEBP": [{}, {"lossless": True}],
        "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}],
    }
    seeds: dict[str, list[bytes]] = {}
    for kind in KINDS:
        modes = [image, image.convert("L")] if kind != "AVIF" else [image]
        if kind in ("PNG", "GIF", "TIFF", "BMP"):
            modes.append(image.convert("P"))
        seeds[kind] = [_encoded(mode, kind, option) for mode in modes for option in options.get(kind, [{}])]
        seeds[kind] = [content for content in seeds[kind] if content]
    return seeds


def _encoded(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError):
        return b""
    return buffer.getvalue()


def _cut(content: bytes, generator: np.random.Generator) -> bytes:
    return content[: int(generator.integers(1, len(content)))]


def _flip(content: bytes, generator: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for place in generator.integers(0, len(content), int(generator.integers(1, 30))):
        changed[place] ^= 1 << int(generator.integers(8))
    return bytes(changed)


def _zero(content: bytes, generator: np.random.Generator) -> bytes:
    start = int(generator.integers(0, len(content)))
    length = int(generator.integers(1, 400))
    return content[:start] + b"\0" * len(content[start : start + length]) + content[start + length :]


def _swap(content: bytes, generator: np.random.Generator) -> bytes:
    middle = int(generator.integers(16, max(17, len(content))))
    return content[:16] + content[middle:] + content[16:middle]


def _insert(content: bytes, generator: np.random.Generator) -> bytes:
    place = int(generator.integers(0, len(content)))
    noise = generator.integers(0, 256, int(generator.integers(1, 300)), dtype=np.uint8).tobytes()
    return content[:place] + noise + content[place:]


def _lie_about_size(content: bytes, generator: np.random.Generator) -> bytes:
    """Very large numbers where headers have sizes, offsets and counts."""
    changed = bytearray(content)
    place = int(generator.integers(2, min(80, len(content) - 4)))
    changed[place : place + 4] = struct.pack(
        ">I", int(generator.choice([0, 0x7FFFFFFF, 0xFFFFFFFF, 65_535, 0x10000000]))
    )
    return bytes(changed)


def _double(content: bytes, generator: np.random.Generator) -> bytes:
    return content[: int(generator.integers(1, len(content)))] + content


def _scramble_header(content: bytes, generator: np.random.Generator) -> bytes:
    length = min(len(content), 200)
    noise = generator.integers(0, 256, length - 12, dtype=np.uint8).tobytes()
    return content[:12] + noise + content[length:]
