"""How alike two pictures look: a hash that survives re-encoding and resizing, and a few colours beside it.

Source: the DCT hash of Zauner, Implementation and benchmarking of perceptual image hash functions, 2010, section 3.2.1.
Where we differ: 256 bits, and the sign of each coefficient instead of its side of the median, because mirroring a
picture then flips known bits.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
"""Pixels of the picture that is hashed."""

LOOKED_AT = 128
"""Pixels that are asked of the decoder. At 1/4 or 1/8 of its size a JPEG ends in a column that is only partly picture:
with a hundred columns, mirroring would then shift the picture by enough to flip 25 bits."""

HASH_BYTES = 32
COLOUR_BYTES = 48
PAIRS_PER_PICTURE = 256
"""Pairs that are compared for one word of the hash, for each picture and each mirrored one, in the mean."""

NEAR_BITS = 15
"""Pictures are near copies if at most this many of 256 bits differ. Measured on 1,200 flowers and 1,200 cats and dogs:
re-encoded at quality 70, resized to 80 % or mirrored, at most 13 differ; of different pictures at least 53. With 28,
98 % of photographs of 64 pixels that were halved at quality 50 are found (71 % with 15), and no other pair of 57,000
photographs; but digits in a common frame are then taken for each other."""

NEAR_LEVELS = 12.0
"""... and if their colours differ by at most this many levels of 255 in the mean."""

_PLAIN_LEVELS = 2.0
_FREQUENCIES = 16
# ITU-R BT.601, as Pillow has it in units of 1/65536.
_LUMINANCE = np.array([19595, 38470, 7471], dtype=np.float32)
_TILES = np.kron(np.eye(4), np.ones(SIDE // 4)).astype(np.float32)
_COSINES = np.cos(np.pi * np.outer(np.arange(_FREQUENCIES), 2 * np.arange(SIDE) + 1) / (2 * SIDE)).astype(np.float32)

Bytes = NDArray[np.uint8]
Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]


def shrink(image: Image.Image) -> Pixels:
    """What `look_at` looks at.

    Args:
        image: mode RGB, upright.

    Returns:
        uint8 [32, 32, 3].
    """
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0))


def look_at(small_n: Sequence[Pixels]) -> list[tuple[bytes, bytes] | tuple[None, None]]:
    """Hashes and colours of pictures.

    Args:
        small_n: of each picture what `shrink` made of it.

    Returns:
        For each picture the hash, 32 bytes, and 4 x 4 RGB colours, 48 bytes; None and None for one of one colour,
        which is like any other of its kind.
    """
    if not small_n:
        return []
    # Many small arrays cost more to begin with than to compute, so pictures are taken together. As float32 all these
    # whole numbers are exact.
    pixels = np.stack(small_n).astype(np.float32)
    grey = np.floor((pixels.reshape(-1, 3) @ _LUMINANCE + 0x8000) / 0x10000).reshape(-1, SIDE, SIDE)
    coefficients = _COSINES @ grey @ _COSINES.T
    # The mean brightness says nothing of the picture.
    coefficients[:, 0, 0] = 0
    bits = np.packbits(coefficients.reshape(len(pixels), -1) > 0, axis=1)
    columns = (_TILES @ pixels.reshape(-1, SIDE, SIDE * 3)).reshape(-1, 4, 4, SIDE // 4, 3).sum(axis=3)
    colours = np.floor(columns / (SIDE // 4) ** 2 + 0.5).astype(np.uint8)
    plain = grey.std(axis=(1, 2)) < _PLAIN_LEVELS
    return [(None, None) if plain[n] else (bits[n].tobytes(), colours[n].tobytes()) for n in range(len(pixels))]


def mirrored(hashes: Bytes, colours: Bytes) -> tuple[Bytes, Bytes]:
    """Hashes [N, 32] and colours [N, 48] of the same pictures, mirrored left to right."""
    odd = np.zeros((_FREQUENCIES, _FREQUENCIES), dtype=bool)
    odd[:, 1::2] = True
    turned = hashes ^ np.packbits(odd.ravel())
    return turned, colours.reshape(-1, 4, 4, 3)[:, :, ::-1].reshape(-1, COLOUR_BYTES)


def find_near(
    hashes: Bytes, colours: Bytes, useful: Callable[[Rows, Rows], NDArray[np.bool_]] | None = None
) -> Iterator[Rows]:
    """Pairs of pictures that look alike, as they are or one of them mirrored.

    Two hashes that differ in at most 15 bits agree in at least one of their 16 words of 16 bits. So only pictures that
    share such a word are compared, and every such pair is found, unless so many share the word that
    `PAIRS_PER_PICTURE` do not suffice.

    Args:
        hashes: [N, 32].
        colours: [N, 48].
        useful: tells which of some pairs, [P] and [P], are worth comparing; it may think of what was yielded so far, so
            that among thousands of like pictures few are compared. None for all.

    Yields:
        [P, 2]: two rows, the smaller one first; a pair may come several times. P is at most about 3 N.
    """
    count = len(hashes)
    turned_hashes, turned_colours = mirrored(hashes, colours)
    both, both_colours = np.concatenate([hashes, turned_hashes]), np.concatenate([colours, turned_colours])
    words = np.ascontiguousarray(both).view(np.uint16)
    found, size = [np.zeros((0, 2), np.int64)], 0
    for word_n in words.T:
        order = np.argsort(word_n, kind="stable")
        values = word_n[order]
        same = np.arange(len(order))
        for shift in range(1, _most_sharing(word_n)):
            # What is equal so far apart is so nearer by, too.
            same = same[same + shift < len(order)]
            same = same[values[same + shift] == values[same]]
            first, second = _worth(order[same], order[same + shift], count, useful)
            found.append(_alike(first, second, both, both_colours) % count)
            size += len(found[-1])
            if size >= count:
                yield np.sort(np.concatenate(found), axis=1)
                found, size = [], 0
    if size:
        yield np.sort(np.concatenate(found), axis=1)


def _most_sharing(word_n: NDArray[np.uint16]) -> int:
    """So many pictures that share a word are all compared with each other; of more, neighbours are."""
    sizes = np.bincount(np.bincount(word_n))
    # Of s pictures that share a word, s - d pairs lie at distance d in the sorted order: summed over all s > d.
    at_distance = np.cumsum(np.cumsum(sizes[:0:-1]))[::-1][1:]
    return 1 + int(np.searchsorted(np.cumsum(at_distance), PAIRS_PER_PICTURE * len(word_n), side="right"))


def count_crowded(hashes: Bytes) -> int:
    """Pictures of which `find_near` may miss a near copy.

    Args:
        hashes: [N, 32].

    Returns:
        How many share a word of their hash with so many others, mirrored ones included, that not all are compared.
    """
    turned, _ = mirrored(hashes, np.zeros((len(hashes), COLOUR_BYTES), np.uint8))
    words = np.ascontiguousarray(np.concatenate([hashes, turned])).view(np.uint16)
    crowded = np.zeros(len(hashes), dtype=bool)
    for word_n in words.T:
        crowded |= np.bincount(word_n)[word_n[: len(hashes)]] > _most_sharing(word_n)
    return int(crowded.sum())


def _worth(
    first: Rows, second: Rows, count: int, useful: Callable[[Rows, Rows], NDArray[np.bool_]] | None
) -> tuple[Rows, Rows]:
    """Those of some pairs that are to be compared; the rows from `count` on are the mirrored pictures."""
    # Two mirrored pictures are as alike as the pictures, and a picture may well be like its own mirror image.
    kept = ((first < count) | (second < count)) & (first % count != second % count)
    first, second = first[kept], second[kept]
    if useful is None:
        return first, second
    kept = useful(first % count, second % count)
    return first[kept], second[kept]


def _alike(first: Rows, second: Rows, hashes: Bytes, colours: Bytes) -> Rows:
    """Those of some pairs that are near copies."""
    # As eight bytes at a time, a quarter of the time of single ones.
    long = hashes.view(np.uint64)
    bits = np.bitwise_count(long[first] ^ long[second]).sum(axis=1)
    first, second = first[bits <= NEAR_BITS], second[bits <= NEAR_BITS]
    levels = np.abs(colours[first].astype(np.int16) - colours[second]).mean(axis=1)
    pairs: Rows = np.stack([first, second], axis=1)[levels <= NEAR_LEVELS]
    return pairs
