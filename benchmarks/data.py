"""Planted faults: how many the audit finds, and how much it says that is not so.

python benchmarks/data.py [--data PLACE ...] [--images 1200] [--planted 100]

Sound images come from folders, or Parquet files, of real ones (cats_dogs, flowers and tiny_imagenet of ../shared/data,
where they are there) or are drawn. They are split at random into train, validation and test, and into two classes that
mean nothing; then every kind of fault is planted in a copy of its own. Exit code 1 where an aim is missed. With
the usual places and numbers it leaves its figures in ``benchmarks/results/data-faults.json``.
"""

import argparse
import csv
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from retop.api import check
from retop.data.audit.examined import Examined
from retop.data.audit.giveaway import find_give_aways
from retop.data.sources import open_source
from retop.data.survey import survey_images
from retop.events import ignore
from retop.recipe import DataRecipe
from retop.records import AuditRecord

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(1, str(CHECKOUT / "benchmarks/reliability"))

from section import write_section  # noqa: E402

Files = dict[str, bytes]
Rows = dict[str, dict[str, str]]
Plant = Callable[[Files, np.random.Generator, int], set[str]]

MOST_WRONG = 0.001
LEAST_FOUND = {"D03": 1.0, "D04": 1.0}
"""Of what was planted, by finding; 0.98 of the others."""
HARD = ("resized to 50 %, quality 50",)
"""Told and not judged: a limit of the hash that finds them in small pictures takes drawings for each other."""


def encoded(image: Image.Image, quality: int = 90, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def sound_images(place: Path | None, count: int) -> Files:
    """Different images in two classes and three splits, by path; the file name is the number in the place."""
    if place is None:
        contents = {n: encoded(_drawn(n), 92) for n in range(count)}
    else:
        source = open_source(place)
        paths = sorted(survey_images(place, DataRecipe(), ignore, decode=False).readable["path"].to_pylist())
        chosen = np.random.default_rng(0).permutation(len(paths))[:count]
        contents = {int(n): encoded(opened(source.read(paths[n])), 92) for n in chosen}
    sides = np.array(["train"] * 7 + ["validation"] + ["test"] * 2)
    return {
        f"{sides[place_n % 10]}/{('cat', 'dog')[place_n // 10 % 2]}/{n:05d}.jpg": content
        for place_n, (n, content) in enumerate(contents.items())
    }


def _drawn(seed: int) -> Image.Image:
    """Noise of which the strength falls with frequency, as in photographs."""
    generator = np.random.default_rng([7, seed])
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(240), np.fft.fftfreq(240)))
    spectrum = generator.normal(size=(3, 240, 240)) + 1j * generator.normal(size=(3, 240, 240))
    waves = np.fft.ifft2(spectrum / np.maximum(frequency, 1 / 240)).real
    scaled = (waves - waves.min()) / (waves.max() - waves.min())
    return Image.fromarray((255 * scaled).astype(np.uint8).transpose(1, 2, 0))


def _from_train(files: Files, generator: np.random.Generator, count: int) -> list[str]:
    names = sorted(name for name in files if name.startswith("train/"))
    return [names[n] for n in generator.permutation(len(names))[:count]]


def leak(change: Callable[[bytes], bytes]) -> Plant:
    """Copies of training images in test, of the same class."""

    def plant(files: Files, generator: np.random.Generator, count: int) -> set[str]:
        planted = set()
        for name in _from_train(files, generator, count):
            target = name.replace("train/", "test/").replace(".jpg", "-planted.jpg")
            files[target] = change(files[name])
            planted.add(target)
        return planted

    return plant


def conflict(files: Files, generator: np.random.Generator, count: int) -> set[str]:
    """Copies of training images in the other class."""
    planted = set()
    for name in _from_train(files, generator, count):
        other = name.replace("/cat/", "/x/").replace("/dog/", "/cat/").replace("/x/", "/dog/")
        target = other.replace(".jpg", "-planted.jpg")
        files[target] = files[name]
        planted.add(target)
    return planted


def broken(files: Files, generator: np.random.Generator, count: int) -> set[str]:
    """Training images cut short."""
    names = set(_from_train(files, generator, count))
    for name in names:
        files[name] = files[name][: int(len(files[name]) * generator.uniform(0.05, 0.9))]
    return names


def lying(files: Files, generator: np.random.Generator, count: int) -> set[str]:
    """PNGs named .jpg."""
    names = set(_from_train(files, generator, count))
    for name in names:
        files[name] = encoded(opened(files[name]), kind="PNG")
    return names


