"""The limits of the audit's rules: found just inside, not found just outside; and docs/data.md says the same."""

import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from retop.api import check
from retop.data.audit import RULES
from retop.data.audit.copies import find_alike_embeddings, find_near_copies
from retop.data.audit.examined import Examined
from retop.data.audit.giveaway import find_give_aways, youden
from retop.data.likeness import COLOUR_BYTES, HASH_BYTES, find_near
from retop.events import ignore

from .pictures import encoded, picture, write_classes

CHECKOUT = Path(__file__).resolve().parents[3]
DOCUMENT = CHECKOUT / "docs/data.md"
sys.path.append(str(CHECKOUT / "benchmarks"))

from data_rules import RULES as RULES_OF_DATA  # noqa: E402
from mutations import named_test, source_of, taken_away  # noqa: E402


def found(place):
    return {finding.code: finding for finding in check(place, listener=ignore).findings}


def test_the_document_has_every_rule_with_its_name_and_level():
    rows = re.findall(r"^\| (D\d\d) \| ([^|]+) \| (\w+)", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert rows == [(rule.code, rule.name, rule.severity) for rule in RULES]


def test_every_rule_stands_in_the_source_and_can_be_taken_away():
    # That its test then fails is what benchmarks/mutations.py shows; it takes half an hour.
    rules = [rule for group in RULES_OF_DATA.values() for rule in group]
    for rule in rules:
        assert taken_away(rule, source_of(rule, CHECKOUT / "src").read_text("utf-8"))
        file, _, name = named_test(rule).partition("::")
        assert f"def {name.partition('[')[0]}(" in (CHECKOUT / file).read_text("utf-8"), rule.test
    assert [rule.code for rule in RULES if not any(one.says.startswith(rule.code) for one in rules)] == []


def test_nine_training_images_are_few_and_ten_are_not(tmp_path):
    write_classes(tmp_path / "train", {"a": 10, "b": 9})
    write_classes(tmp_path / "validation", {"a": 2, "b": 2}, 100)
    assert found(tmp_path)["D09"].evidence["classes"] == {"b": 9}


@pytest.mark.parametrize(("most", "unequal"), [(40, True), (39, False)])
def test_classes_are_badly_imbalanced_from_ten_times_on(tmp_path, most, unequal):
    write_classes(tmp_path / "train", {"a": most, "b": 4})
    write_classes(tmp_path / "validation", {"a": 2, "b": 2}, 100)
    assert ("D10" in found(tmp_path)) == unequal


def test_below_32_pixels_an_image_is_very_small(tmp_path):
    write_classes(tmp_path, {"a": 5, "b": 5})
    for side in (31, 32):
        (tmp_path / f"a/{side}.png").write_bytes(encoded(picture(50 + side, 90, side)))
    assert found(tmp_path)["D14"].evidence["files"] == [["a/31.png"]]


def alike(hashes, colours):
    """Every pair that is found, once."""
    return sorted({tuple(pair) for pairs in find_near(hashes, colours) for pair in pairs.tolist()})


@pytest.mark.parametrize(("bits", "levels", "near"), [(15, 12, True), (16, 12, False), (0, 13, False)])
@pytest.mark.parametrize("last", [15, 255])
def test_near_copies_differ_in_15_bits_and_12_levels_at_most(bits, levels, near, last):
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 256, (1, HASH_BYTES), dtype=np.uint8).repeat(2, axis=0)
    flipped = np.zeros(8 * HASH_BYTES, np.uint8)
    # Within one word of the hash, the other fifteen words are shared, so that nothing but the limit tells them apart.
    flipped[np.linspace(0, last, bits).astype(int)] = 1
    hashes[1] ^= np.packbits(flipped)
    colours = np.full((2, COLOUR_BYTES), 100, np.uint8)
    colours[1] += levels
    assert alike(hashes, colours) == ([(0, 1)] if near else [])


