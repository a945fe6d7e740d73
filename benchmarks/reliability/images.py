"""Bars D1 to D8: images that are hostile, odd or very many. Each prints one line with its figure.

python benchmarks/reliability/images.py                    all of them
python benchmarks/reliability/images.py malformed --count 10000
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from malformed import DISGUISES, gif_bomb, malformed_files, png_bomb  # noqa: E402

SLOWEST_SECONDS = 5.0
PER_PROCESS = 500
MILLION_SECONDS, MILLION_BYTES = 60.0, 300 * 2**20


def malformed(count: int) -> bool:
    """D1: no crash, no hang, each read or refused with its name; every part in a process of its own."""
    outcomes: Counter[str] = Counter()
    slowest, largest = 0.0, 0
    for start in range(0, count, PER_PROCESS):
        asked = [
            sys.executable,
            __file__,
            "part",
            "--count",
            str(min(PER_PROCESS, count - start)),
            "--start",
            str(start),
        ]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=600)
        if answer.returncode:
            outcomes["crashed"] += 1
            print(answer.stderr[-500:])
            continue
        said = json.loads(answer.stdout.splitlines()[-1])
        outcomes.update(said["outcomes"])
        slowest, largest = max(slowest, said["slowest"]), max(largest, said["memory"])
    print(
        f"D1 malformed files: {count:,}; {dict(outcomes)}; slowest {slowest:.2f} s; largest process "
        f"{largest / 2**20:,.0f} MiB"
    )
    return outcomes["crashed"] == outcomes["other error"] == 0 and slowest < SLOWEST_SECONDS


def part(count: int, start: int) -> bool:
    """Some of the files of D1, in this process."""
    from retop.data.decoding import decode_image, inspect_image
    from retop.errors import UnreadableImageError

    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number, (name, content) in enumerate(malformed_files(start + count)):
        if number < start:
            continue
        began = time.perf_counter()
        try:
            inspect_image(content, name)
            decode_image(content, name, 256)
            outcomes["read"] += 1
        except UnreadableImageError as error:
            outcomes["refused by name" if error.path == name and error.reason else "other error"] += 1
        except Exception as error:  # noqa: BLE001
            print(name, repr(error), file=sys.stderr)
            outcomes["other error"] += 1
        slowest = max(slowest, time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"outcomes": outcomes, "slowest": slowest, "memory": memory}))
    return True


def bombs() -> bool:
    """D2: a PNG of 50,000 x 50,000 pixels is refused, of 100,000 frames of a GIF the first is read, in a second."""
    from retop.data.decoding import decode_image, inspect_image
    from retop.errors import UnreadableImageError

    png, gif = png_bomb(), gif_bomb()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    try:
        inspect_image(png, "bomb.png")
        refused = False
    except UnreadableImageError:
        refused = True
    png_seconds = time.perf_counter() - began
    began = time.perf_counter()
    first = decode_image(gif, "many.gif").getpixel((0, 0)) == (200, 10, 10)
    gif_seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"D2 bombs: PNG of {len(png):,} bytes refused: {refused}, {png_seconds:.3f} s; GIF of {len(gif):,} bytes, "
        f"first frame read: {first}, {gif_seconds:.3f} s; memory grew by {grown:.0f} MiB"
    )
    return refused and first and max(png_seconds, gif_seconds) < 1


def disguised() -> bool:
    """D3: other formats named .jpg are refused."""
    from retop.data.decoding import decode_image
    from retop.errors import UnreadableImageError

    refused = 0
    for name, content in DISGUISES.items():
        try:
            decode_image(content, f"{name}.jpg")
        except UnreadableImageError:
            refused += 1
    print(f"D3 disguised formats: {refused} of {len(DISGUISES)} refused")
    return refused == len(DISGUISES)


def odd_places() -> bool:
    """D7: loops of links, pipes, closed folders, odd names, broken links, files that vanish."""
    from retop.data import open_source
    from retop.errors import UnreadableImageError
    from retop.events import ignore

    content = next(content for name, content in malformed_files(1))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = [
            "plain.jpg",
            "é.jpg",
            "e\u0301.jpg",
            "a\u202eb.jpg",
            "new\nline.jpg",
            "x" * 250 + ".jpg",
            " .jpg",
            "'\".jpg",
            "-rf.jpg",
        ]
        for label in ("a", "b"):
            (root / label).mkdir()
            for name in names:
                (root / label / name).write_bytes(content)
        with open(os.fsencode(root) + b"/a/\xff\xfe.jpg", "wb") as file:  # noqa: PTH123
            file.write(content)
        (root / "a/loop").symlink_to(root, target_is_directory=True)
        (root / "a/gone.jpg").symlink_to(root / "nothing")
        os.mkfifo(root / "a/pipe.jpg")
        (root / "closed").mkdir(mode=0)
        source = open_source(root)
        paths = source.scan(ignore).table["path"].to_pylist()
        (root / "a/plain.jpg").unlink()
        lost = 0
        for path in paths:
            try:
                source.read(path)
            except UnreadableImageError:
                lost += 1
        (root / "closed").chmod(0o700)
    print(f"D7 odd names and places: {len(paths)} listed of {2 * len(names) + 1} sound ones, {lost} vanished and named")
    return lost >= 1


def million(count: int, scratch: str | None) -> bool:
    """D8: a million files are listed in bounded time and memory, by a process that does nothing else."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        root = Path(folder)
        began = time.perf_counter()
        _make_files(root, count)
        made = time.perf_counter() - began
        said = [_listed(root) for _ in range(2)]
        began = time.perf_counter()
        shutil.rmtree(root, ignore_errors=True)
        removed = time.perf_counter() - began
        root.mkdir()
    print(
        f"D8 {count:,} files: listed in {said[0]['seconds']:.1f} s and again in {said[1]['seconds']:.1f} s, at most "
        f"{max(one['memory'] for one in said) / 2**20:.0f} MiB (made in {made:.0f} s, removed in {removed:.0f} s)"
    )
    return said[0]["seconds"] <= MILLION_SECONDS and max(one["memory"] for one in said) <= MILLION_BYTES


