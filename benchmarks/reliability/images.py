"""Bars D1 to D8: images that are hostile, odd or very many.

python benchmarks/reliability/images.py                    all of them
python benchmarks/reliability/images.py malformed --count 10000

Each prints its figures and leaves them in ``benchmarks/results/images-<name>.json``, with the number in the
name where it was another than the full one.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))
sys.path.insert(1, str(CHECKOUT / "benchmarks"))

from claims import run_claims  # noqa: E402

from malformed import DISGUISES, gif_bomb, malformed_files, png_bomb  # noqa: E402

SLOWEST_SECONDS = 5.0
PER_PROCESS = 500
LISTED_SECONDS, MILLION_BYTES = 60.0, 300 * 10**6
AGAIN_SECONDS, RATE = 10.0, 8_000
DATA = "tests/unit/data"
CLAIMS = {
    "D4 one decoding path": (
        f"{DATA}/test_decoding.py",
        f"{DATA}/test_views.py",
        f"{DATA}/test_batches.py",
        "tests/unit/predictor",
        "tests/unit/serving/test_decoder_pool.py",
    ),
    "D5 labels belong to names": (f"{DATA}/test_conformance.py", "tests/unit/artifact/test_folder.py"),
    "D6 exact copies on one side, near copies reported": (
        f"{DATA}/test_splitting.py",
        f"{DATA}/test_grouping.py",
        f"{DATA}/test_audit.py",
        f"{DATA}/test_rules.py",
    ),
}

Found = dict[str, Any]
"""Figures; ``holds`` says whether the bar is met."""


def malformed(count: int) -> Found:
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
    holds = outcomes["crashed"] == outcomes["other error"] == 0 and slowest < SLOWEST_SECONDS
    return {
        "files": count, "outcomes": dict(outcomes), "slowest seconds": round(slowest, 3),
        "largest process, MiB": round(largest / 2**20), "holds": holds,
    }  # fmt: skip


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


def bombs() -> Found:
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
    return {
        "PNG bytes": len(png), "PNG refused": refused, "PNG seconds": round(png_seconds, 4), "GIF bytes": len(gif),
        "GIF's first frame read": first, "GIF seconds": round(gif_seconds, 4), "memory grew, MiB": round(grown),
        "holds": refused and first and max(png_seconds, gif_seconds) < 1,
    }  # fmt: skip


def disguised() -> Found:
    """D3: other formats named .jpg are refused."""
    from retop.data.decoding import decode_image
    from retop.errors import UnreadableImageError

    refused = 0
    for name, content in DISGUISES.items():
        try:
            decode_image(content, f"{name}.jpg")
        except UnreadableImageError:
            refused += 1
    return {"formats": len(DISGUISES), "refused": refused, "holds": refused == len(DISGUISES)}


def odd_places() -> Found:
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
        os.mkdir(os.fsencode(root) + b"/caf\xe9")  # noqa: PTH102
        with open(os.fsencode(root) + b"/caf\xe9/0.jpg", "wb") as file:  # noqa: PTH123
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
    sound = 2 * len(names) + 2
    holds = lost == 1 and len(paths) == sound
    return {"sound": sound, "listed": len(paths), "vanished and named": lost, "root": os.geteuid() == 0, "holds": holds}


def claims() -> Found:
    """D4, D5, D6: what tests show."""
    with tempfile.TemporaryDirectory() as folder:
        found = run_claims(Path(folder), CLAIMS)
    return {**found, "holds": not any(claim["failed"] for claim in found.values())}


def million(count: int, scratch: str | None, made: str | None) -> Found:
    """D8: a million small photos: listed, headers and hashes read, and opened again, each by a process of its own."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder, tempfile.TemporaryDirectory(dir=scratch) as cache:
        root = Path(made or folder)
        if made is None:
            write_small_photos(root, count)
        # What is measured is warm: each step is made once before, with an index that is thrown away.
        found: Found = {}
        for turn in ("cold", "warm"):
            steps = ("list", "read headers", "open again")
            found[turn] = {step: _measured(step, root, f"{cache}/{turn}") for step in steps}
            print(turn, found[turn], flush=True)
    listed, read, again = found["warm"].values()
    small = listed["memory, MiB"] * 2**20 <= MILLION_BYTES and listed["seconds"] <= LISTED_SECONDS
    holds = small and read["files per second"] >= RATE and again["seconds"] <= AGAIN_SECONDS
    return {**found, "holds": holds}


