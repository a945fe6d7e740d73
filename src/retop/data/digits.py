"""The demo's images: scikit-learn's 1,797 handwritten digits as an ordinary image folder."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
VALIDATION_PER_CLASS = 30
TEST_PER_CLASS = 80


def write_digits(folder: Path) -> Path:
    """Write the digits as train, validation and test folders of PNG images; at once, or not at all.

    Of each digit 30 images are for validation, 80 for the test, and the others, about 70, to learn from.

    Args:
        folder: where; if it exists, it is taken to be complete.

    Returns:
        The folder.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; the part that scikit-learn has.
    """
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    from sklearn.datasets import load_digits

    data = load_digits()
    for digit in range(10):
        rows = np.random.default_rng(digit).permutation(np.flatnonzero(data.target == digit))
        sides = np.split(rows, [VALIDATION_PER_CLASS, VALIDATION_PER_CLASS + TEST_PER_CLASS])
        for split, members in zip(("validation", "test", "train"), sides, strict=True):
            place = partial / split / f"digit-{digit}"
            place.mkdir(parents=True)
            for row in members:
                _enlarged(data.images[row]).save(place / f"{row:04d}.png")
    partial.rename(folder)
    return folder


def _enlarged(pixels: np.ndarray) -> Image.Image:
    """8 x 8 values from 0 to 16 as an image."""
    small = Image.fromarray((pixels * 255 / 16).astype(np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
