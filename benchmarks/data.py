"""Planted faults: how many the audit finds, and how much it says that is not so.

python benchmarks/data.py [--data FOLDER] [--images 1200]

Sound images come from a folder of real ones (../shared/data/cats_dogs, where it is there) or are drawn. They are split
at random into train, validation and test; then every kind of fault is planted in a copy of its own.
"""

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from retop.api import check
from retop.events import ignore
from retop.records import AuditRecord

CHECKOUT = Path(__file__).resolve().parents[1]
Files = dict[str, bytes]
Plant = Callable[[Files, np.random.Generator, int], set[str]]


def encoded(image: Image.Image, quality: int = 90, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def sound_images(folder: Path | None, count: int) -> Files:
    """Different images in two classes and three splits, by path."""
    generator = np.random.default_rng(0)
    if folder is not None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        chosen = generator.permutation(len(paths))[:count]
        contents = [encoded(opened(paths[n].read_bytes()), 92) for n in chosen]
    else:
        contents = [encoded(_drawn(n), 92) for n in range(count)]
    sides = np.array(["train"] * 7 + ["validation"] + ["test"] * 2)
    return {f"{sides[n % 10]}/{('cat', 'dog')[n // 10 % 2]}/{n:05d}.jpg": content for n, content in enumerate(contents)}


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


def give_away(change: Callable[[Image.Image], bytes]) -> Plant:
    """One class made in another way than the other."""

    def plant(files: Files, generator: np.random.Generator, count: int) -> set[str]:
        for name in files:
            if "/dog/" in name:
                files[name] = change(opened(files[name]))
        return {"D13"}

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
    "give-away: JPEG quality": ("D13", give_away(lambda image: encoded(image, 60))),
    "give-away: format": ("D13", give_away(lambda image: encoded(image, kind="PNG"))),
    "give-away: grey": ("D13", give_away(lambda image: _grey(image))),
}


def _grey(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("L").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def audited(files: Files, extra: Callable[[Path], None] = lambda root: None) -> AuditRecord:
    """The audit of some files in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        os.environ["RETOP_CACHE"] = cache
        root = Path(folder)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        extra(root)
        return check(root, listener=ignore)


def named(record: AuditRecord, code: str) -> set[str]:
    """Files that a finding names."""
    groups = next((finding.evidence.get("files", []) for finding in record.findings if finding.code == code), [])
    return {path for group in groups for path in group}


def stray(root: Path) -> None:
    """Folders and files that are no classes and no images."""
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        (root / "train" / name).mkdir()
        (root / "train" / name / "x.jpg").write_bytes(b"x")
    for name in ("Thumbs.db", "train/cat/notes.txt", "train/cat/desktop.ini"):
        (root / name).write_bytes(b"x")


def main() -> int:
    """Print the table; 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(os.environ.get("RETOP_SHARED", CHECKOUT.parent / "shared")) / "data/cats_dogs"
    parser.add_argument("--data", type=Path, default=shared if shared.is_dir() else None)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--planted", type=int, default=100)
    given = parser.parse_args()
    sound = sound_images(given.data, given.images)
    clean = audited(sound)
    already = {code: named(clean, code) for code in ("D01", "D02", "D03", "D04", "D06", "D07")}
    flagged = set().union(*already.values())
    print(f"{len(sound):,} images of {given.data or 'drawn noise'}; {given.planted} faults of each kind\n")
    print("| planted | finding | found | wrongly flagged images |\n|---|---|---|---|")
    print(f"| nothing | {', '.join(finding.code for finding in clean.findings) or 'none'} | | {len(flagged)} |")
    missed = False
    for name, (code, plant) in FAULTS.items():
        files = dict(sound)
        planted = plant(files, np.random.default_rng(1), given.planted)
        record = audited(files)
        if code == "D13":
            found = any(finding.code == code for finding in record.findings)
            print(f"| {name} | {code} | {'yes' if found else 'no'} | |")
            missed |= not found
            continue
        seen = named(record, code)
        origins = {path.replace("-planted", "") for path in planted}
        others = {path for path in seen - planted if _origin(path) not in {_origin(one) for one in origins}}
        wrong = others - already.get(code, set())
        share = len(seen & planted) / len(planted)
        print(f"| {name} | {code} | {len(seen & planted)} of {len(planted)} | {len(wrong)} |")
        missed |= share < (1 if code in ("D03", "D04") else 0.98) or len(wrong) > 0.001 * len(files)
    record = audited(sound, stray)
    ignored = next((finding.evidence for finding in record.findings if finding.code == "D16"), {})
    count = sum(ignored.get("tools", {}).values()) + sum(ignored.get("kinds", {}).values())
    print(f"| stray folders and files | D16 | {count} of 6 | {abs(record.images - clean.images)} |")
    return 1 if missed else 0


def _origin(path: str) -> str:
    return path.rpartition("/")[2].replace("-planted", "")


if __name__ == "__main__":
    sys.exit(main())
