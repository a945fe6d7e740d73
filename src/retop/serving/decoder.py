"""A process that decodes images and nothing else: what a hostile file can reach.

It reads frames from standard input and answers on standard output. A frame is its length in 8 bytes (big-endian) and
so many bytes. The answer begins with ``+`` and the pixels, or with ``-`` and the reason in words.
"""

import json
import sys
from pathlib import Path

import numpy as np

from retop import bounds
from retop.data import preprocess_bytes
from retop.data.frames import read_frame, write_frame
from retop.errors import UnreadableImageError
from retop.records import Preprocessing
from retop.schema import from_plain


def limit_memory(most_bytes: int) -> None:
    """Let this process have so much memory beyond what it has now; without effect where there is no such limit."""
    try:
        import resource
    except ImportError:
        return
    try:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        used = 0
    resource.setrlimit(resource.RLIMIT_AS, (used + most_bytes, used + most_bytes))
    # A crash of a decoder is an answer; it leaves no dump.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(content: bytes, preprocessings: list[Preprocessing]) -> tuple[bytes, bytes]:
    """Decode one image for one model.

    Args:
        content: number of the model (4 bytes, big-endian), then the image's file.
        preprocessings: of the models.

    Returns:
        The parts of the answer's frame.
    """
    number = int.from_bytes(content[:4], "big")
    try:
        pixels = preprocess_bytes(content[4:], "image", preprocessings[number])
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
    # This process decodes for a server alone, whose limit is lower than that of our own images.
    bounds.PIXEL_LIMIT = settings["pixels"]
    limit_memory(settings["memory_bytes"])
    write_frame(answers, b"ready")
    while (content := read_frame(stream)) is not None:
        write_frame(answers, *answer(content, preprocessings))


if __name__ == "__main__":
    main()
