"""R3: the disk is full at many different writes, on a real small file system; once there is space, nothing is lost.

A whole run counts its writes by kind. Then, at a write that is drawn from each kind in turn, a file takes all space but
that for a part of what is written: the kernel itself says that there is none.
"""

import os
import random
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import small_comparison
from kills import Board, Wish, run_child
from small_comparison import outcome

DISK_BYTES = 2**28
BLOCK_BYTES = 4096
BALLAST = "ballast"
KINDS = {
    r"cache/index/.*": "image index", r".*/part-.*\.bin": "part of the store", r".*/entry\.json": "entry.json",
    r".*/checkpoints/.*": "checkpoint", r".*/model/model\.safetensors": "model.safetensors",
    r".*/model/config\.json": "model config", r".*/model/card\.md": "model card", r".*/figures/.*": "figure",
}  # fmt: skip
"""What the names of the disk's files stand for; the others, of which there are few, stand for themselves."""


class SmallDisk:
    """A file system in memory, of a size that can be changed."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], check=True)

    def remove(self) -> None:
        """Take it away, with all that is on it."""
        subprocess.run(["umount", str(self.folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may make file systems."""
    try:
        SmallDisk(folder, 2**20).remove()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@dataclass
class FullAt:
    """Fills the disk before the last block or more of one write; without a kind it only writes down all of them.

    Attributes:
        disk: where to look at writes.
        board: says which part is at work.
        journal: receives a line for each write.
        kind: of the write; empty for none.
        number: which one of its kind, counted from 0.
        share: of its bytes that still find room.
    """

    disk: Path
    board: Board
    journal: Path
    kind: str = ""
    number: int = 0
    share: float = 0.0

    def watch(self) -> None:
        """Look at every save of this process from here on."""
        fdopen, seen = os.fdopen, Counter[str]()

        def opened(*arguments: Any, **named: Any) -> Any:
            file = fdopen(*arguments, **named)
            path = Path(f"/proc/self/fd/{arguments[0]}").readlink()
            if "w" not in arguments[1] or not path.is_relative_to(self.disk):
                return file
            kind = self.kind_of(path.relative_to(self.disk))
            seen[kind] += 1
            with self.journal.open("a") as journal:
                journal.write(f"{kind}\n")
            if (kind, seen[kind] - 1) != (self.kind, self.number):
                return file
            return _Filling(file, self)

        os.fdopen = opened  # type: ignore[assignment]

    def kind_of(self, path: Path) -> str:
        """What a temporary file will be, in words."""
        # .model.partial is the model folder until it is whole.
        name = re.sub(r"\.(.+?)(\.[0-9a-f]{8})?\.partial", r"\1", str(path))
        kind = next((said for pattern, said in KINDS.items() if re.fullmatch(pattern, name)), Path(name).name)
        part = self.board.part if self.board.part.startswith("stage") else "before the stages"
        return f"{kind}, {part}" if kind == "checkpoint" else kind

    def fill(self, content_bytes: int) -> None:
        """Take all space but that for a part of a file."""
        left = int(self.share * content_bytes) // BLOCK_BYTES * BLOCK_BYTES
        free = shutil.disk_usage(self.disk).free - left
        with (self.disk / BALLAST).open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, free))


class _Filling:
    """A file whose disk becomes full when it is written."""

    def __init__(self, file: Any, full_at: FullAt) -> None:
        self._file, self._full_at = file, full_at

    def __enter__(self) -> "_Filling":
        return self

    def __exit__(self, *about: object) -> None:
        self._file.__exit__(*about)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: bytes | memoryview) -> int:
        """Fill the disk, then write."""
        self._full_at.fill(memoryview(content).nbytes)
        return int(self._file.write(content))


def choose_writes(counted: Counter[str], number: int, chance: random.Random) -> list[tuple[str, int]]:
    """So many writes: of each kind in turn, none twice.

    Args:
        counted: writes of a whole run by kind.
        number: how many.
        chance: draws among those of a kind.
    """
    left = {kind: chance.sample(range(count), count) for kind, count in sorted(counted.items())}
    chosen: list[tuple[str, int]] = []
    while len(chosen) < number and any(left.values()):
        chosen += [(kind, numbers.pop()) for kind, numbers in left.items() if numbers]
    return chosen[:number]


def fill_disks(work: Path, number: int, seed: int = 0) -> dict[str, Any]:
    """Run the comparison on disks that become full, make room, and go on.

    Args:
        work: an empty folder.
        number: of disks.
        seed: chooses the writes.

    Returns:
        Disks by the kind of write at which they were full, what was said, how many ended otherwise than with one error
        of ours, how many results differ, and what was left of temporary files.
    """
    import matplotlib.pyplot  # noqa: F401  (loaded before the fork, like everything else)

    small_comparison.prepare(work)
    board, chance, journal = Board(), random.Random(seed), work / "journal"
    (work / "whole").mkdir()
    whole = work / "whole" / "comparison"
    count = FullAt(work / "whole", board, journal)
    if run_child(work, whole, work / "whole" / "cache", board, Wish(), True, watch=count.watch) != 0:
        raise RuntimeError(whole.with_suffix(".log").read_text())
    expected, counted = outcome(whole), Counter(journal.read_text().splitlines())
    said: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    other, missed, different, left = [], [], 0, 0
    for kind, place in choose_writes(counted, number, chance):
        disk = SmallDisk(work / "disk", DISK_BYTES)
        try:
            # The log lies beside the disk: it has to say what happened.
            out, log = disk.folder / "comparison", work / "log"
            full = FullAt(disk.folder, board, journal, kind, place, chance.uniform(0, 0.99))
            code = run_child(work, out, disk.folder / "cache", board, Wish(), True, log, full.watch)
            if not (disk.folder / BALLAST).exists():
                missed.append(f"{kind} {place}")
            elif code != 0:
                kinds[kind] += 1
                last = log.read_text().strip().splitlines()[-1]
                said[re.sub(r"[^A-Za-z:].*", "", last)] += 1
                if code == 1 or "Error: " not in last:
                    other.append(log.read_text()[-2000:])
            else:
                kinds[f"{kind}, and done without"] += 1
            (disk.folder / BALLAST).unlink(missing_ok=True)
            log.unlink(missing_ok=True)
            code = run_child(work, out, disk.folder / "cache", board, Wish(), True, log)
            different += code != 0 or outcome(out) != expected
            left += len(list(disk.folder.rglob(".*.partial")))
            if code != 0:
                other.append(log.read_text()[-2000:])
        finally:
            disk.remove()
            shutil.rmtree(disk.folder, ignore_errors=True)
        print(f"{kinds.total()} of {number} full disks, {different} differ, {len(other)} other endings", flush=True)
    return {
        "full disks": kinds.total(), "by kind": dict(kinds), "writes of the whole": dict(counted), "said": dict(said),
        "did not come": missed, "other endings": other, "different": different, "temporary files left": left,
    }  # fmt: skip
