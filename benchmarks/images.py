"""The images of a benchmark: photographs where they lie beside the checkout, generated ones otherwise."""

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cats", "dogs")
GENERATED_SIZE = (500, 375)
SPLITS = ("train", "validation")


def make_images(folder: Path, num_train: int, num_validation: int) -> str:
    """Make ``train/`` and ``validation/`` with two classes each.

    Args:
        folder: is created.
        num_train: training images, an even number.
        num_validation: validation images, an even number.

    Returns:
        What the images are, in words.
    """
    wanted = dict(zip(SPLITS, (num_train // 2, num_validation // 2), strict=True))
    photographs = _find_photographs(wanted)
    for split, per_class in wanted.items():
        for label, name in enumerate(CLASSES):
            target = folder / split / name
            target.mkdir(parents=True)
            if photographs is not None:
                for file in _files(photographs / split / name)[:per_class]:
                    shutil.copyfile(file, target / file.name)
            else:
                for number in range(per_class):
                    seed = (SPLITS.index(split), label, number)
                    _generate(seed, label).save(target / f"{number:05d}.jpg", quality=90)
    if photographs is not None:
        return "photographs of cats and dogs, about 350 x 300 pixels"
    return f"generated JPEGs of {GENERATED_SIZE[0]} x {GENERATED_SIZE[1]} pixels: noise with a photograph's spectrum"


def _find_photographs(wanted: dict[str, int]) -> Path | None:
    shared = Path(os.environ.get("RETOP_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    folder = shared / "data" / "cats_dogs"
    enough = all(len(_files(folder / split / name)) >= wanted[split] for split in wanted for name in CLASSES)
    return folder if enough else None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def _generate(seed: tuple[int, ...], label: int) -> Image.Image:
    """Noise whose octaves weigh as in photographs, so that it is compressed and decoded like one."""
    generator = np.random.default_rng(seed)
    width, height = GENERATED_SIZE
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 8):
        cells = 2**octave
        noise = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        smooth = Image.fromarray(noise).resize(GENERATED_SIZE, Image.Resampling.BICUBIC)
        total += (np.asarray(smooth, np.float32) - 128) * 2.0 ** (1 - octave)
    total[..., 2 * label] += 40
    return Image.fromarray((total + 128).clip(0, 255).astype(np.uint8))
