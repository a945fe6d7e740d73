"""Decoding against torchvision's transforms in a DataLoader with two workers, and the largest difference in pixels.

python benchmarks/data_decoding.py [--images 32]
python benchmarks/data_decoding.py --networks           instead: beside the quickest prefixes, does decoding keep up?
python benchmarks/data_decoding.py --networks --real    the same with photos of ../shared as they are
python benchmarks/data_decoding.py --runs NAME ...      instead: whole runs of networks, and what of them is decoding

The first leaves its figures in ``benchmarks/results/data-decoding.json``, with the number of images in the name where
it was another than the full one; the third in ``data-decoding-beside.json``; the last in ``data-decoding-runs.json``.
Both sides give 8-bit batches of 224 x 224 pixels, resized to 256 and cropped at the
centre with bicubic resampling.
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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from retop import train
from retop.activations import ActivationStore, store_views
from retop.activations.fill import FrozenComputation
from retop.activations.store import PREFIX_BATCH
from retop.backbones import ImageNetwork, build_backbone, choose_boundary, freeze, split_network
from retop.backbones.folding import fold_batch_norms
from retop.data import ImageSet, decode_batches, open_dataset
from retop.data.views import preprocess_bytes
from retop.events import ignore
from retop.recipe import DataRecipe, ViewsRecipe
from retop.records import Preprocessing
from retop.training import choose_runtime

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(1, str(CHECKOUT / "benchmarks/reliability"))

from section import write_section  # noqa: E402

IMAGES = 32
PREPROCESSING = Preprocessing(224, 224, 0.875, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
VIEWS = ViewsRecipe(preset="none", count=1)
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

SIDES = ((64, 160), (500, 80), (4000, 36))
"""Longer side of the photos, and how many."""

VERSIONS = ("retop", "torch", "torchvision", "pillow", "numpy")


class UsualImages(Dataset):
    """Images as most tutorials read them."""

    def __init__(self, files: list[str], preprocessing: Preprocessing) -> None:
        self.files = files
        side = round(preprocessing.height / preprocessing.crop_fraction)
        resize = v2.Resize(side, InterpolationMode(preprocessing.interpolation))
        self.transform = v2.Compose([resize, v2.CenterCrop(preprocessing.height), v2.PILToTensor()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.transform(Image.open(self.files[place]).convert("RGB"))


def real_photos(count: int) -> list[Path]:
    """Photos of cats and dogs, at most so many; none where they are absent."""
    shared = Path(os.environ.get("RETOP_SHARED", CHECKOUT.parent / "shared")) / "data/cats_dogs"
    return sorted(shared.rglob("*.jpg"))[:count]


def link_photos(folder: Path, count: int) -> None:
    """Real photos as they are."""
    for number, photo in enumerate(real_photos(count)):
        (folder / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (folder / "ab"[number % 2] / f"{number}.jpg").symlink_to(photo)


def write_photos(folder: Path, longer: int, count: int) -> None:
    """Real photos enlarged, with grain as cameras make it; drawn ones where there are no real ones."""
    sources = real_photos(count)
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


def usual(folder: Path, preprocessing: Preprocessing = PREPROCESSING) -> float:
    """Images per second of a DataLoader whose workers are up already."""
    files = sorted(str(path) for path in folder.rglob("*.jpg"))
    loader = DataLoader(UsualImages(files, preprocessing), batch_size=BATCH, num_workers=2, persistent_workers=True)
    next(iter(loader))
    began = time.perf_counter()
    done = sum(len(batch) for batch in loader)
    return done / (time.perf_counter() - began)


def difference(folder: Path) -> tuple[float, int]:
    """Mean and largest difference in pixels between the two, in levels of 255."""
    means, largest = [], 0
    transform = UsualImages([], PREPROCESSING).transform
    for path in sorted(folder.rglob("*.jpg")):
        content = path.read_bytes()
        mine = preprocess_bytes(content, path.name, PREPROCESSING).astype(int)
        theirs = transform(Image.open(io.BytesIO(content)).convert("RGB")).permute(1, 2, 0).numpy().astype(int)
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
    """One round: milliseconds of processor time for a view, which hold where others use the machine too."""

    usual_ms: float
    """torchvision's transform of view 0."""

    decoding_ms: float
    prefix_ms: float
    filling_ms: float
    """Filling the store: decoding, prefix, and what storing takes."""