def listing(folder: str) -> bool:
    """One listing, in this process."""
    from retop.data import open_source
    from retop.events import ignore

    began = time.perf_counter()
    rows = open_source(folder).scan(ignore).table.num_rows
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - began, "memory": memory}))
    return True


def headers(count: int, scratch: str | None) -> bool:
    """D8: headers and hashes of small files, and a second opening."""
    import io

    from PIL import Image

    from retop.data.index import index_images
    from retop.data.sources import open_source
    from retop.events import ignore

    generator = np.random.default_rng(0)
    buffer = io.BytesIO()
    coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    with tempfile.TemporaryDirectory(dir=scratch) as folder, tempfile.TemporaryDirectory() as cache:
        os.environ["RETOP_CACHE"] = cache
        root = Path(folder)
        for number in range(count):
            place = root / f"class{number % 10}"
            place.mkdir(exist_ok=True)
            (place / f"{number}.jpg").write_bytes(buffer.getvalue() + number.to_bytes(4, "big"))
            os.utime(place / f"{number}.jpg", (1e9, 1e9))
        source = open_source(root)
        table = source.scan(ignore).table
        began, used = time.perf_counter(), time.process_time()
        index_images(source, table, ignore)
        first, spent = time.perf_counter() - began, time.process_time() - used
        began = time.perf_counter()
        index_images(source, source.scan(ignore).table, ignore)
        again = time.perf_counter() - began
    print(
        f"D8 headers, hashes and looks of {count:,} files of 64 px: {count / first:,.0f} files/s "
        f"({1e6 * spent / count:.0f} microseconds of CPU each); opened again in {again:.2f} s"
    )
    return count / first >= 8_000


def _make_files(root: Path, count: int) -> None:
    for number in range(100):
        (root / f"class{number:02d}").mkdir()
    for number in range(count):
        with open(f"{root}/class{number % 100:02d}/image-{number:07d}.jpg", "wb") as file:  # noqa: PTH123
            file.write(b"x")


def _listed(root: Path) -> dict[str, float]:
    answer = subprocess.run(
        [sys.executable, __file__, "listing", "--folder", str(root)], check=True, capture_output=True, text=True
    )
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> int:
    """Run what was asked for; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="all")
    parser.add_argument("--count", type=int)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--folder")
    parser.add_argument("--scratch", help="folder for the million files")
    given = parser.parse_args()
    steps: dict[str, Callable[[], bool]] = {
        "malformed": lambda: malformed(given.count or 10_000),
        "bombs": bombs,
        "disguised": disguised,
        "odd": odd_places,
        "headers": lambda: headers(given.count or 20_000, given.scratch),
        "million": lambda: million(given.count or 1_000_000, given.scratch),
    }
    if given.what == "part":
        return 0 if part(given.count, given.start) else 1
    if given.what == "listing":
        return 0 if listing(given.folder) else 1
    chosen = steps if given.what == "all" else {given.what: steps[given.what]}
    results = [step() for step in chosen.values()]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
