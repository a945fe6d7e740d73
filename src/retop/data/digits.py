"""The demo's images: scikit-learn's 1,797 handwritten digits as an ordinary image folder."""

from pathlib import Path

import numpy as np
from PIL import Image

from retop.errors import DataError
from retop.schema import whole_folder

SIDE = 64
VALIDATION_PER_CLASS = 30
TEST_PER_CLASS = 80
NUM_IMAGES = {"train": 697, "validation": 300, "test": 800}


def write_digits(folder: Path) -> Path:
    """Write the digits as train, validation and test folders of PNG images; at once, or not at all.

    Of each digit 30 images are for validation, 80 for the test, and the others, about 70, to learn from. Processes that
    write them at the same time do not disturb each other.

    Args:
        folder: where; if it holds anything, it is left as it is and must hold all of them.

    Returns:
        The folder.

    Raises:
        DataError: the folder cannot be written, or lacks images.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; the part that scikit-learn has.
    """
    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with whole_folder(folder) as partial:
                _write(partial)
        num_missing = _num_missing(folder)
    except OSError as error:
        raise DataError(
            f"the demo's images cannot be written to {folder}: {error.strerror or error}. "
            f"Set RETOP_CACHE to a folder that can be written"
        ) from error
    if num_missing:
        raise DataError(
            f"{folder} lacks {num_missing:,} of the demo's {sum(NUM_IMAGES.values()):,} images and is left as it is. "
            f"Move it away and repeat, and they are written again; or set RETOP_CACHE to another folder"
        )
    return folder


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    for digit in range(10):
        rows = np.random.default_rng(digit).permutation(np.flatnonzero(data.target == digit))
        sides = np.split(rows, [VALIDATION_PER_CLASS, VALIDATION_PER_CLASS + TEST_PER_CLASS])
        for split, members in zip(("validation", "test", "train"), sides, strict=True):
            place = folder / split / f"digit-{digit}"
            place.mkdir(parents=True)
            for row in members:
                _enlarged(data.images[row]).save(place / f"{row:04d}.png")


def _num_missing(folder: Path) -> int:
    """How many images are not there; a power cut can leave them empty."""
    return sum(
        max(0, num - sum(file.stat().st_size > 0 for file in (folder / split).glob("digit-[0-9]/????.png")))
        for split, num in NUM_IMAGES.items()
    )


def _enlarged(pixels: np.ndarray) -> Image.Image:
    """8 x 8 values from 0 to 16 as an image."""
    small = Image.fromarray((pixels * 255 / 16).astype(np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