def test_copies_that_share_one_word_of_many_with_hundreds_are_found():
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 256, (400, HASH_BYTES), dtype=np.uint8)
    hashes[:, :2] = (90, 17)
    # One bit in each of the other words: the crowded word alone leads to the pair, and it lies at both of its ends.
    hashes[-1] = hashes[0] ^ np.array([0, 0] + [1, 0] * 15, np.uint8)
    assert alike(hashes, np.zeros((400, COLOUR_BYTES), np.uint8)) == [(0, 399)]


def examined(labels, **columns):
    count = len(labels)
    table = {"path": [f"{label}/{n:03d}.jpg" for n, label in enumerate(labels)], "label": labels}
    table |= {"format": ["JPEG"] * count, "mode": ["RGB"] * count, "width": [100] * count, "height": [100] * count}
    table |= {"quality": pa.array([90] * count, pa.int16())}
    return Examined(pa.table(table | columns))


def told(images):
    return [finding.evidence["properties"] for finding in find_give_aways(images)]


@pytest.mark.parametrize(("share", "given"), [(56, True), (44, False)])
def test_a_class_is_given_away_from_one_half_on(share, given):
    formats = ["PNG"] * share + ["JPEG"] * (100 - share) + ["JPEG"] * 100
    assert bool(told(examined(["a"] * 100 + ["b"] * 100, format=formats))) == given


@pytest.mark.parametrize(
    ("of_each", "given"), [((30, 30), True), ((30, 29), False), ((45, 15), True), ((46, 14), False)]
)
def test_give_aways_are_looked_for_from_60_images_and_in_classes_of_15(of_each, given):
    labels = ["a"] * of_each[0] + ["b"] * of_each[1]
    answer = told(examined(labels, format=["JPEG"] * of_each[0] + ["PNG"] * of_each[1]))
    assert any("b" in classes for properties in answer for classes in properties.values()) == given


def test_class_folders_are_no_give_away_however_the_system_spells_them(tmp_path):
    labels = ["b\u00e4r"] * 40 + ["dog"] * 40
    folders = ["ba\u0308r"] * 40 + ["dog"] * 40
    assert told(examined(labels, path=[f"{folder}/{n}.jpg" for n, folder in enumerate(folders)])) == []
    turned = [f"{folder}/{n}.jpg" for n, folder in enumerate(reversed(folders))]
    assert told(examined(labels, path=turned)) == [{"source folder": {"b\u00e4r": 1.0, "dog": 1.0}}]


def test_a_property_is_judged_on_images_that_its_rule_was_not_made_from():
    # Every image has a size of its own: on the images it was made from, a rule from sizes to classes is always right.
    scores = youden(np.arange(200), np.arange(200) % 2, 2)
    assert np.abs(scores).max() < 0.1


@pytest.mark.parametrize(("cosine", "alike"), [(0.981, True), (0.979, False)])
def test_embeddings_are_alike_from_a_cosine_of_098_on(cosine, alike):
    contents = pa.array([bytes([n]) * 32 for n in range(2)], pa.binary(32))
    images = examined(["a", "a"], split=["train", "test"], content=contents)
    vectors = np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)]], np.float32)
    assert bool(find_alike_embeddings(images, images.texts("path"), vectors)) == alike


@pytest.mark.parametrize(("sharing", "said"), [(550, []), (551, [551])])
def test_that_not_all_near_copies_were_looked_for_is_said_from_256_pairs_a_picture_on(sharing, said):
    # Upright and mirrored: 550 x 549 pairs are within 256 for each of 590 pictures and 590 mirrored ones.
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 256, (sharing + 40, HASH_BYTES), dtype=np.uint8)
    hashes[:sharing, 6:8] = (90, 17)
    columns = {
        "content": pa.array([n.to_bytes(32, "big") for n in range(len(hashes))], pa.binary(32)),
        "hash": [row.tobytes() for row in hashes],
        "colours": [bytes(COLOUR_BYTES)] * len(hashes),
        "split": ["train"] * len(hashes),
    }
    findings = list(find_near_copies(examined(["a"] * len(hashes), **columns)))
    assert [finding.evidence["images"] for finding in findings if finding.code == "D18"] == said
    assert len(findings) == len(said)