def give_away(told: str, change: Callable[[Image.Image], bytes]) -> Plant:
    """One class made in another way than the other, so that a property of this name tells it."""

    def plant(files: Files, generator: np.random.Generator, count: int) -> set[str]:
        for name in files:
            if "/dog/" in name:
                files[name] = change(opened(files[name]))
        return {told}

    return plant


def resized(image: Image.Image, factor: float) -> Image.Image:
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.BICUBIC)


FAULTS: dict[str, tuple[str, Plant]] = {
    "exact copies across splits": ("D04", leak(lambda content: content)),
    "re-encoded at quality 70": ("D06", leak(lambda content: encoded(opened(content), 70))),
    "resized to 80 %": ("D06", leak(lambda content: encoded(resized(opened(content), 0.8)))),
    "mirrored": ("D06", leak(lambda content: encoded(opened(content).transpose(Image.Transpose.FLIP_LEFT_RIGHT)))),
    "resized to 50 %, quality 50": ("D06", leak(lambda content: encoded(resized(opened(content), 0.5), 50))),
    "label conflicts": ("D03", conflict),
    "files cut short": ("D01", broken),
    "PNG named .jpg": ("D02", lying),
    "give-away: JPEG quality": ("D13", give_away("JPEG quality", lambda image: encoded(image, 60))),
    "give-away: format": ("D13", give_away("format", lambda image: encoded(image, kind="PNG"))),
    "give-away: mode": ("D13", give_away("mode", lambda image: _grey(image))),
    "give-away: pixel size": ("D13", give_away("pixel size", lambda image: encoded(resized(image, 0.4), 92))),
    "give-away: aspect": ("D13", give_away("aspect", lambda image: encoded(_wide(image), 92))),
}


def _wide(image: Image.Image) -> Image.Image:
    """As many pixels, 2.5 times as wide as high."""
    height = round((image.width * image.height / 2.5) ** 0.5)
    return image.resize((round(2.5 * height), max(1, height)), Image.Resampling.BICUBIC)


