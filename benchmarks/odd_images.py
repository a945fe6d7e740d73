"""Images in every form that people have: formats, modes, orientations, sizes."""

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("jpg", "png", "webp", "turned", "cmyk", "palette", "alpha", "wide", "grey", "gif", "tiff", "bmp", "large")


def write_odd_images(folder: Path, count: int, classes: tuple[str, ...]) -> Path:
    """So many images, in turn of every kind and class; smooth shapes with noise, all drawn from seeds."""
    for number in range(count):
        place = folder / classes[number % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        _write(place / f"{number:04d}", KINDS[number % len(KINDS)], number)
    return folder


def _draw(seed: int, width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = generator.integers(-20, 21, (height, width, 3))
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def _write(path: Path, kind: str, seed: int) -> None:
    generator = np.random.default_rng([seed, 1])
    width, height = (int(side) for side in generator.integers(90, 700, 2))
    image = _draw(seed, *((1800, 1300) if kind == "large" else (width, height)))
    exif = Image.Exif()
    exif[0x0112] = 1 + seed % 8
    writers = {
        "jpg": lambda: image.save(path.with_suffix(".jpg"), quality=90),
        "large": lambda: image.save(path.with_suffix(".jpeg"), quality=85),
        "turned": lambda: image.save(path.with_suffix(".jpg"), quality=90, exif=exif),
        "cmyk": lambda: image.convert("CMYK").save(path.with_suffix(".jpg"), quality=90),
        "png": lambda: image.save(path.with_suffix(".png")),
        "palette": lambda: image.quantize(64).save(path.with_suffix(".png")),
        "alpha": lambda: _with_alpha(image).save(path.with_suffix(".png")),
        "wide": lambda: _sixteen_bits(image).save(path.with_suffix(".png")),
        "grey": lambda: image.convert("L").save(path.with_suffix(".png")),
        "webp": lambda: image.save(path.with_suffix(".webp"), quality=85),
        "gif": lambda: image.save(path.with_suffix(".gif"), save_all=True, append_images=[image.rotate(90)]),
        "tiff": lambda: image.save(path.with_suffix(".tiff")),
        "bmp": lambda: image.save(path.with_suffix(".bmp")),
    }
    writers[kind]()


def _with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _sixteen_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
