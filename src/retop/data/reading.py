"""One pass over many files: what each one holds, or why it cannot be read."""

import hashlib
import os
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from queue import SimpleQueue

import pyarrow as pa

from retop.data.frames import end_process, read_frame, write_frame
from retop.data.inspector import FACTS, inspect_contents, pack
from retop.data.sources import ImageSource
from retop.errors import UnreadableImageError
from retop.events import Listener, PartAdvanced, PartFinished, PartStarted

READING = "images: reading headers"
DECODING = "images: reading and decoding"
MANY = 5_000
"""From so many files on, processes are worth the second that they take to start."""

MOST_PROCESSES = 16
COMMAND = (sys.executable, "-P", "-c", "from retop.data.inspector import main; main()")
"""Without the working folder on the path, where a user may have a json.py."""

CRASHED = "reading it crashes the decoder"

# Each process has one core to itself.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_CHUNK = 32
# While one request waits for its answer, others can.
_WAITING_THREADS = 16
_WAITING_CHUNK = 4
_CHUNK_BYTES = 8 * 2**20
_Inspect = Callable[[Sequence[bytes], bool], pa.RecordBatch]


def read_files(
    source: ImageSource, paths: pa.ChunkedArray, decode: bool, listener: Listener, processes: int | None = None
) -> pa.Table:
    """Read files, many at once.

    Files of a few kilobytes cost more Python than decoding, and threads share one lock for it: many files are therefore
    handed to processes.

    Args:
        source: where they are.
        paths: as the source names them.
        decode: whether pixels are decoded, which alone finds damage behind a header.
        listener: receives progress.
        processes: how many decode; 0 for threads of this process alone; None for what the number of files is worth.

    Returns:
        A row of `FACTS` for each path, in their order.
    """
    if processes is None:
        processes = processes_for(len(paths))
    part = DECODING if decode else READING
    listener(PartStarted(part, len(paths), "images"))
    started, found = time.perf_counter(), []
    with ExitStack() as stack:
        inspect, threads = _inspectors(processes, stack)
        threads, chunk = (max(threads, _WAITING_THREADS), _WAITING_CHUNK) if source.waits else (threads, _CHUNK)
        for batch in _in_order(source, paths, decode, inspect, threads, chunk):
            found.append(batch)
            listener(PartAdvanced(part, batch.num_rows))
    listener(PartFinished(part, time.perf_counter() - started))
    return pa.Table.from_batches(found, FACTS)


def processes_for(num_files: int) -> int:
    """How many processes reading so many files is worth; 0 for threads of this one alone."""
    return min(available_cores(), MOST_PROCESSES) if num_files >= MANY else 0


def available_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Inspectors:
    """Processes that inspect files; one that dies is replaced, and the file that it died of is named.

    Args:
        count: how many.
        command: what to start.

    Raises:
        OSError: none can be started.
    """

    def __init__(self, count: int, command: Sequence[str]) -> None:
        self._command = command
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        started = [self._start() for _ in range(count)]
        for process in started:
            self._idle.put(process)
        if any(_answer(process) != b"ready" for process in started):
            self.close()
            raise ChildProcessError(f"{command[0]} cannot be started")

    def inspect(self, contents: Sequence[bytes], decode: bool) -> pa.RecordBatch:
        """As `inspect_contents`."""
        process = self._idle.get()
        try:
            frame = _answer(process, *pack(contents, decode))
        finally:
            if process.poll() is not None:
                end_process(process)
                process = self._start()
                _answer(process)
            self._idle.put(process)
        if frame is not None:
            return pa.ipc.read_record_batch(pa.py_buffer(frame), FACTS)
        if len(contents) > 1:
            alone = [self.inspect([content], decode) for content in contents]
            return pa.Table.from_batches(alone).combine_chunks().to_batches()[0]
        row = {"content": hashlib.sha256(contents[0]).digest(), "decoded": decode, "problem": CRASHED}
        return pa.RecordBatch.from_pylist([row], FACTS)

    def close(self) -> None:
        """End the processes."""
        while not self._idle.empty():
            end_process(self._idle.get())

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
        )


def _inspectors(processes: int, stack: ExitStack) -> tuple[_Inspect, int]:
    """What inspects, and how many threads are to use it."""
    # Where no process can be started, threads do the same.
    with suppress(OSError):
        if processes:
            inspectors = Inspectors(processes, COMMAND)
            stack.callback(inspectors.close)
            return inspectors.inspect, processes
    # Pillow warns about odd metadata in files that decode well; nobody can act on it.
    stack.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return inspect_contents, available_cores()


def _in_order(
    source: ImageSource, paths: pa.ChunkedArray, decode: bool, inspect: _Inspect, threads: int, chunk: int
) -> Iterator[pa.RecordBatch]:
    pending: deque[Future[pa.Table]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="retop-index")
    try:
        for start in range(0, len(paths), chunk):
            pending.append(pool.submit(_read_some, source, paths.slice(start, chunk).to_pylist(), decode, inspect))
            if len(pending) > 2 * threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read_some(source: ImageSource, paths: list[str], decode: bool, inspect: _Inspect) -> list[pa.RecordBatch]:
    batches = []
    contents: list[bytes] = []
    problems: list[str | None] = []
    for at, path in enumerate(paths):
        try:
            contents.append(source.read(path))
            problems.append(None)
        except UnreadableImageError as error:
            contents.append(b"")
            problems.append(error.reason)
        # Photos of many megabytes are not all held at once.
        if at == len(paths) - 1 or sum(map(len, contents)) >= _CHUNK_BYTES:
            batches.append(_named(inspect(contents, decode), problems))
            contents, problems = [], []
    return batches


def _named(batch: pa.RecordBatch, problems: Sequence[str | None]) -> pa.RecordBatch:
    """Facts of files, some of which could not be read at all."""
    if not any(problems):
        return batch
    unread = pa.array([problem is not None for problem in problems])
    columns = dict(zip(FACTS.names, batch.columns, strict=True))
    columns["content"] = pa.compute.if_else(unread, pa.scalar(None, pa.binary(32)), columns["content"])
    columns["problem"] = pa.compute.coalesce(pa.array(problems, pa.string()), columns["problem"])
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=FACTS)


def _answer(process: "subprocess.Popen[bytes]", *parts: bytes) -> bytes | None:
    """What the process says, having been asked something or not; None where it is dead."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if parts:
            write_frame(process.stdin, *parts)
        frame = read_frame(process.stdout)
    except OSError:
        frame = None
    if frame is None:
        process.kill()
        process.wait()
    return frame
