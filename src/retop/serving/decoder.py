"""A process that decodes images and nothing else: what a hostile file can reach.

It reads frames from standard input and answers on standard output. A frame is its length in 8 bytes (big-endian) and
so many bytes. The answer begins with ``+`` and the pixels, or with ``-`` and the reason in words.
"""

import json
import os
import sys
from typing import BinaryIO

import numpy as np

from retop.data import preprocess_bytes
from retop.errors import UnreadableImageError
from retop.records import Preprocessing
from retop.schema import from_plain

LENGTH_BYTES = 8


def read_frame(stream: BinaryIO) -> bytes | None:
    """One frame, or None where the other side is gone."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    body = stream.read(length)
    return body if len(body) == length else None


def write_frame(stream: BinaryIO, *parts: bytes) -> None:
    """Write one frame and flush."""
    stream.write(sum(map(len, parts)).to_bytes(LENGTH_BYTES, "big"))
    for part in parts:
        stream.write(part)
    stream.flush()


def limit_memory(most_bytes: int) -> None:
    """Let this process have so much memory beyond what it has now; without effect where the system has no such limit."""
    try:
        import resource
    except ImportError:
        return
    with open("/proc/self/statm", encoding="ascii") if os.path.exists("/proc/self/statm") else open(os.devnull) as file:  # noqa: PTH110, PTH123
        fields = file.read().split()
    used = int(fields[0]) * resource.getpagesize() if fields else 0
    resource.setrlimit(resource.RLIMIT_AS, (used + most_bytes, used + most_bytes))
    # A crash of a decoder is an answer; it leaves no dump.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(content: bytes, preprocessings: list[Preprocessing], most_pixels: int) -> tuple[bytes, bytes]:
    """Decode one image for one model.

    Args:
        content: number of the model (4 bytes, big-endian), then the image's file.
        preprocessings: of the models.
        most_pixels: of an image.

    Returns:
        The parts of the answer's frame.
    """
    number = int.from_bytes(content[:4], "big")
    try:
        pixels = preprocess_bytes(content[4:], "image", preprocessings[number], most_pixels)
    except UnreadableImageError as error:
        return b"-", error.reason.encode()
    except MemoryError:
        return b"-", b"decoding it takes more memory than the server allows"
    return b"+", np.ascontiguousarray(pixels).tobytes()


def main() -> None:
    """Serve frames until standard input ends."""
    settings = json.loads(sys.argv[1])
    preprocessings = [from_plain(Preprocessing, plain) for plain in settings["preprocessings"]]
    stream, answers = sys.stdin.buffer, sys.stdout.buffer
    limit_memory(settings["memory_bytes"])
    write_frame(answers, b"ready")
    while (content := read_frame(stream)) is not None:
        write_frame(answers, *answer(content, preprocessings, settings["pixels"]))


if __name__ == "__main__":
    main()
