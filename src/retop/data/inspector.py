"""What files hold, or why they cannot be read; as a process of its own where there are many.

The process reads frames from standard input: whether to decode (1 byte), how many files there are, and how long each
is (8 bytes each, little-endian), then the files. It answers on standard output with a record batch of `FACTS`.
"""

import hashlib
import signal
import struct
import sys
import warnings
from collections.abc import Sequence

import pyarrow as pa

from retop.data.decoding import ImageFacts, inspect_image, read_header
from retop.data.frames import read_frame, write_frame
from retop.data.likeness import COLOUR_BYTES, HASH_BYTES, look_at
from retop.errors import UnreadableImageError

FACTS = pa.schema(
    [
        ("content", pa.binary(32)),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("quality", pa.int16()),
        ("hash", pa.binary(HASH_BYTES)),
        ("colours", pa.binary(COLOUR_BYTES)),
        ("decoded", pa.bool_()),
        ("problem", pa.string()),
    ]
)
"""What is known of a file. ``content`` is its SHA-256; ``decoded`` says that its pixels were decoded, and ``hash`` and
``colours`` then how it looks (see `likeness`); ``problem`` says why it is no image that can be read."""

_HEADER = ("format", "mode", "width", "height", "quality")


def inspect_contents(contents: Sequence[bytes], decode: bool) -> pa.RecordBatch:
    """Find out what files are.

    Args:
        contents: of each file, all of it.
        decode: whether pixels are decoded, which alone finds damage behind a header.

    Returns:
        A row of `FACTS` for each.
    """
    facts, problems = zip(*(_inspect(content, decode) for content in contents), strict=True)
    looks = iter(look_at([fact.small for fact in facts if fact is not None and fact.small is not None]))
    hashes, colours = zip(
        *(next(looks) if fact is not None and decode else (None, None) for fact in facts), strict=True
    )
    columns: dict[str, Sequence[object]] = {name: [getattr(fact, name, None) for fact in facts] for name in _HEADER}
    columns |= {"content": [hashlib.sha256(content).digest() for content in contents], "problem": problems}
    columns |= {"hash": hashes, "colours": colours, "decoded": [decode] * len(contents)}
    return pa.RecordBatch.from_arrays([pa.array(columns[field.name], field.type) for field in FACTS], schema=FACTS)


def pack(contents: Sequence[bytes], decode: bool) -> tuple[bytes, ...]:
    """The parts of a frame that asks for `inspect_contents`."""
    lengths = struct.pack(f"<?Q{len(contents)}Q", decode, len(contents), *map(len, contents))
    return lengths, *contents


def unpack(frame: bytes) -> tuple[list[bytes], bool]:
    """What `pack` was given."""
    decode, count = struct.unpack_from("<?Q", frame)
    lengths = struct.unpack_from(f"<{count}Q", frame, 9)
    at, contents = 9 + 8 * count, []
    for length in lengths:
        contents.append(frame[at : at + length])
        at += length
    return contents, decode


def _inspect(content: bytes, decode: bool) -> tuple[ImageFacts | None, str | None]:
    try:
        return (inspect_image if decode else read_header)(content, ""), None
    except UnreadableImageError as error:
        return None, error.reason


def main() -> None:
    """Answer until standard input ends."""
    # Ctrl-C is for whoever started this process, and then ends its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Pillow warns about odd metadata in files that decode well; nobody can act on it.
    warnings.simplefilter("ignore")
    answers = sys.stdout.buffer
    write_frame(answers, b"ready")
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        write_frame(answers, inspect_contents(*unpack(frame)).serialize().to_pybytes())


if __name__ == "__main__":
    main()
