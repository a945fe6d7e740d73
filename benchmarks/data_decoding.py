"""Decoding against torchvision's transforms in a DataLoader with two workers, and the largest difference in pixels.

python benchmarks/data_decoding.py [--images 32]
python benchmarks/data_decoding.py --networks           instead: beside the quickest prefixes, does decoding keep up?

Both sides give 8-bit batches of 224 x 224 pixels, resized to 256 and cropped at the centre with bicubic resampling.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from retop.activations.fill import FrozenComputation
from retop.activations.store import PREFIX_BATCH
from retop.backbones import ImageNetwork, build_backbone, choose_boundary, freeze, split_network
from retop.backbones.folding import fold_batch_norms
from retop.data import ImageSet, decode_batches, open_dataset
from retop.data.views import preprocess_bytes
from retop.recipe import DataRecipe, ViewsRecipe
from retop.records import Preprocessing
from retop.training import choose_runtime

CHECKOUT = Path(__file__).resolve().parents[1]
PREPROCESSING = Preprocessing(224, 224, 0.875, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
VIEWS = ViewsRecipe(preset="none", count=1)
USUAL = v2.Compose([v2.Resize(256, InterpolationMode.BICUBIC), v2.CenterCrop(224), v2.PILToTensor()])
BATCH = 16
NETWORKS = (
    "pocket_resnet",
    "pocket_vgg",
    "pocket_xception",
    "pocket_inception",
    "mobilenetv2_035",
    "mobilenetv3_small_100",
)
"""The quickest ones of those that are trained with retop."""

SIDES = ((64, 320), (500, 160), (4000, 36))
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


def prefix_of(name: str) -> tuple[FrozenComputation, Preprocessing]:
    """The frozen part of a backbone as training runs it, whole but for the last group; weights do not matter here."""
    runtime = choose_runtime("cpu")
    backbone = build_backbone(name, "random")
    boundary = choose_boundary(backbone, "last")
    freeze(backbone.network, boundary)
    size = (backbone.preprocessing.height, backbone.preprocessing.width)
    split = split_network(ImageNetwork(backbone).eval(), boundary.parameter_names, size)
    part = fold_batch_norms(split.prefix) if runtime.folds else split.prefix
    return runtime.frozen(part, split.fingerprint_code), backbone.preprocessing


@dataclass(frozen=True)
class Beside:
    """One round: milliseconds of processor time per image, which hold where others use the machine too, and rates."""

    decoding_ms: float
    prefix_ms: float
    decoding_per_second: float
    prefix_per_second: float
    both_per_second: float


def beside(images: ImageSet, prefix: FrozenComputation, preprocessing: Preprocessing) -> Beside:
    """What decoding alone, the prefix alone, and the prefix fed by decoding take."""
    rows = np.arange(len(images))

    def batches() -> Iterator[torch.Tensor]:
        return decode_batches(images, rows, np.zeros_like(rows), preprocessing, VIEWS, PREFIX_BATCH)

    def taken(
        given: Iterable[torch.Tensor], compute: bool, threads: int | None = os.cpu_count()
    ) -> tuple[float, float]:
        """Images per second, and milliseconds of processor time per image."""
        torch.set_num_threads(threads or 1)
        began, used, done = time.perf_counter(), time.process_time(), 0
        for batch in given:
            if compute:
                prefix.run(batch)
            done += len(batch)
        return done / (time.perf_counter() - began), 1e3 * (time.process_time() - used) / done

    still = [next(batches())] * max(2, min(20, len(rows) // PREFIX_BATCH))
    decoding, decoding_ms = taken(batches(), compute=False)
    computing, _ = taken(still, compute=True)
    # Threads of torch that wait for each other use their processors up.
    _, prefix_ms = taken(still, compute=True, threads=1)
    both, _ = taken(batches(), compute=True)
    return Beside(decoding_ms, prefix_ms, decoding, computing, both)


def beside_networks(rounds: int, sides: list[int]) -> None:
    """Print what each prefix and decoding take, alone and together on the same cores: medians of rounds in turn."""
    print(
        "| backbone | longer side | KiB | decoding, ms of a core | prefix, ms of a core | prefix / decoding "
        "| decoding alone, images/s | prefix alone | both |\n" + "|---" * 9 + "|"
    )
    prefixes = {name: prefix_of(name) for name in NETWORKS}
    for longer, count in SIDES:
        if longer not in sides:
            continue
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
            os.environ["RETOP_CACHE"] = cache
            write_photos(Path(folder), longer, count)
            size = statistics.mean(path.stat().st_size for path in Path(folder).rglob("*.jpg")) / 1024
            images = open_dataset(folder, DataRecipe(split=(0.9, 0.1, 0))).train
            found: dict[str, list[Beside]] = {name: [] for name in NETWORKS}
            for _ in range(1 + rounds):
                for name, (prefix, preprocessing) in prefixes.items():
                    found[name].append(beside(images, prefix, preprocessing))
            for name, measured in found.items():
                # The first round warms up.
                middle = Beside(*map(statistics.median, zip(*map(astuple, measured[1:]), strict=True)))
                figures = (middle.decoding_ms, middle.prefix_ms, middle.prefix_ms / middle.decoding_ms)
                rates = (middle.decoding_per_second, middle.prefix_per_second, middle.both_per_second)
                cells = [name, f"{longer} (n = {len(images)})", f"{size:.0f}", *(f"{figure:.2f}" for figure in figures)]
                print("|", " | ".join([*cells, *(f"{rate:.0f}" for rate in rates)]), "|", flush=True)


def main() -> int:
    """Print the table; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", action="store_true", help="measure beside frozen prefixes instead")
    parser.add_argument("--sides", type=int, nargs="+", default=[longer for longer, _ in SIDES], help="of --networks")
    given = parser.parse_args()
    if given.networks:
        beside_networks(given.rounds, given.sides)
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
