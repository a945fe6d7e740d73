"""Frames between a process and those that decode for it: a length in 8 bytes (big-endian) and so many bytes."""

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
