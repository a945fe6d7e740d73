"""Views of an image: view 0 is the evaluation crop, the others are seeded augmentations.

Shape letters: H, W height and width of the network's input.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from retop.data.augmentation import augment_original, augment_standard, draw_generator
from retop.data.decoding import decode_image, full_size
from retop.data.resampling import resampling_filter
from retop.recipe import ViewsRecipe
from retop.records import Preprocessing

RIBBON = 64
"""Of an image more than this many times longer than wide, only the middle is resized."""

PIXELS_VERSION = 2
"""Raised whenever the same file gives other pixels: what was stored or begun before counts no more."""

# Filters that give other pixels by leaps, where a place is moved by the rounding of float32.
_LEAPING = ("nearest", "box")


def evaluation_view(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize and crop as the network's weights were evaluated; equal to timm's evaluation transform.

    Args:
        image: mode RGB, any size.
        preprocessing: size, crop and interpolation of the network.

    Returns:
        Pixels, uint8 [H, W, 3].

    Source: timm 1.0.31, ``transforms_imagenet_eval``; the modes ``center``, ``squash`` and ``border``. Images more than
    64 times longer than wide differ: their ends, which the crop drops anyway, are cut off before resizing. Of images
    decoded at reduced scale only what the crop keeps is computed, which changes less than one value in a thousand in
    the mean, by one level.
    """
    full = full_size(image)
    if preprocessing.crop_mode == "center" and max(image.size) > RIBBON * min(image.size):
        image = _cut_ribbon(image)
        full = image.size
    size = _resized(full, preprocessing)
    if full != image.size and _can_resize_kept(image.size, size, preprocessing):
        return np.array(_resize_kept(image, size, preprocessing))
    if size != image.size:
        image = image.resize(size, resampling_filter(preprocessing.interpolation))
    fill = tuple(round(255 * value) for value in preprocessing.mean) if preprocessing.crop_mode == "border" else 0
    return np.array(_crop_centre(image, preprocessing.width, preprocessing.height, fill))


def augmented_view(
    image: Image.Image, preprocessing: Preprocessing, preset: str, seed: int, view: int, content: str
) -> NDArray[np.uint8]:
    """Augment an image; the same arguments give the same pixels, whatever the order, thread or path.

    Args:
        image: mode RGB, any size.
        preprocessing: size and interpolation of the network.
        preset: ``standard`` or ``original``.
        seed: chooses other augmentations.
        view: number of the view, 1 or more.
        content: SHA-256 of the image's file, hexadecimal.

    Returns:
        Pixels, uint8 [H, W, 3].

    Raises:
        ValueError: no such preset.
    """
    generator = draw_generator(preset, seed, view, content)
    if preset == "standard":
        return augment_standard(image, preprocessing, generator)
    if preset == "original":
        return augment_original(image, preprocessing, generator)
    raise ValueError(f"the presets that augment are 'standard' and 'original'; received {preset!r}")


def view_of(
    image: Image.Image, preprocessing: Preprocessing, views: ViewsRecipe, view: int, content: str
) -> NDArray[np.uint8]:
    """One view of an image.

    Args:
        image: mode RGB, any size.
        preprocessing: size, crop and interpolation of the network.
        views: preset and seed.
        view: 0 for the evaluation crop, else an augmentation's number.
        content: SHA-256 of the image's file, hexadecimal.

    Returns:
        Pixels, uint8 [H, W, 3].

    Raises:
        ValueError: `view` is above 0 and the preset is ``none``.
    """
    if view == 0:
        return evaluation_view(image, preprocessing)
    return augmented_view(image, preprocessing, views.preset, views.seed, view, content)


def shorter_side(preprocessing: Preprocessing) -> int:
    """The shorter side in pixels that every view of a network needs; what `decode_image` is asked for.

    It is one number for all views, so that an image is decoded alike, and once, for all of them.

    Args:
        preprocessing: size and crop of the network.

    Returns:
        Pixels.
    """
    return max(_scaled(preprocessing.height, preprocessing), _scaled(preprocessing.width, preprocessing))


def preprocess_bytes(content: bytes, path: str, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """From a file's bytes to the network's pixels: what training, evaluation and prediction share.

    Args:
        content: the whole file.
        path: its name, for messages.
        preprocessing: size, crop and interpolation of the network.

    Returns:
        Pixels of view 0, uint8 [H, W, 3].

    Raises:
        UnreadableImageError: as `decode_image`.
    """
    return evaluation_view(decode_image(content, path, shorter_side(preprocessing)), preprocessing)


def _scaled(pixels: int, preprocessing: Preprocessing) -> int:
    return math.floor(pixels / preprocessing.crop_fraction)


def _resized(full: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Width and height before the crop, from those of the image as it is stored, upright.

    An image decoded at reduced scale has rounded sides, from which another size, and so another crop, could follow.
    """
    full_width, full_height = full
    height, width = _scaled(preprocessing.height, preprocessing), _scaled(preprocessing.width, preprocessing)
    if preprocessing.crop_mode == "squash":
        return width, height
    if preprocessing.crop_mode == "center" and height == width:
        short, long = sorted(full)
        scaled_long = int(height * long / short)
        return (height, scaled_long) if full_width <= full_height else (scaled_long, height)
    choose = max if preprocessing.crop_mode == "border" else min
    ratio = choose(full_height / height, full_width / width)
    return max(round(full_width / ratio), 1), max(round(full_height / ratio), 1)


def _cut_ribbon(image: Image.Image) -> Image.Image:
    """The middle of an image that is many times longer than wide, whose resizing would take gigabytes."""
    longest = RIBBON * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _can_resize_kept(size: tuple[int, int], resized: tuple[int, int], preprocessing: Preprocessing) -> bool:
    """Whether what the crop keeps can be computed alone: no border, and Pillow takes the axes in the same order.

    Source: Pillow 13 resizes rows first where they lose more than twice what columns lose (found by trying 600 sizes).
    """
    kept = (preprocessing.width, preprocessing.height)
    rows_first = [size[1] - height > 2 * (size[0] - width) for width, height in (resized, kept)]
    inside = kept[0] <= resized[0] and kept[1] <= resized[1]
    return inside and rows_first[0] == rows_first[1] and preprocessing.interpolation not in _LEAPING


def _resize_kept(image: Image.Image, resized: tuple[int, int], preprocessing: Preprocessing) -> Image.Image:
    """Resize and crop in one, without what lies outside of the crop: half of the work for a photo of 4 : 3."""
    kept = (preprocessing.width, preprocessing.height)
    first = [round((length - part) / 2) for length, part in zip(resized, kept, strict=True)]
    scale = [own / length for own, length in zip(image.size, resized, strict=True)]
    left, top = (at * factor for at, factor in zip(first, scale, strict=True))
    right, bottom = ((at + part) * factor for at, part, factor in zip(first, kept, scale, strict=True))
    return image.resize(kept, resampling_filter(preprocessing.interpolation), box=(left, top, right, bottom))


def _crop_centre(image: Image.Image, width: int, height: int, fill: int | tuple[int, ...]) -> Image.Image:
    missing_x, missing_y = max(width - image.width, 0), max(height - image.height, 0)
    if missing_x or missing_y:
        border = (missing_x // 2, missing_y // 2, (missing_x + 1) // 2, (missing_y + 1) // 2)
        image = ImageOps.expand(image, border, fill)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
