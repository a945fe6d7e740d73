"""What binds alike images into groups, against writing down every pair; and the memory that it takes."""

import itertools
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from retop.data.audit.binding import AlikeAcross, Binding, groups_of
from retop.data.audit.copies import BLOCK, SIMILARITY, find_alike_embeddings, find_near_copies
from retop.data.audit.examined import Examined
from retop.data.likeness import COLOUR_BYTES, HASH_BYTES, find_near


def plainly_bound(pairs):
    """Rows that pairs connect, by walking from row to row."""
    beside = {}
    for one, other in pairs:
        beside.setdefault(one, set()).add(other)
        beside.setdefault(other, set()).add(one)
    groups, seen = [], set()
    for row in sorted(beside):
        if row not in seen:
            group, waiting = set(), [row]
            while waiting:
                at = waiting.pop()
                if at not in group:
                    group.add(at)
                    waiting += beside[at]
            seen |= group
            groups.append(sorted(group))
    return groups


def lists(groups):
    return [group.tolist() for group in groups]


@pytest.mark.parametrize("seed", range(20))
def test_bound_rows_are_those_that_a_walk_over_the_pairs_reaches(seed):
    generator = np.random.default_rng(seed)
    pairs = generator.integers(0, 60, (generator.integers(1, 60), 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    bound = Binding(60)
    for part in np.array_split(pairs, 3):
        bound.bind(*part.T)
    assert lists(groups_of(bound.least_n)) == plainly_bound(pairs.tolist())


@pytest.mark.parametrize("seed", range(60))
def test_copies_are_bound_as_if_every_pair_of_them_were_written_down(seed):
    generator = np.random.default_rng(seed)
    num_pictures, num_kinds = generator.integers(2, 6), generator.integers(1, 5)
    pictures = generator.integers(-1, num_pictures, 30)
    kinds = generator.integers(-1, num_kinds, 30)
    alike = [pair for pair in itertools.combinations(range(num_pictures), 2) if generator.random() < 0.5]
    across = AlikeAcross(pictures, kinds)
    for pair in alike:
        one, other = np.array(pair)[:, None]
        # What is said to bind nothing more may be left out.
        if across.lacks(one, other)[0]:
            across.bind(one, other)
    rows_of = [np.flatnonzero((pictures == picture) & (kinds >= 0)).tolist() for picture in range(num_pictures)]
    product = [(a, b) for one, other in alike for a in rows_of[one] for b in rows_of[other] if kinds[a] != kinds[b]]
    assert lists(across.groups()) == plainly_bound(product)


def copies(of_each, flipped_bits):
    """Two placeholders that look alike, each so many times, by turns in two classes and three splits."""
    hashes = np.random.default_rng(0).integers(0, 256, (1, HASH_BYTES), dtype=np.uint8).repeat(2, axis=0)
    hashes[1, :flipped_bits] ^= 1
    contents, both = [bytes([n]) * 32 for n in range(2)], np.arange(2 * of_each) % 2
    table = {
        "path": [f"{n:06d}.jpg" for n in range(2 * of_each)],
        "label": [("cat", "dog")[n % 3 == 0] for n in range(2 * of_each)],
        "split": [("train", "validation", "test")[n % 5 % 3] for n in range(2 * of_each)],
        "content": pa.array([contents[k] for k in both], pa.binary(32)),
        "hash": [hashes[k].tobytes() for k in both],
        "colours": [bytes(COLOUR_BYTES)] * (2 * of_each),
    }
    return Examined(pa.table(table))


def product(images, kinds):
    """Groups of paths, by every pair of files that show different pictures and differ in kind."""
    rows = range(len(images))
    contents, paths = images.texts("content"), images.texts("path")
    pairs = [(a, b) for a in rows for b in rows if contents[a] != contents[b] and kinds[a] != kinds[b]]
    return [[paths[row] for row in group] for group in plainly_bound(pairs)]


def test_near_copies_with_thousands_of_exact_copies_take_the_memory_of_the_files():
    few, many = copies(15, flipped_bits=3), copies(15_000, flipped_bits=3)
    leak, conflict = find_near_copies(few)
    assert leak.evidence["files"] == product(few, few.texts("split"))
    assert conflict.evidence["files"] == product(few, few.texts("label"))
    tracemalloc.start()
    found = list(find_near_copies(many))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A list of 225,000,000 pairs of copies would take 3.6 GB as numbers alone.
    assert peak < 60_000_000
    for small, large in zip((leak, conflict), found, strict=True):
        sizes = [1_000 * len(group) for group in small.evidence["files"]]
        assert [len(group) for group in large.evidence["files"]] == sizes
    tests = [path for path, side in zip(many.texts("path"), many.texts("split"), strict=True) if side == "test"]
    assert sorted(found[0].evidence["test"]) == tests and "30,000 of 30,000 files" in found[1].seen
    assert list(find_near_copies(copies(15, flipped_bits=16))) == []


def test_among_thousands_of_like_pictures_few_are_compared():
    count = 4_000
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 256, (1, HASH_BYTES), dtype=np.uint8).repeat(count, axis=0)
    hashes[np.arange(count), generator.integers(0, HASH_BYTES, count)] ^= 1
    sides = np.arange(count) % 3
    across, compared = AlikeAcross(np.arange(count), sides), []

    def useful(one, other):
        lacking = across.lacks(one, other)
        compared.append(lacking.sum())
        return lacking

    for pairs in find_near(hashes, np.zeros((count, COLOUR_BYTES), np.uint8), useful):
        across.bind(*pairs.T)
    assert lists(across.groups()) == [list(range(count))]
    assert sum(compared) < 10 * count


def embedded(count, num_features, distinct):
    """Images, and vectors near some directions, so that many pairs are nearly equal."""
    generator = np.random.default_rng(1)
    directions = generator.normal(size=(distinct, num_features)).astype(np.float32)
    # Copies of one content are as alike as other pictures, and still are none of them.
    content_n = generator.integers(0, count // 2, count)
    vectors = directions[content_n % distinct] * generator.uniform(0.1, 9, (count, 1))
    vectors += 0.02 * generator.normal(size=vectors.shape) * np.linalg.norm(vectors, axis=1, keepdims=True)
    sides = [("train", "train", "validation", "test", None)[k] for k in generator.integers(0, 5, count)]
    contents = [int(k).to_bytes(32, "big") for k in content_n]
    table = {"path": [f"{n:05d}" for n in range(count)], "split": sides, "content": pa.array(contents, pa.binary(32))}
    return Examined(pa.table(table)), vectors.astype(np.float32)


def test_embeddings_in_blocks_give_what_all_cosines_at_once_give():
    images, vectors = embedded(2 * BLOCK + 300, 16, 600)
    order = np.random.default_rng(2).permutation(len(images))[: 2 * BLOCK + 200]
    paths = [images.texts("path")[row] for row in order] + ["of no image"]
    (finding,) = find_alike_embeddings(images, paths, np.concatenate([vectors[order], vectors[:1]]))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    sides, contents, given = images.sides(), images.numbers("content"), np.isin(np.arange(len(images)), order)
    alike = (unit @ unit.T >= SIMILARITY) & (sides[:, None] != sides) & (contents[:, None] != contents)
    alike &= (given & (sides >= 0))[:, None] & (given & (sides >= 0))
    expected = plainly_bound(np.argwhere(alike).tolist())
    assert len(expected) > 100 and sum(map(len, expected)) > 1_000
    assert finding.evidence["files"] == [[images.texts("path")[row] for row in group] for group in expected][:1_000]
    assert finding.evidence["groups"] == len(expected)


def test_embeddings_that_are_all_alike_take_the_memory_that_is_said():
    images, vectors = embedded(6 * BLOCK, 8, 1)
    tracemalloc.start()
    (finding,) = find_alike_embeddings(images, images.texts("path"), vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000 + 200 * len(images)
    assert finding.evidence["groups"] == 1
