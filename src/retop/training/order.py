"""Every random choice of training, derived from (seed, stage, epoch) alone."""

import hashlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any list of numbers and words; other lists give unrelated seeds."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def epoch_order(seed: int, stage: int, epoch: int, num_images: int) -> Rows:
    """The order of the images in one epoch: a permutation [N]."""
    return np.random.default_rng(derive_seed("order", seed, stage, epoch)).permutation(num_images)


def balanced_order(seed: int, stage: int, epoch: int, labels_n: npt.NDArray[np.int64]) -> Rows:
    """An epoch's order [N] in which every class that occurs has an equal share, to within one image.

    A class gives its images in random order, and all of them before any one again.
    """
    generator = np.random.default_rng(derive_seed("balanced order", seed, stage, epoch))
    present = generator.permutation(np.unique(labels_n))
    shares = np.full(len(present), len(labels_n) // len(present))
    shares[: len(labels_n) % len(present)] += 1
    drawn = []
    for label, share in zip(present, shares, strict=True):
        rows = np.flatnonzero(labels_n == label)
        rounds = [generator.permutation(rows) for _ in range(-(-share // len(rows)))]
        drawn.append(np.concatenate(rounds)[:share])
    return generator.permutation(np.concatenate(drawn))


def epoch_views(seed: int, stage: int, epoch: int, num_images: int, num_views: int) -> Rows:
    """The view of every image in one epoch: [N], each in 0 .. V-1."""
    return np.random.default_rng(derive_seed("views", seed, stage, epoch)).integers(0, num_views, num_images)


def batch_bounds(num_images: int, batch_size: int) -> list[tuple[int, int]]:
    """Batches of sizes that differ by one at most, so that none is too small for its statistics."""
    num_batches = max(1, -(-num_images // batch_size))
    edges = np.linspace(0, num_images, num_batches + 1).round().astype(int)
    return [(int(low), int(high)) for low, high in pairwise(edges)]
