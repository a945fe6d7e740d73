"""R1: SIGKILL at any moment, then go on: the result is the uninterrupted one, bit for bit.

A process that has loaded everything forks one child per attempt, so that a kill costs a second. A child is killed by a
real SIGKILL: from outside, at a random moment of a part; or by itself inside a save, at one of four points of
it. The same comparison is killed several times before it may finish.
"""

import mmap
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import small_comparison
from small_comparison import compare, keep_often, outcome, part_of

from retop.errors import RetopError
from retop.report import drawing

PARTS = ("plan", "prefix", "features", "stage 1", "stage 2", "evaluation", "report")
POINTS = ("half written", "written, not synced", "synced, not renamed", "renamed, folder not synced")
KILLS_IN_A_ROW = 8


@dataclass
class Wish:
    """When a child shall die: at a moment of a part (seconds of its processor time in it), or at a point of a save."""

    part: str = ""
    seconds: float = 0.0
    save: int = 0
    point: str = ""


@dataclass
class Board:
    """What a child tells its parent: the part it is in, saves so far; and what the parent saw of its parts.

    Attributes:
        spent: by part, the child's processor seconds in it, however often it began.
        seen: the child's processor seconds when it was last looked at.
    """

    shared: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 16))
    spent: dict[str, float] = field(default_factory=dict)
    seen: float = 0.0

    def tell_part(self, part: str) -> None:
        """Say which part has begun."""
        if part in PARTS:
            self.shared[0] = PARTS.index(part) + 1

    def tell_save(self) -> int:
        """Count a save; the number of it."""
        saves = int.from_bytes(self.shared[1:5], "little") + 1
        self.shared[1:5] = saves.to_bytes(4, "little")
        return saves

    @property
    def part(self) -> str:
        """The part at work."""
        return ("start", *PARTS)[self.shared[0]]

    @property
    def saves(self) -> int:
        """Saves so far."""
        return int.from_bytes(self.shared[1:5], "little")

    def clear(self) -> None:
        """Forget the child before."""
        self.shared[:] = bytes(16)
        self.spent, self.seen = {}, 0.0

    def watch(self, child: int) -> None:
        """Add what the child has computed since to the part at work."""
        now = processor_seconds(child)
        self.spent[self.part] = self.spent.get(self.part, 0.0) + max(0.0, now - self.seen)
        self.seen = max(self.seen, now)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def watch_saves(board: Board, wish: Wish) -> None:
    """Count the saves of this process, and die inside the one that is wished for."""
    fdopen, fsync, replace = os.fdopen, os.fsync, Path.replace
    here = {"save": 0, "synced": False}

    def opened(*arguments: Any, **named: Any) -> Any:
        file = fdopen(*arguments, **named)
        if "w" not in arguments[1]:
            return file
        here.update(save=board.tell_save(), synced=False)
        if here["save"] == wish.save and wish.point == "half written":
            write = file.write

            def half(content: bytes) -> int:
                write(bytes(content)[: len(content) // 2])
                file.flush()
                die()
                return 0

            # The file object of C takes no attributes.
            return type(
                "Half",
                (),
                {"__enter__": lambda self: self, "__exit__": lambda *_: None, "write": staticmethod(half)},
            )()
        return file

    def synced(descriptor: int) -> None:
        if here["save"] == wish.save and wish.point == "written, not synced":
            die()
        fsync(descriptor)

    def renamed(self: Path, target: Any) -> Path:
        if here["save"] == wish.save and wish.point == "synced, not renamed":
            die()
        result = replace(self, target)
        if here["save"] == wish.save and wish.point == "renamed, folder not synced":
            die()
        return result

    os.fdopen, os.fsync, Path.replace = opened, synced, renamed  # type: ignore[assignment,method-assign]


def run_child(
    work: Path, out: Path, cache: Path, board: Board, wish: Wish, draw: bool, log_file: Path | None = None,
    watch: Callable[[], None] = list,
) -> int:  # fmt: skip
    """Fork, run the comparison in the child, kill it where it is wished for.

    Args:
        work: folder of images and weights.
        out: of the comparison.
        cache: of the comparison.
        board: shows where the child is.
        wish: when it dies.
        draw: whether the report is drawn.
        log_file: receives what it says; None for a place beside `out`.
        watch: called in the child before it begins.

    Returns:
        Its exit status: 0 where it finished, -9 where it was killed.
    """
    board.clear()
    child = os.fork()
    if child == 0:
        log = os.open(log_file or out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 1
        try:
            two_processes = drawing.WORTH_A_PROCESS
            keep_often()
            # The one that draws beside the other outlives its kill for a moment.
            drawing.WORTH_A_PROCESS = two_processes if wish.part == "report" else drawing.WORTH_A_PROCESS
            watch_saves(board, wish)
            watch()
            compare(
                work, out, cache, lambda event: board.tell_part(part_of(event)), draw,
                lambda: board.tell_part("report"),
            )  # fmt: skip
            code = 0
        except RetopError as error:
            print(f"{type(error).__name__}: {error}")
            code = error.exit_code
        except BaseException:  # noqa: BLE001
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        board.watch(child)
        if wish.part and board.part == wish.part and board.spent.get(wish.part, 0.0) >= wish.seconds:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def processor_seconds(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


def wishes(number: int, in_saves: int, board: Board, seed: int) -> list[Wish]:
    """So many kills, so many of them inside a save; the others at moments of all parts alike."""
    chance = random.Random(seed)
    inside = [Wish(save=chance.randint(1, board.saves), point=POINTS[i % len(POINTS)]) for i in range(in_saves)]
    parts = [PARTS[1:][i % (len(PARTS) - 1)] for i in range(number - in_saves)]
    outside = [Wish(part, chance.uniform(0, board.spent.get(part, 0.0))) for part in parts]
    chosen = inside + outside
    chance.shuffle(chosen)
    return chosen


def kill_and_resume(work: Path, number: int, in_saves: int, seed: int = 0, draw: bool = True) -> dict[str, Any]:
    """Kill the comparison so many times, and compare what it gives in the end with the uninterrupted one.

    Args:
        work: an empty folder.
        number: kills.
        in_saves: how many of them inside a save.
        seed: chooses moments.
        draw: whether the report is drawn.

    Returns:
        Kills by part and by point of a save, finished comparisons, how many of them differ, with names, and what is
        left of temporary files.
    """
    import matplotlib.pyplot  # noqa: F401  (loaded before the fork, like everything else)

    small_comparison.prepare(work)
    board = Board()
    # All have the same name, for it stands in their records.
    whole = work / "whole" / "comparison"
    whole.parent.mkdir()
    if run_child(work, whole, work / "cache whole", board, Wish(), draw) != 0:
        raise RuntimeError(whole.with_suffix(".log").read_text())
    expected, saves, spent = outcome(whole), board.saves, dict(board.spent)
    left = wishes(number, in_saves, board, seed)
    kills: dict[str, int] = {}
    points: dict[str, int] = {}
    comparisons, different, partial, spare = 0, [], 0, random.Random(seed + 1)
    while left:
        out, cache = work / f"killed {comparisons}" / "comparison", work / f"cache {comparisons}"
        out.parent.mkdir(exist_ok=True)
        in_a_row = 0
        while True:
            wish = left[-1] if left and in_a_row < KILLS_IN_A_ROW else Wish()
            # An interrupted comparison saves less than a whole one: the later of its saves may never come.
            if wish.save and in_a_row:
                wish.save = spare.randint(1, max(1, saves // (in_a_row + 2)))
            code = run_child(work, out, cache, board, wish, draw)
            if code == 0:
                break
            if code != -signal.SIGKILL:
                raise RuntimeError(out.with_suffix(".log").read_text()[-4000:])
            left.pop()
            in_a_row += 1
            kills[board.part] = kills.get(board.part, 0) + 1
            if wish.point:
                points[wish.point] = points.get(wish.point, 0) + 1
        partial += sum(len(list(folder.rglob(".*.partial"))) for folder in (out, cache))
        found = outcome(out)
        if found != expected:
            names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
            different.append({"comparison": comparisons, "kills": in_a_row, "differs in": names})
        elif in_a_row:
            shutil.rmtree(out)
        shutil.rmtree(cache, ignore_errors=True)
        comparisons += 1
        print(f"{number - len(left)} of {number} kills, {comparisons} comparisons, {len(different)} differ", flush=True)
        if not in_a_row and left:
            # The moment that was wished for did not come; another one may.
            left[-1].seconds /= 2
            left.insert(0, left.pop())
    return {
        "kills": sum(kills.values()), "by part": kills, "inside a save": sum(points.values()), "by point": points,
        "comparisons": comparisons, "different": different, "temporary files left": partial,
        "saves of the whole": saves, "seconds of the whole": spent,
    }  # fmt: skip
