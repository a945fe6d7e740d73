"""R3: the disk is full at many different writes, on a real small file system; once there is space, nothing is lost."""

import random
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import small_comparison
from kills import Board, Wish, run_child
from small_comparison import outcome


class SmallDisk:
    """A file system in memory, of a size that can be changed."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], check=True)

    def resize(self, size_bytes: int) -> None:
        """Give it another size."""
        subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(self.folder)], check=True)

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


def fill_disks(work: Path, number: int, seed: int = 0) -> dict[str, Any]:
    """Run the comparison on disks that are too small, make them larger, and go on.

    Args:
        work: an empty folder.
        number: of disks.
        seed: chooses their sizes.

    Returns:
        What was said, how many ended otherwise than with one error of ours, and how many results differ.
    """
    small_comparison.prepare(work)
    board, chance = Board(), random.Random(seed)
    (work / "whole").mkdir()
    whole = work / "whole" / "comparison"
    if run_child(work, whole, work / "whole" / "cache", board, Wish(), True) != 0:
        raise RuntimeError(whole.with_suffix(".log").read_text())
    expected = outcome(whole)
    needed = sum(path.stat().st_size for path in (work / "whole").rglob("*") if path.is_file())
    said: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    other, different, full = [], 0, 0
    while full < number:
        disk = SmallDisk(work / "disk", int(needed * chance.uniform(0.02, 1.0)))
        try:
            # The log lies beside the disk: it has to say what happened.
            out, log = disk.folder / "comparison", work / "log"
            code = run_child(work, out, disk.folder / "cache", board, Wish(), True, log)
            if code != 0:
                full += 1
                parts[board.part] += 1
                last = log.read_text().strip().splitlines()[-1]
                said[re.sub(r"[^A-Za-z:].*", "", last)] += 1
                if code == 1 or "Error: " not in last:
                    other.append(log.read_text()[-2000:])
            log.unlink(missing_ok=True)
            disk.resize(2**30)
            code = run_child(work, out, disk.folder / "cache", board, Wish(), True, log)
            different += code != 0 or outcome(out) != expected
            if code != 0:
                other.append(log.read_text()[-2000:])
        finally:
            disk.remove()
            shutil.rmtree(disk.folder, ignore_errors=True)
        print(f"{full} of {number} full disks, {different} differ, {len(other)} without an error of ours", flush=True)
    return {
        "full disks": full, "said": dict(said), "by part": dict(parts), "other endings": other, "different": different,
    }  # fmt: skip
