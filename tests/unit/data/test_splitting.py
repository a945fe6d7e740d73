import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retop.data.splitting import cut_at_fractions, split_by_content
from retop.errors import DataError

FRACTIONS = (0.7, 0.15, 0.15)


def hashes(names):
    return pa.array([hashlib.sha256(str(name).encode()).digest() for name in names], pa.binary(32))


def split(labels, names, fractions=FRACTIONS, seed=0):
    classes = [f"class {k}" for k in range(max(labels) + 1)]
    return split_by_content(np.array(labels), hashes(names), classes, fractions, seed)


@given(
    st.integers(3, 5000),
    st.sampled_from([FRACTIONS, (0.8, 0.1, 0.1), (0.5, 0.5, 0.0), (0.98, 0.01, 0.01), (1 / 3, 1 / 3, 1 / 3)]),
)
def test_cuts_add_up_and_are_within_one_of_the_fraction_or_the_minimum(count, fractions):
    counts = cut_at_fractions(count, fractions, "a")
    assert sum(counts) == count
    for got, fraction in zip(counts, fractions, strict=True):
        assert (got == 0) == (fraction == 0)
        assert got == 1 or abs(got - count * fraction) < 2


def test_cuts_are_exact_where_they_can_be():
    assert cut_at_fractions(10, (0.7, 0.2, 0.1), "a") == [7, 2, 1]
    assert cut_at_fractions(100, FRACTIONS, "a") == [70, 15, 15]
    assert cut_at_fractions(3, (0.98, 0.01, 0.01), "a") == [1, 1, 1]


def test_every_class_is_split_at_the_fractions():
    labels = [0] * 100 + [1] * 20 + [2] * 3
    sides = split(labels, range(123))
    assert np.bincount(sides[:100]).tolist() == [70, 15, 15]
    assert np.bincount(sides[100:120]).tolist() == [14, 3, 3]
    assert np.bincount(sides[120:]).tolist() == [1, 1, 1]


def test_the_split_does_not_depend_on_order():
    labels, names = np.repeat([0, 1], 50), np.arange(100)
    order = np.random.default_rng(0).permutation(100)
    assert np.array_equal(split(labels[order], names[order]), split(labels, names)[order])


def test_another_seed_gives_another_split():
    labels = [0] * 60
    assert np.array_equal(split(labels, range(60)), split(labels, range(60), seed=0))
    assert not np.array_equal(split(labels, range(60)), split(labels, range(60), seed=1))


def test_a_new_image_moves_few_others():
    before = split([0] * 200, range(200))
    after = split([0] * 201, range(201))[:200]
    assert (before != after).sum() <= 3


@pytest.mark.parametrize("seed", range(20))
def test_copies_share_a_side_within_and_across_classes(seed):
    names = [*range(30), 0, 0, 1, *range(100, 130), 5, 6, 7]
    labels = [0] * 33 + [1] * 33
    sides = split(labels, names, seed=seed)
    for name in set(names):
        assert len({int(side) for side, other in zip(sides, names, strict=True) if other == name}) == 1
    for k in (0, 1):
        distinct = {name: side for name, side, label in zip(names, sides, labels, strict=True) if label == k}
        counts = np.bincount(list(distinct.values()), minlength=3)
        assert abs(counts - np.array(FRACTIONS) * len(distinct)).max() < 2.5


def test_too_few_images_name_the_class_the_count_and_the_way_out():
    with pytest.raises(DataError, match=r"class 'class 1' has 2 different images, and train and validation and test"):
        split([0] * 9 + [1] * 2, range(11))
    assert split([0, 0, 1, 1], range(4), (0.8, 0.2, 0.0)).tolist().count(1) == 2
    with pytest.raises(DataError, match="has 1 different image, and train and validation need"):
        split([0, 0, 0], [1, 1, 1], (0.8, 0.2, 0.0))


def test_a_class_made_of_copies_of_another_is_refused_where_it_cannot_be_split():
    with pytest.raises(DataError, match="copies of images in other classes"):
        for seed in range(200):
            split([0] * 40 + [1] * 3, [*range(40), 0, 1, 2], seed=seed)
