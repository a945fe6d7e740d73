"""All figures of a comparison, drawn by two processes: one alone would use one core, for many seconds."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from retop.data.frames import end_process
from retop.data.reading import available_cores
from retop.events import Listener, PartAdvanced, PartFinished, PartStarted, ignore
from retop.records import ComparisonRecord, read_record
from retop.report.figures import write_comparison_figures, write_run_figures

COMMAND = (sys.executable, "-P", "-c", "from retop.report.drawing import main; main()")
PART, DRAWN = "figures", b"drawn\n"
WORTH_A_PROCESS = 3
"""Runs; starting a process takes as long as drawing one or two of them."""


def write_all_figures(folder: Path, listener: Listener = ignore) -> None:
    """Draw a comparison and all of its runs.

    Args:
        folder: of the comparison, with comparison.json and the run folders it names.
        listener: receives progress, in runs.

    Raises:
        RunError: a record is missing or cannot be read.
    """
    started = time.perf_counter()
    rows = read_record(ComparisonRecord, folder / "comparison.json").rows
    left: SimpleQueue[Path] = SimpleQueue()
    for run in (folder / run for row in rows for run in row.runs):
        left.put(run)
    listener(PartStarted(PART, left.qsize(), "runs"))
    with _second_process(left, listener):
        write_comparison_figures(folder)
        _draw(left, listener)
    # Where the other process failed, its last run is left.
    _draw(left, listener)
    listener(PartFinished(PART, time.perf_counter() - started))


def main() -> None:
    """Draw each run that a line of the standard input names, and say so; ends with its input."""
    for line in sys.stdin:
        write_run_figures(Path(json.loads(line)))
        sys.stdout.write(DRAWN.decode())
        sys.stdout.flush()


def _draw(left: "SimpleQueue[Path]", listener: Listener) -> None:
    for run in _taken(left):
        write_run_figures(run)
        listener(PartAdvanced(PART, 1))


def _taken(left: "SimpleQueue[Path]") -> Iterator[Path]:
    with suppress(Empty):
        while True:
            yield left.get_nowait()


@contextmanager
def _second_process(left: "SimpleQueue[Path]", listener: Listener) -> Iterator[None]:
    """Another process that draws of what is left, too, where there is a core for it."""
    if left.qsize() < WORTH_A_PROCESS or available_cores() < 2:
        yield
        return
    with ExitStack() as stack:
        process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        stack.callback(end_process, process)
        feeder = Thread(target=_feed, args=(process, left, listener), daemon=True)
        feeder.start()
        stack.callback(feeder.join)
        try:
            yield
        except BaseException:
            process.kill()
            raise


def _feed(process: "subprocess.Popen[bytes]", left: "SimpleQueue[Path]", listener: Listener) -> None:
    """Let a process draw what is left, run by run; one that it does not draw is put back."""
    assert process.stdin is not None
    assert process.stdout is not None
    for run in _taken(left):
        answer = b""
        with suppress(OSError):
            process.stdin.write(json.dumps(str(run.absolute())).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if answer != DRAWN:
            left.put(run)
            return
        listener(PartAdvanced(PART, 1))