def beside(
    images: ImageSet, prefix: FrozenComputation, preprocessing: Preprocessing, recipe: ViewsRecipe, files: list[str]
) -> Beside:
    """What torchvision, decoding, the prefix, and all of filling the store take."""
    # Threads of torch that wait for each other use their processors up.
    torch.set_num_threads(1)
    theirs = UsualImages(files, preprocessing)
    usual_ms = taken(theirs[place][None] for place in range(len(files)))
    decoding_ms = taken(decoded(images, preprocessing, recipe))
    still = next(decoded(images, preprocessing, VIEWS))
    prefix_ms = taken(computed(prefix, still, times=5))
    with tempfile.TemporaryDirectory() as store:
        where, views, used = ActivationStore(Path(store)), range(recipe.count), time.process_time()
        store_views(where, images, preprocessing, recipe, views, prefix, "", "", ignore)
        filling_ms = 1e3 * (time.process_time() - used) / (len(images) * recipe.count)
    return Beside(usual_ms, decoding_ms, prefix_ms, filling_ms)


def decoded(images: ImageSet, preprocessing: Preprocessing, recipe: ViewsRecipe) -> Iterator[torch.Tensor]:
    """All views of all images, as the store is filled: an image is decoded once for them."""
    rows = np.repeat(np.arange(len(images)), recipe.count)
    views = np.tile(np.arange(recipe.count), len(images))
    return decode_batches(images, rows, views, preprocessing, recipe, PREFIX_BATCH * recipe.count, ahead=1)


def computed(prefix: FrozenComputation, batch: torch.Tensor, times: int) -> Iterator[torch.Tensor]:
    """A batch, so many times, each time after the prefix took it."""
    for _ in range(times):
        prefix.run(batch)
        yield batch


def taken(batches: Iterable[torch.Tensor]) -> float:
    """Milliseconds of processor time per view."""
    used = time.process_time()
    done = sum(len(batch) for batch in batches)
    return 1e3 * (time.process_time() - used) / done


def beside_networks(rounds: int, sides: list[int]) -> None:
    """Print what each prefix and decoding take of a core, alone and together: medians of rounds in turn."""
    print(
        "| backbone | longer side | views | torchvision, ms of a core | decoding | prefix | prefix / decoding "
        "| filling the store |\n" + "|---" * 8 + "|"
    )
    for longer, count in SIDES:
        if longer in sides:
            with tempfile.TemporaryDirectory() as folder:
                write_photos(Path(folder), longer, count)
                print_beside(Path(folder), str(longer), rounds)


