"""The augmentations of the presets ``standard`` and ``original``; each resamples an image once.

Shape letters: H, W height and width of the network's input.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retop.data.resampling import resampling_filter
from retop.records import Preprocessing

CROP_AREA = (0.35, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
COLOUR = 0.2
SHEAR_RADIANS = 0.2
ZOOM = 0.2
# Room around the picture for the furthest point that shear and zoom reach: 0.5 * (1.2 + 1.2 * sin 0.2) - 0.5.
_MARGIN_FRACTION = 0.25


def draw_generator(preset: str, seed: int, view: int, content: str) -> np.random.Generator:
    """The random numbers of one view of one image.

    Args:
        preset: name of the preset.
        seed: chooses other augmentations.
        view: number of the view.
        content: SHA-256 of the image's file, hexadecimal.

    Returns:
        A generator that depends on nothing else.
    """
    digest = hashlib.sha256(f"{preset}/{seed}/{view}/{content}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def augment_standard(
    image: Image.Image, preprocessing: Preprocessing, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Random resized crop, horizontal flip, light brightness, contrast and saturation.

    The crop covers 35 to 100 % of the area at an aspect of 3:4 to 4:3, cut down to the image where it would reach
    beyond; brightness, contrast and saturation change by at most 20 %.

    Args:
        image: mode RGB, any size.
        preprocessing: size and interpolation of the network.
        generator: source of the parameters.

    Returns:
        Pixels, uint8 [H, W, 3].

    Source: Szegedy et al., Going deeper with convolutions, 2015, section 6 (crops of 8 to 100 % of the area); here
    at least 35 %, since fine-tuning sees few epochs.
    """
    box = _draw_crop(image.width, image.height, generator)
    flipped = generator.random() < 0.5
    brightness, contrast, saturation = (_between(generator, 1 - COLOUR, 1 + COLOUR) for _ in range(3))
    size = (preprocessing.width, preprocessing.height)
    view = image.resize(size, resampling_filter(preprocessing.interpolation), box=box)
    if flipped:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(_change_colour(view, brightness, contrast, saturation))


def augment_original(
    image: Image.Image, preprocessing: Preprocessing, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """The original experiment's augmentation: shear 0.2, zoom 0.2, horizontal flip of the squashed picture.

    Keras' generator reads ``shear_range=0.2`` as radians up to version 2.1 and as degrees since. The original's value
    comes from a tutorial of the first kind, and 0.2 degrees would change nothing, so it is radians here. Zoom is
    drawn for each axis from 0.8 to 1.2; what lies outside is the nearest edge; between pixels it is bilinear, as there.

    Args:
        image: mode RGB, any size.
        preprocessing: size of the network's input.
        generator: source of the parameters.

    Returns:
        Pixels, uint8 [H, W, 3].

    Source: Keras, ``ImageDataGenerator.apply_transform``: output to input coordinates are shear times zoom about the
    centre, ``[[1, -sin s], [0, cos s]] [[zy, 0], [0, zx]]`` on (row, column).
    """
    shear = _between(generator, -SHEAR_RADIANS, SHEAR_RADIANS)
    zoom_y, zoom_x = (_between(generator, 1 - ZOOM, 1 + ZOOM) for _ in range(2))
    flipped = generator.random() < 0.5
    width, height = preprocessing.width, preprocessing.height
    picture, margin_x, margin_y = _prepare_warp(image, width, height)
    inner_width, inner_height = picture.width - 2 * margin_x, picture.height - 2 * margin_y
    # Row and column follow from the centred output row and column by these four, in output pixels.
    row_row, row_column = zoom_y, -math.sin(shear) * zoom_x
    column_column = math.cos(shear) * zoom_x * (-1 if flipped else 1)
    row_column *= -1 if flipped else 1
    scale_x, scale_y = inner_width / width, inner_height / height
    a, e, d = column_column * scale_x, row_row * scale_y, row_column * scale_y
    c = margin_x + inner_width / 2 - a * width / 2
    f = margin_y + inner_height / 2 - d * width / 2 - e * height / 2
    view = picture.transform((width, height), Image.Transform.AFFINE, (a, 0.0, c, d, e, f), Image.Resampling.BILINEAR)
    return np.array(view)


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(generator.random())


def _draw_crop(width: int, height: int, generator: np.random.Generator) -> tuple[float, float, float, float]:
    area = _between(generator, *CROP_AREA) * width * height
    ratio = math.exp(_between(generator, math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
    crop_width = min(math.sqrt(area * ratio), width)
    crop_height = min(math.sqrt(area / ratio), height)
    left = float(generator.random()) * (width - crop_width)
    top = float(generator.random()) * (height - crop_height)
    return left, top, min(left + crop_width, width), min(top + crop_height, height)


def _change_colour(image: Image.Image, brightness: float, contrast: float, saturation: float) -> Image.Image:
    # Brightness and contrast act on each value alone, so one table does both.
    mean = brightness * float(np.asarray(image.convert("L")).mean())
    values = (np.arange(256) * brightness - mean) * contrast + mean
    table = np.clip(np.rint(values), 0, 255).astype(int).tolist()
    image = image.point(table * 3)
    return Image.blend(image.convert("L").convert("RGB"), image, saturation)


def _prepare_warp(image: Image.Image, width: int, height: int) -> tuple[Image.Image, int, int]:
    """Average down by whole factors, since an affine map does not antialias, and repeat the edges outwards."""
    factors = (max(image.width // width, 1), max(image.height // height, 1))
    if factors != (1, 1):
        image = image.reduce(factors)
    margin_x, margin_y = (math.ceil(side * _MARGIN_FRACTION) for side in image.size)
    pixels = np.pad(np.asarray(image), ((margin_y, margin_y), (margin_x, margin_x), (0, 0)), mode="edge")
    return Image.fromarray(pixels), margin_x, margin_y
