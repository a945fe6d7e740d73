"""Small pictures and folders for the tests of images."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from retop.records import Preprocessing


def preprocessing(
    height: int = 32, width: int = 32, crop: float = 0.875, mode: Any = "center", interpolation: Any = "bicubic"
) -> Preprocessing:
    return Preprocessing(height, width, crop, mode, interpolation, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_classes(folder: Path, counts: dict[str, int], first_seed: int = 0, kind: str = "PNG") -> Path:
    """A folder of class folders with different pictures; the seeds run on from class to class."""
    seed = first_seed
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            (folder / name / f"{seed}.{kind.lower()}").write_bytes(encoded(picture(seed), kind))
            seed += 1
    return folder
