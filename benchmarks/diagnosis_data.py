"""Small data sets of real images for the fault-injection benchmark.

They stand in two halves: rules are tuned on one and judged on the other.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
MOST_PER_CLASS = 400
Pictures = dict[str, list[Image.Image]]


@dataclass(frozen=True)
class DataSet:
    """Where the images of a data set come from.

    Attributes:
        name: in the results.
        half: ``tuning`` or ``judging``.
        classes: numbers or names of its classes at the source.
        source: ``digits``, ``tiny_imagenet`` or a folder of ../shared/data.
    """

    name: str
    half: str
    source: str
    classes: tuple[int, ...] = ()


DATA_SETS = (
    DataSet("digits 0-4", "tuning", "digits", (0, 1, 2, 3, 4)),
    DataSet("tiny imagenet, classes 0-4", "tuning", "tiny_imagenet", (0, 1, 2, 3, 4)),
    DataSet("tiny imagenet, classes 50-55", "tuning", "tiny_imagenet", tuple(range(50, 56))),
    DataSet("cats and dogs", "tuning", "cats_dogs"),
    DataSet("digits 5-9", "judging", "digits", (5, 6, 7, 8, 9)),
    DataSet("tiny imagenet, classes 100-104", "judging", "tiny_imagenet", (100, 101, 102, 103, 104)),
    DataSet("tiny imagenet, classes 150-155", "judging", "tiny_imagenet", tuple(range(150, 156))),
    DataSet("flowers", "judging", "flowers"),
)


def shared_folder() -> Path:
    """Where optional data and weights lie."""
    checkout = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("RETOP_SHARED", checkout.parent / "shared"))


def usable(half: str) -> tuple[DataSet, ...]:
    """Data sets of a half whose images are on this machine."""
    shared = shared_folder() / "data"
    return tuple(
        one for one in DATA_SETS if one.half == half and (one.source == "digits" or (shared / one.source).exists())
    )


@cache
def read_pictures(data: DataSet, most: int = MOST_PER_CLASS) -> Pictures:
    """Images of every class, at most so many, the same on every machine."""
    reader = {"digits": _digits, "tiny_imagenet": _tiny_imagenet}.get(data.source, _folder)
    pictures: Pictures = {}
    seen: set[bytes] = set()
    for name, image in reader(data):
        own = pictures.setdefault(name, [])
        if len(own) < most:
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            # Some sources hold copies, which would be a leak that nobody planted.
            if small.tobytes() not in seen:
                seen.add(small.tobytes())
                own.append(small)
    return pictures


def draw(data: DataSet, per_class: dict[str, int], seed: int) -> dict[str, Pictures]:
    """Draw disjoint splits.

    Args:
        data: where from.
        per_class: images of each class, by split; what a class lacks is taken off all splits in proportion.
        seed: of the draw.

    Returns:
        Pictures by split and class.
    """
    generator = np.random.default_rng(seed)
    splits: dict[str, Pictures] = {split: {} for split in per_class}
    wanted = sum(per_class.values())
    for label, images in sorted(read_pictures(data).items()):
        order = generator.permutation(len(images))
        share = min(1.0, len(images) / wanted)
        start = 0
        for split, number in per_class.items():
            taken = int(number * share)
            splits[split][label] = [images[place] for place in order[start : start + taken]]
            start += taken
    return splits


def write(splits: dict[str, Pictures], folder: Path) -> Path:
    """Write splits as folders of PNG files."""
    for split, classes in splits.items():
        for label, images in classes.items():
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                image.save(folder / split / picture_name(label, number))
    return folder


def picture_name(label: str, number: int) -> str:
    """Where a picture of a class is written in the folder of its split."""
    return f"{label}/{label}-{number:04d}.png"


def _digits(data: DataSet) -> Iterator[tuple[str, Image.Image]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for pixels, label in zip(digits.images, digits.target, strict=True):
        if int(label) in data.classes:
            yield f"digit-{label}", Image.fromarray((pixels * 255 / 16).astype(np.uint8))


def _tiny_imagenet(data: DataSet) -> Iterator[tuple[str, Image.Image]]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = shared_folder() / "data" / "tiny_imagenet" / "train.parquet"
    names = sorted(pc.unique(pq.read_table(file, columns=["label"])["label"]).to_pylist())
    wanted = [names[place] for place in data.classes]
    for row in pq.read_table(file, filters=pc.field("label").isin(wanted)).to_pylist():
        yield str(row["label"]), Image.open(io.BytesIO(row["image"]["bytes"]))


def _folder(data: DataSet) -> Iterator[tuple[str, Image.Image]]:
    root = shared_folder() / "data" / data.source
    root = root / "train" if (root / "train").is_dir() else root
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for file in sorted(folder.iterdir())[:MOST_PER_CLASS]:
            yield folder.name, Image.open(file)