def _grey(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("L").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def audited(files: Files, place: Callable[[Path], Path] = lambda root: root) -> AuditRecord:
    """The audit of some files in a folder of their own; `place` adds to it and says what is audited."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        os.environ["RETOP_CACHE"] = cache
        root = Path(folder)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return check(place(root), listener=ignore)


def named(record: AuditRecord, code: str) -> set[str]:
    """Files that a finding names."""
    groups = next((finding.evidence.get("files", []) for finding in record.findings if finding.code == code), [])
    return {path for group in groups for path in group}


def stray(root: Path) -> Path:
    """Folders and files that are no classes and no images."""
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        (root / "train" / name).mkdir()
        (root / "train" / name / "x.jpg").write_bytes(b"x")
    for name in ("Thumbs.db", "train/cat/notes.txt", "train/cat/desktop.ini"):
        (root / name).write_bytes(b"x")
    return root


def tabled(root: Path) -> Path:
    """A table whose classes lie in folders of their own, which have other names."""
    with (root / "table.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split"))
        for path in sorted(root.rglob("*.jpg")):
            split, folder, name = path.relative_to(root).parts
            rows.writerow((f"{split}/{folder}/{name}", {"cat": "kitten", "dog": "puppy"}[folder], split))
    return root / "table.csv"


def chance_alarms(place: Path, times: int) -> tuple[int, int]:
    """D13 where the classes mean nothing: labels dealt anew to the images as they are.

    Returns:
        How often something was said to give a class away, and the number of images.
    """
    table = survey_images(place, DataRecipe(), ignore, decode=False).readable.sort_by("path")
    column, alarms = table.column_names.index("label"), 0
    for seed in range(times):
        num_classes = (2, 5, 20)[seed % 3]
        labels = pa.array([f"class {k}" for k in np.random.default_rng(seed).integers(num_classes, size=len(table))])
        alarms += any(True for _ in find_give_aways(Examined(table.set_column(column, "label", labels))))
    return alarms, len(table)


def judge(place: Path | None, num_images: int, num_planted: int, times: int) -> tuple[bool, Rows]:
    """Print the table of one place; whether an aim is missed, and the table."""
    rows: Rows = {}
    sound = sound_images(place, num_images)
    clean = audited(sound)
    already = {code: named(clean, code) for code in ("D01", "D02", "D03", "D04", "D06", "D07")}
    flagged = {_origin(path) for path in set().union(*already.values())}
    print(f"\n{len(sound):,} images of {_title(place)}; {num_planted} faults of each kind\n")
    print("| planted | finding | found | wrongly flagged images |\n|---|---|---|---|", flush=True)
    _tell(rows, "nothing", _codes(clean), "", str(len(flagged)))
    missed = len(flagged) > MOST_WRONG * len(sound) or _says(clean, "D13")
    if flagged:
        print(f"flagged, to be looked at: {sorted(flagged)}", file=sys.stderr)
    for name, (code, plant) in FAULTS.items():
        files = dict(sound)
        planted = plant(files, np.random.default_rng(1), num_planted)
        record = audited(files)
        if code == "D13":
            missed |= _tell_property(rows, name, record, planted, sound, already)
            continue
        seen = named(record, code)
        origins = {_origin(path) for path in planted}
        wrong = {path for path in seen - planted if _origin(path) not in origins} - already.get(code, set())
        found = len(seen & planted)
        _tell(rows, name, code, f"{found} of {len(planted)}", f"{len(wrong)} of {len(files)}")
        missed |= name not in HARD and found / len(planted) < LEAST_FOUND.get(code, 0.98)
        missed |= len(wrong) > MOST_WRONG * len(files)
        missed |= _says(record, "D13")
    record = audited(sound, tabled)
    missed |= _tell_property(rows, "give-away: source folder", record, {"source folder"}, sound, already)
    missed |= _tell_stray(rows, audited(sound, stray), clean)
    if place is not None:
        alarms, count = chance_alarms(place, times)
        _tell(rows, f"labels dealt at random to all {count:,} images", "D13", "", f"{alarms} of {times}")
        missed |= alarms > 0.01 * times
    return missed, rows


def _tell(rows: Rows, name: str, code: str, found: str, wrong: str) -> None:
    """Print a row and keep it."""
    print(f"| {name} | {code} | {found} | {wrong} |", flush=True)
    rows[name] = {"finding": code, "found": found, "wrongly flagged": wrong}


def _tell_property(
    rows: Rows, name: str, record: AuditRecord, planted: set[str], sound: Files, already: dict[str, set[str]]
) -> bool:
    """Whether the property is missed, or images are flagged beside it."""
    told = next((finding.evidence["properties"] for finding in record.findings if finding.code == "D13"), {})
    # PNGs that are still named .jpg are rightly said to be (D02).
    codes = already.keys() - {"D02"}
    before = {_origin(path) for code in codes for path in already[code]}
    after = {_origin(path) for code in codes for path in named(record, code)}
    _tell(rows, name, "D13", "yes" if planted <= set(told) else "no", f"{len(after - before)} of {len(sound)}")
    return not planted <= set(told) or len(after - before) > MOST_WRONG * len(sound)


def _tell_stray(rows: Rows, record: AuditRecord, clean: AuditRecord) -> bool:
    ignored = next((finding.evidence for finding in record.findings if finding.code == "D16"), {})
    count = sum(ignored.get("tools", {}).values()) + sum(ignored.get("kinds", {}).values())
    _tell(rows, "stray folders and files", "D16", f"{count} of 6", str(abs(record.images - clean.images)))
    return count != 6 or record.images != clean.images


def _says(record: AuditRecord, code: str) -> bool:
    return any(finding.code == code for finding in record.findings)


def _codes(record: AuditRecord) -> str:
    return ", ".join(finding.code for finding in record.findings) or "none"


def _title(place: Path | None) -> str:
    return "drawn noise" if place is None else place.parent.name if place.suffix == ".parquet" else place.name


def main() -> int:
    """Print the tables; 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(os.environ.get("RETOP_SHARED", CHECKOUT.parent / "shared")) / "data"
    usual = [shared / name for name in ("cats_dogs", "flowers", "tiny_imagenet/train.parquet")]
    parser.add_argument("--data", type=Path, nargs="+", default=[place for place in usual if place.exists()] or [None])
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--planted", type=int, default=100)
    parser.add_argument("--deals", type=int, default=300, help="of labels at random")
    given, began = parser.parse_args(), time.monotonic()
    judged = {_title(place): judge(place, given.images, given.planted, given.deals) for place in given.data}
    missed = [title for title, (misses, _) in judged.items() if misses]
    if vars(given) == vars(parser.parse_args([])):
        found = {title: rows for title, (_, rows) in judged.items()}
        write_section("data-faults", {**found, "holds": not missed}, time.monotonic() - began)
    print(f"\naims missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


def _origin(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0].replace("-planted", "")


if __name__ == "__main__":
    sys.exit(main())