def beside_real_photos(rounds: int, count: int) -> int:
    """The same with real photos; writes the figures, and is 1 where by default decoding is the slower part."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        link_photos(Path(folder), count)
        sizes = [photo.stat().st_size for photo in Path(folder).rglob("*.jpg")]
        longer = [max(Image.open(photo).size) for photo in Path(folder).rglob("*.jpg")]
        rows = print_beside(Path(folder), f"{min(longer)} to {max(longer)}", rounds)
    holds = all(row["prefix / decoding"] >= 1 for row in rows if row["views"] == ViewsRecipe().count)
    about = {
        "photos": len(sizes),
        "bytes, mean": round(statistics.mean(sizes)),
        "longer side, median": statistics.median(longer),
    }
    found = {
        **about,
        "rounds": rounds,
        "rows": rows,
        "holds": holds,
        "versions": {name: version(name) for name in VERSIONS},
    }
    write_section("data-decoding-beside", found, time.monotonic() - began)
    return 0 if holds else 1


def print_beside(folder: Path, longer: str, rounds: int) -> list[dict[str, Any]]:
    """Print and give the figures of one folder of images: a row for each network and number of views."""
    prefixes = {name: prefix_of(name) for name in NETWORKS}
    cases = [(name, recipe) for name in NETWORKS for recipe in (VIEWS, ViewsRecipe())]
    files = sorted(str(path) for path in folder.rglob("*.jpg"))
    found: dict[tuple[str, ViewsRecipe], list[Beside]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["RETOP_CACHE"] = cache
        images = open_dataset(folder, DataRecipe(split=(0.9, 0.1, 0))).train
        for _ in range(1 + rounds):
            for name, recipe in cases:
                found[name, recipe].append(beside(images, *prefixes[name], recipe, files))
    rows = []
    for (name, recipe), measured in found.items():
        # The first round warms up.
        middle = Beside(*map(statistics.median, zip(*map(astuple, measured[1:]), strict=True)))
        usual_ms, decoding_ms, prefix_ms, filling_ms = astuple(middle)
        figures = (usual_ms, decoding_ms, prefix_ms, prefix_ms / decoding_ms, filling_ms)
        names = ("torchvision, ms", "decoding, ms", "prefix, ms", "prefix / decoding", "filling the store, ms")
        cells = [f"{figure:.2f}" for figure in figures]
        print(f"| {name} | {longer} (n = {len(images)}) | {recipe.count} |", " | ".join(cells), "|", flush=True)
        rounded = {what: round(figure, 2) for what, figure in zip(names, figures, strict=True)}
        rows.append({"backbone": name, "n": len(images), "views": recipe.count, **rounded})
    return rows


def whole_runs(names: list[str], longer: int, count: int) -> None:
    """Print and write what runs by the default recipe take of a core, and what of it decoding their views takes."""
    print("| backbone | images | run, s of a core | decoding of its views, s of a core | share |\n" + "|---" * 5 + "|")
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        os.environ["RETOP_CACHE"] = cache
        photos = Path(folder) / "photos"
        write_photos(photos, longer, count)
        data = open_dataset(photos, DataRecipe())
        for name in names:
            preprocessing = prefix_of(name)[1]
            sets = ((data.train, ViewsRecipe()), (data.validation, VIEWS))
            decoding = sum(
                taken(decoded(images, preprocessing, recipe)) * len(images) * recipe.count / 1e3
                for images, recipe in sets
            )
            used = time.process_time()
            train(photos, name, weights=None if name.startswith("pocket") else "random", out=Path(folder) / name)
            run = time.process_time() - used
            print(f"| {name} | {count} | {run:.1f} | {decoding:.1f} | {decoding / run:.1%} |", flush=True)
            rows.append({"backbone": name, "images": count, "run, s of a core": round(run, 1),
                         "decoding, s of a core": round(decoding, 1), "share": round(decoding / run, 3)})  # fmt: skip
    found = {"longer side": longer, "rows": rows, "versions": {name: version(name) for name in VERSIONS}}
    write_section("data-decoding-runs", found, time.monotonic() - began)


def main() -> int:
    """Print the table and write its figures; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", action="store_true", help="measure beside frozen prefixes instead")
    parser.add_argument("--real", action="store_true", help="of --networks: photos of ../shared as they are")
    parser.add_argument("--runs", nargs="+", metavar="NAME", help="measure whole runs of these networks instead")
    parser.add_argument("--sides", type=int, nargs="+", default=[longer for longer, _ in SIDES], help="of --networks")
    given = parser.parse_args()
    if given.real:
        return beside_real_photos(given.rounds, 8 * given.images)
    if given.networks:
        beside_networks(given.rounds, given.sides)
        return 0
    if given.runs:
        whole_runs(given.runs, 500, 8 * given.images)
        return 0
    torch.set_num_threads(1)
    began, sides = time.monotonic(), {}
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
        sides[f"{longer} pixels"] = {
            "n": count,
            "retop, images/s": round(mine, 1),
            "DataLoader, images/s": round(theirs, 1),
            "ratio": round(mine / theirs, 2),
            "bar": bar,
            "mean difference, levels of 255": round(mean, 2),
            "largest difference": largest,
        }
    holds = all(side["ratio"] >= side["bar"] for side in sides.values())
    found = {**sides, "rounds": given.rounds, "holds": holds, "versions": {name: version(name) for name in VERSIONS}}
    number = "" if given.images == IMAGES else f"-{given.images}"
    write_section(f"data-decoding{number}", found, time.monotonic() - began)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
