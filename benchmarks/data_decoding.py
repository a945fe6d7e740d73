"""Decoding against torchvision's transforms in a DataLoader with two workers, and the largest difference in pixels.

python benchmarks/data_decoding.py [--images 32]
python benchmarks/data_decoding.py --networks           instead: beside the quickest networks, does decoding keep up?

Both sides give 8-bit batches of 224 x 224 pixels, resized to 256 and cropped at the centre with bicubic resampling.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

import retop.backbones.pocket  # noqa: F401
from retop.data import decode_batches, open_dataset
from retop.data.views import preprocess_bytes
from retop.recipe import DataRecipe, ViewsRecipe
from retop.records import Preprocessing

CHECKOUT = Path(__file__).resolve().parents[1]
PREPROCESSING = Preprocessing(224, 224, 0.875, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
VIEWS = ViewsRecipe(preset="none", count=1)
USUAL = v2.Compose([v2.Resize(256, InterpolationMode.BICUBIC), v2.CenterCrop(224), v2.PILToTensor()])
BATCH = 16
NETWORKS = ("pocket_resnet", "pocket_vgg", "pocket_xception", "pocket_inception", "mobilenetv2_035")
"""The quickest ones; weights do not matter here."""

SIDES = ((64, 640), (500, 320), (4000, 48))
"""Longer side of the photos, and how many."""


class UsualImages(Dataset):
    """Images as most tutorials read them."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        return USUAL(Image.open(self.files[place]).convert("RGB"))


def write_photos(folder: Path, longer: int, count: int) -> None:
    """Real photos enlarged, with grain as cameras make it; drawn ones where there are no real ones."""
    shared = Path(os.environ.get("RETOP_SHARED", CHECKOUT.parent / "shared")) / "data/cats_dogs"
    sources = sorted(shared.rglob("*.jpg"))[:count]
    generator = np.random.default_rng(0)
    for number in range(count):
        if sources:
            image = Image.open(sources[number % len(sources)]).convert("RGB")
        else:
            image = Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        factor = longer / max(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
        grain = generator.normal(0, 4, (image.height, image.width, 1))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.jpg", quality=90)


def ours(folder: Path) -> float:
    """Images per second of retop; the folder is indexed before."""
    data = open_dataset(folder, DataRecipe(split=(0.5, 0.5, 0)))
    began, done = time.perf_counter(), 0
    for images in (data.train, data.validation):
        rows = np.arange(len(images))
        for batch in decode_batches(images, rows, np.zeros_like(rows), PREPROCESSING, VIEWS, BATCH):
            done += len(batch)
    return done / (time.perf_counter() - began)


def usual(folder: Path) -> float:
    """Images per second of a DataLoader whose workers are up already."""
    files = sorted(str(path) for path in folder.rglob("*.jpg"))
    loader = DataLoader(UsualImages(files), batch_size=BATCH, num_workers=2, persistent_workers=True)
    next(iter(loader))
    began = time.perf_counter()
    done = sum(len(batch) for batch in loader)
    return done / (time.perf_counter() - began)


def difference(folder: Path) -> tuple[float, int]:
    """Mean and largest difference in pixels between the two, in levels of 255."""
    means, largest = [], 0
    for path in sorted(folder.rglob("*.jpg")):
        content = path.read_bytes()
        mine = preprocess_bytes(content, path.name, PREPROCESSING).astype(int)
        theirs = USUAL(Image.open(io.BytesIO(content)).convert("RGB")).permute(1, 2, 0).numpy().astype(int)
        means.append(np.abs(mine - theirs).mean())
        largest = max(largest, int(np.abs(mine - theirs).max()))
    return float(np.mean(means)), largest


def beside(name: str, folder: Path) -> tuple[float, float, float]:
    """Images per second: decoding alone, the network alone, and the network fed by decoding."""
    network = timm.create_model(name, num_classes=0).eval().to(memory_format=torch.channels_last)
    side = network.pretrained_cfg["input_size"][-1]
    preprocessing = Preprocessing(side, side, 0.875, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
    images = open_dataset(folder, DataRecipe(split=(0.9, 0.1, 0))).train
    rows = np.arange(len(images))

    def rate(compute: bool, decode: bool) -> float:
        batches = decode_batches(images, rows, np.zeros_like(rows), preprocessing, VIEWS, BATCH)
        if not decode:
            batch = next(batches)
            batches.close()
            batches = iter([batch] * max(2, min(200, len(rows) // BATCH)))
        began, done = time.perf_counter(), 0
        for batch in batches:
            if compute:
                network(batch.float() / 127.5 - 1)
            done += len(batch)
        return done / (time.perf_counter() - began)

    with torch.inference_mode():
        rate(compute=True, decode=False)
        return rate(compute=False, decode=True), rate(compute=True, decode=False), rate(compute=True, decode=True)


def beside_networks() -> None:
    """Print what each network and decoding do alone, and together on the same cores."""
    print("| network | longer side | decoding alone, images/s | network alone | both |\n|---|---|---|---|---|")
    torch.set_num_threads(os.cpu_count() or 1)
    for longer, count in SIDES:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
            os.environ["RETOP_CACHE"] = cache
            write_photos(Path(folder), longer, count)
            for name in NETWORKS:
                decoding, computing, both = beside(name, Path(folder))
                print(
                    f"| {name} | {longer} (n = {count}) | {decoding:.0f} | {computing:.0f} | {both:.0f} |", flush=True
                )


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", action="store_true", help="measure beside networks instead")
    given = parser.parse_args()
    if given.networks:
        beside_networks()
        return 0
    torch.set_num_threads(1)
    missed = False
    print(
        "| longer side | retop, images/s | DataLoader, images/s | ratio | difference: mean, largest |\n"
        "|---|---|---|---|---|"
    )
    for longer, count, bar in ((500, 8 * given.images, 1.0), (4000, given.images, 3.0)):
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
            os.environ["RETOP_CACHE"] = cache
            write_photos(Path(folder), longer, count)
            ours(Path(folder))
            # In turn, so that whatever else the machine does hits both alike.
            rates = [(ours(Path(folder)), usual(Path(folder))) for _ in range(given.rounds)]
            mine, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
            mean, largest = difference(Path(folder))
        print(f"| {longer} (n = {count}) | {mine:.0f} | {theirs:.0f} | {mine / theirs:.2f} | {mean:.2f}, {largest} |")
        missed |= mine / theirs < bar
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