def decoding(count: int, scratch: str | None) -> Found:
    """D8: the pass that a run makes: headers, hashes, pixels and looks of small photos."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder, tempfile.TemporaryDirectory(dir=scratch) as cache:
        write_small_photos(Path(folder), count)
        said = [_measured("decode", Path(folder), f"{cache}/{turn}") for turn in range(3)]
    return {"runs": said, "holds": True}


def measured(step: str, folder: str) -> bool:
    """One step on the files of a folder, in this process."""
    from retop.data.index import index_images
    from retop.data.sources import open_source
    from retop.events import ignore

    source = open_source(folder)
    listed = None if step in ("list", "open again") else source.scan(ignore).table
    began, used = time.perf_counter(), sum(os.times()[:4])
    table = source.scan(ignore).table if listed is None else listed
    if step != "list":
        table = index_images(source, table, ignore, decode=step == "decode")
    seconds, cpu = time.perf_counter() - began, sum(os.times()[:4]) - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {
        "files": table.num_rows, "seconds": round(seconds, 2), "files per second": round(table.num_rows / seconds),
        "microseconds of CPU each": round(1e6 * cpu / table.num_rows), "memory, MiB": round(memory),
    }  # fmt: skip
    print(json.dumps(figures))
    return True


def write_small_photos(root: Path, count: int) -> None:
    """Different JPEGs of 64 pixels in a hundred classes, with an old time, since new files are not remembered."""
    generator = np.random.default_rng(0)
    contents = []
    for _ in range(64):
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        contents.append(buffer.getvalue())
    for number in range(100):
        (root / f"class{number:02d}").mkdir()
    for number in range(count):
        path = f"{root}/class{number % 100:02d}/image-{number:07d}.jpg"
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(contents[number % 64] + number.to_bytes(4, "big"))
        os.utime(path, (1e9, 1e9))


def _measured(step: str, root: Path, cache: str) -> dict[str, float]:
    asked = [sys.executable, __file__, "measured", "--step", step, "--folder", str(root)]
    environment = {**os.environ, "RETOP_CACHE": cache}
    answer = subprocess.run(asked, check=True, capture_output=True, text=True, env=environment)
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> int | str:
    """Run what was asked for; what is missed, if a bar is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="all")
    parser.add_argument("--count", type=int)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--folder", help="small photos that are there already, for million")
    parser.add_argument("--scratch", help="folder for the files that are made")
    parser.add_argument("--step")
    given = parser.parse_args()
    if given.what == "part":
        return 0 if part(given.count, given.start) else 1
    if given.what == "measured":
        return 0 if measured(given.step, given.folder) else 1
    steps: dict[str, Callable[[], Found]] = {
        "malformed": lambda: malformed(given.count or 10_000),
        "bombs": bombs,
        "disguised": disguised,
        "claims": claims,
        "odd": odd_places,
        "decoding": lambda: decoding(given.count or 20_000, given.scratch),
        "million": lambda: million(given.count or 1_000_000, given.scratch, given.folder),
    }
    missed = []
    for name in steps if given.what == "all" else [given.what]:
        began = time.monotonic()
        found = steps[name]()
        # Only here: it loads torch, and processes that are started count the memory of this one as theirs.
        from section import write_section

        number = f"-{given.count}" if given.count else ""
        write_section(f"images-{name}{number}", found, time.monotonic() - began)
        missed += [] if found["holds"] else [name]
    return f"missed: {', '.join(missed)}" if missed else 0


if __name__ == "__main__":
    sys.exit(main())
