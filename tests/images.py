"""Real image folders, small and learnable: drawn shapes on noisy grounds, and handwritten digits."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("disc", "square", "stripes")


def draw_shape(name: str, seed: int, side: int = 64) -> Image.Image:
    """One picture of a class; colours, place, size and noise come from the seed."""
    generator = np.random.default_rng([SHAPES.index(name), seed])
    ground = generator.integers(0, 110, 3) + generator.integers(0, 30, (side, side, 1))
    image = Image.fromarray(np.broadcast_to(ground, (side, side, 3)).astype(np.uint8))
    colour = tuple(int(value) for value in generator.integers(150, 256, 3))
    centre_x, centre_y = (int(value) for value in generator.integers(side // 3, side - side // 3, 2))
    radius = int(generator.integers(side // 6, side // 3))
    _PAINTERS[name](ImageDraw.Draw(image), centre_x, centre_y, radius, colour)
    return image


def write_shapes(
    folder: Path, per_class: int, classes: Sequence[str] = SHAPES, first_seed: int = 0, side: int = 64
) -> Path:
    """A folder with one sub-folder per class; every third picture is a JPEG, the others are PNG."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for seed in range(first_seed, first_seed + per_class):
            kind, options = ("jpg", {"quality": 92}) if seed % 3 == 0 else ("png", {})
            draw_shape(name, seed, side).save(folder / name / f"{name}-{seed:04d}.{kind}", **options)
    return folder


def write_large_photos(folder: Path) -> list[Path]:
    """JPEGs that a network of 64 pixels gets from a decode at 1/4 or 1/8; one of them lies on its side.

    Their sides are such that the crop would move by a pixel if it followed from the rounded sides of the reduced image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for seed, (width, height, orientation) in enumerate([(900, 609, 1), (900, 609, 6), (2003, 1361, 1)]):
        pixels = np.asarray(draw_shape("stripes", seed, 900).resize((width, height)), np.int16)
        grain = np.random.default_rng(seed).integers(-10, 11, pixels.shape)
        image = Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
        exif = Image.Exif()
        exif[0x0112] = orientation
        files.append(folder / f"large-{seed}.jpg")
        image.save(files[-1], quality=75, exif=exif)
    return files


def write_split_shapes(
    folder: Path, train: int, validation: int, test: int = 0, classes: Sequence[str] = SHAPES, side: int = 64
) -> Path:
    """A folder with train, validation and, if asked for, test; so many pictures of each class."""
    first_seed = 0
    for split, per_class in (("train", train), ("validation", validation), ("test", test)):
        if per_class:
            write_shapes(folder / split, per_class, classes, first_seed, side)
        first_seed += per_class
    return folder


def read_digit(digit: int, number: int, side: int = 64) -> Image.Image:
    """One handwritten digit of scikit-learn, 8 x 8 pixels enlarged."""
    small = Image.fromarray((_digits()[digit][number] * 15.9).astype(np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC).convert("RGB")


def write_digits(
    folder: Path, per_class: int, classes: Sequence[int] = range(10), side: int = 64, first: int = 0
) -> Path:
    """Handwritten digits as a folder of class folders of PNGs."""
    for digit in classes:
        place = folder / f"digit-{digit}"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(first, min(first + per_class, len(_digits()[digit]))):
            read_digit(digit, number, side).save(place / f"{number:04d}.png")
    return folder


def write_split_digits(folder: Path, train: int, validation: int, test: int, classes: Sequence[int] = range(3)) -> Path:
    """A folder with train, validation and test; so many images of each digit."""
    write_digits(folder / "train", train, classes)
    write_digits(folder / "validation", validation, classes, first=train)
    return write_digits(folder / "test", test, classes, first=train + validation).parent


@cache
def _digits() -> list[np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return [digits.images[digits.target == digit] for digit in range(10)]


_Painter = Callable[[ImageDraw.ImageDraw, int, int, int, tuple[int, ...]], None]


def _paint_disc(draw: ImageDraw.ImageDraw, x: int, y: int, radius: int, colour: tuple[int, ...]) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _paint_square(draw: ImageDraw.ImageDraw, x: int, y: int, radius: int, colour: tuple[int, ...]) -> None:
    draw.rectangle((x - radius, y - radius, x + radius, y + radius), outline=colour, width=3)


def _paint_stripes(draw: ImageDraw.ImageDraw, x: int, y: int, radius: int, colour: tuple[int, ...]) -> None:
    for offset in range(-radius, radius, 5):
        draw.line((x - radius, y + offset, x + radius, y + offset), fill=colour, width=2)


_PAINTERS: dict[str, _Painter] = {"disc": _paint_disc, "square": _paint_square, "stripes": _paint_stripes}
