"""Frames between a process and those that work for it: a length in 8 bytes (big-endian) and so many bytes."""

import subprocess
from contextlib import suppress
from typing import IO

LENGTH_BYTES = 8


def read_frame(stream: IO[bytes]) -> bytes | None:
    """One frame, or None where the other side is gone."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    body = stream.read(length)
    return body if len(body) == length else None


def write_frame(stream: IO[bytes], *parts: bytes) -> None:
    """Write one frame and flush."""
    stream.write(sum(map(len, parts)).to_bytes(LENGTH_BYTES, "big"))
    for part in parts:
        stream.write(part)
    stream.flush()


def end_process(process: "subprocess.Popen[bytes]") -> None:
    """End a process that works for this one, whatever it does."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        # What was still to be written to a dead process is lost, as it should be.
        with suppress(OSError):
            if stream is not None:
                stream.close()
