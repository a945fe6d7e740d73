"""Groups and folds."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retop.data import open_dataset
from retop.data.grouping import bind, groups_by_pattern, split_by_group
from retop.errors import DataError, RecipeError, UsageError
from retop.events import ignore
from retop.recipe import DataRecipe
from retop.records import read_split, write_split

from .pictures import write_classes
from .places import some_images, write_table, write_zip

FRACTIONS = (0.7, 0.15, 0.15)


def contents(values):
    return pa.array([hashlib.sha256(str(value).encode()).digest() for value in values], pa.binary(32))


def divided(labels, groups, values=None, fractions=FRACTIONS, seed=0):
    values = range(len(labels)) if values is None else values
    classes = [f"class {k}" for k in range(max(labels) + 1)]
    text = pa.array([None if group is None else str(group) for group in groups], pa.string())
    return split_by_group(np.array(labels), contents(values), text, classes, fractions, seed)


@given(st.integers(0, 2**32), st.integers(30, 200), st.sampled_from([FRACTIONS, (0.2,) * 5]))
def test_groups_and_copies_are_never_divided_and_every_class_is_everywhere(seed, count, fractions):
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 25, count)
    labels = np.r_[np.arange(2).repeat(15), groups[30:] % 2]
    groups[:30] = np.arange(1000, 1030)
    values = generator.integers(0, 4 * count, count)
    values[:30] = -1 - np.arange(30)
    sides = divided(labels.tolist(), groups.tolist(), values.tolist(), fractions)
    for bound in (groups, values):
        for value in np.unique(bound):
            assert len(set(sides[bound == value])) == 1
    for k in range(2):
        assert set(sides[labels == k]) == set(range(len(fractions)))


def test_shares_are_kept_where_groups_are_small():
    labels = np.arange(1200) % 3
    sides = divided(labels.tolist(), (np.arange(1200) // 6).tolist())
    for k in range(3):
        shares = np.bincount(sides[labels == k]) / 400
        assert np.abs(shares - FRACTIONS).max() < 0.02


def test_the_order_of_the_images_does_not_matter():
    labels, groups = np.arange(90) % 2, np.arange(90) // 3
    sides = divided(labels.tolist(), groups.tolist())
    order = np.random.default_rng(1).permutation(90)
    again = divided(labels[order].tolist(), groups[order].tolist(), order.tolist())
    assert np.array_equal(again, sides[order])
    assert not np.array_equal(sides, divided(labels.tolist(), groups.tolist(), seed=1))


def test_what_is_bound_through_others_is_one_unit():
    groups = pa.array(["x", None, "y", "y", None], pa.string())
    units = bind(contents(["1", "1", "1", "2", "3"]), groups)
    assert units[0] == units[1] == units[2] == units[3] != units[4]


def test_one_group_for_a_whole_class_is_refused_with_the_class():
    with pytest.raises(DataError, match=r"class 'class 1': its images belong to 1 group, so that none is left for"):
        divided([0] * 20 + [1] * 20, list(range(20)) + ["one"] * 20)


def test_a_pattern_makes_the_groups(tmp_path):
    for n in range(24):
        write_classes(tmp_path, {f"{'ab'[n % 2]}/p{n // 2:02d}": 3}, 100 * n)
    for path in list(tmp_path.glob("*/*/*")):
        path.rename(path.parents[1] / f"{path.parent.name}-{path.name}")
        if not list(path.parent.iterdir()):
            path.parent.rmdir()
    data = open_dataset(tmp_path, DataRecipe(group_pattern=r"p(\d+)-"))
    held = [{path.as_py()[3:5] for path in images.paths} for images in (data.train, data.validation, data.test)]
    assert data.record.grouped and data.record.classes == ("a", "b")
    assert sum(map(len, held)) == 12 and len(set().union(*held)) == 12
    # As it was typed: no sign of it twice.
    with pytest.raises(UsageError, match=r"--group-pattern 'x\\d' is found in none of 72 paths"):
        open_dataset(tmp_path, DataRecipe(group_pattern=r"x\d"))
    with pytest.raises(UsageError, match="no regular expression"):
        open_dataset(tmp_path, DataRecipe(group_pattern="("))


@pytest.mark.parametrize(
    ("pattern", "groups"), [(r"p(\d)", ["1", "1", "2"]), (r"p\d", ["p1", "p1", "p2"]), (r"(p)\d", ["p", "p", "p"])]
)
def test_the_group_of_a_pattern_is_its_first_bracket_or_all_of_it(pattern, groups):
    paths = pa.chunked_array([["a/p1-x.png", "b/p1-y.png", "a/p2-(z).png"]])
    assert groups_by_pattern(paths, pattern, ignore).to_pylist() == groups


def test_what_a_pattern_finds_empty_is_no_group():
    paths = pa.chunked_array([["p1.png", "p.png", "x.png", "xp.png"]])
    assert groups_by_pattern(paths, r"(p\d)?", ignore).to_pylist() == ["p1", None, None, None]
    assert groups_by_pattern(paths, r"p(\d?)", ignore).to_pylist() == ["1", None, None, None]


def test_groups_of_rare_classes_are_placed_first():
    # Ten groups of 21 hold an image of the rare class each; single images, placed later, then make the shares exact.
    labels = [0] * 100 + ([0] * 20 + [1]) * 10
    sides = divided(labels, [f"alone {n}" for n in range(100)] + [f"many {n // 21}" for n in range(210)])
    assert np.bincount(sides[np.array(labels) == 1]).tolist() == [6, 2, 2]
    assert np.bincount(sides[np.array(labels) == 0]).tolist() == [210, 45, 45]


def test_a_column_makes_the_groups(tmp_path):
    file = write_table(tmp_path, some_images(12))
    lines = file.read_text().splitlines()
    rows = [f"{line},plant{n // 2}" for n, line in enumerate(lines[1:])]
    file.write_text("\n".join([lines[0] + ",plant", *rows]))
    data = open_dataset(file, DataRecipe(columns={"group": "plant"}))
    held = [set(images.groups.to_pylist()) for images in (data.train, data.validation, data.test)]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]


def test_every_image_is_tested_in_one_fold_and_validates_in_one(tmp_path):
    data = open_dataset(write_classes(tmp_path, {"a": 20, "b": 11}), DataRecipe(folds=5))
    folds = [data.in_fold(fold) for fold in range(5)]
    for name in ("test", "validation"):
        paths = [path for fold in folds for path in getattr(fold, name).paths.to_pylist()]
        assert len(paths) == len(set(paths)) == 31
    for number, fold in enumerate(folds):
        assert len(fold.train) + len(fold.validation) + len(fold.test) == 31
        assert not set(fold.train.paths.to_pylist()) & set(fold.test.paths.to_pylist())
        assert fold.validation.paths.equals(folds[(number + 1) % 5].test.paths)
        assert fold.record.fold == number and fold.record.folds == 5
        keys = list(zip(fold.train.labels_n, map(fold.train.content, range(len(fold.train))), strict=True))
        assert keys == sorted(keys)
    assert len({fold.record.fingerprint for fold in folds}) == 5
    assert data.record.fold is None and data.in_fold(None) is data


def test_folds_of_data_with_a_split_are_refused(tmp_path):
    for n, side in enumerate(("train", "validation")):
        write_classes(tmp_path / side, {"a": 6, "b": 6}, 50 * n)
    with pytest.raises(UsageError, match="has a split of its own"):
        open_dataset(tmp_path, DataRecipe(folds=3))
    with pytest.raises(RecipeError, match="at least 3; received 2"):
        DataRecipe(folds=2)


def test_too_many_folds_name_the_class(tmp_path):
    with pytest.raises(DataError, match=r"class 'b' has 3 different images.*fewer folds"):
        open_dataset(write_classes(tmp_path, {"a": 9, "b": 3}), DataRecipe(folds=4))


@pytest.mark.parametrize("recipe", [DataRecipe(), DataRecipe(folds=3)])
def test_a_split_file_gives_the_same_split_again(tmp_path, recipe):
    data = open_dataset(write_classes(tmp_path / "data", {"a": 9, "b": 9}), recipe)
    write_split(tmp_path / "split.parquet", data.split_table())
    again = open_dataset(tmp_path / "data", DataRecipe(split_seed=7, split_file=str(tmp_path / "split.parquet")))
    assert again.record.split_by == "file" and again.split_table() == data.split_table()
    assert again.record.fingerprint == data.record.fingerprint
    assert len(read_split(tmp_path / "split.parquet")) == 18


def test_a_split_file_of_a_person_is_taken_and_what_it_lacks_is_said(tmp_path):
    write_classes(tmp_path / "data", {"a": 4, "b": 4})
    sides = ("train", "val", "test")
    rows = [f"{'ab'[n // 4]}/{n}.png,{sides[n % 4]}" for n in range(8) if n % 4 < 3]
    (tmp_path / "split.csv").write_text("\n".join(["path,split", *rows, "a/gone.png,train"]))
    events = []
    data = open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "split.csv")), events.append)
    assert [len(images) for images in (data.train, data.validation, data.test)] == [2, 2, 2]
    said = " ".join(event.message for event in events if hasattr(event, "message"))
    assert "2 images are not in the split file" in said and "1 image is named by the split file" in said
    (tmp_path / "split.csv").write_text("path,split\na/0.png,holdout\n")
    with pytest.raises(UsageError, match="'holdout' is none of train"):
        open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "split.csv")))


def test_a_split_file_is_taken_though_its_archive_has_another_name(tmp_path):
    write_zip(tmp_path / "photos.zip", some_images(per_class=9))
    data = open_dataset(tmp_path / "photos.zip", DataRecipe())
    write_split(tmp_path / "split.parquet", data.split_table())
    (tmp_path / "photos.zip").rename(tmp_path / "renamed.zip")
    recipe = DataRecipe(split_seed=7, split_file=str(tmp_path / "split.parquet"))
    again = open_dataset(tmp_path / "renamed.zip", recipe)
    assert again.split_table()["split"] == data.split_table()["split"]
    assert again.record.fingerprint == data.record.fingerprint


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_split_file_of_a_spreadsheet_is_taken(tmp_path, separator):
    write_classes(tmp_path / "data", {"a": 3, "b": 3})
    rows = [separator.join((f"{'ab'[n // 3]}/{n}.png", ("train", "val", "test")[n % 3])) for n in range(6)]
    (tmp_path / "split.csv").write_text("\n".join([f"\ufeffpath{separator}split", *rows]), encoding="utf-8")
    data = open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "split.csv")))
    assert [len(images) for images in (data.train, data.validation, data.test)] == [2, 2, 2]
    (tmp_path / "split.csv").write_text("path,split\nelsewhere/0.png,train\n")
    with pytest.raises(UsageError, match=r"names no image of the data: it says 'elsewhere/0.png'.* like '[ab]/0.png'"):
        open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "split.csv")))


@pytest.mark.parametrize("form", ["Path,Split\n{path},{split}\n", "split, path\n{split}, {path}\n"])
def test_columns_of_a_split_file_are_named_as_those_of_a_table(tmp_path, form):
    write_classes(tmp_path / "data", {"a": 3, "b": 3})
    header, _, row = form.partition("\n")
    rows = [row.format(path=f"{'ab'[n // 3]}/{n}.png", split=("train", "val", "test")[n % 3]) for n in range(6)]
    (tmp_path / "split.csv").write_text("".join([header, "\n", *rows]))
    data = open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "split.csv")))
    assert [len(images) for images in (data.train, data.validation, data.test)] == [2, 2, 2]


def test_a_list_that_says_no_split_is_refused_as_a_split_file(tmp_path):
    write_classes(tmp_path / "data", {"a": 4, "b": 4})
    (tmp_path / "list.csv").write_text("path,code,reason\na/0.png,D04,copies\nb/4.png,D04,copies\n")
    with pytest.raises(UsageError, match="says no split and no fold; give it a column split"):
        open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "list.csv")))


def given_split(tmp_path, text):
    (tmp_path / "split.csv").write_text(text)
    return open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "split.csv")))


def test_a_split_file_with_splits_and_folds_is_refused(tmp_path):
    write_classes(tmp_path / "data", {"a": 3, "b": 3})
    rows = [f"{'ab'[n // 3]}/{n}.png,{('train', 'val', 'test')[n % 3]},{n % 3}" for n in range(6)]
    (tmp_path / "both.csv").write_text("\n".join(["path,split,fold", *rows]))
    with pytest.raises(UsageError, match="a split and a fold of each image"):
        open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "both.csv")))


def test_an_image_that_a_split_file_puts_on_two_sides_is_refused_and_a_repeated_row_counts_once(tmp_path):
    write_classes(tmp_path / "data", {"a": 4, "b": 4})
    rows = [f"{'ab'[n // 4]}/{n}.png, {('train', 'val', 'test', 'test')[n % 4]}" for n in range(8)]
    with pytest.raises(UsageError, match=r"has 'a/0\.png' twice, in different splits"):
        given_split(tmp_path, "\n".join(["path,split", *rows, "a/0.png,test"]))
    data = given_split(tmp_path, "\n".join(["path, split", *rows, "a/0.png,train"]))
    assert data.split_table().num_rows == 8
    with pytest.raises(UsageError, match="twice, in different folds"):
        given_split(tmp_path, "path,fold\na/0.png,0\na/1.png,1\na/2.png,2\na/0.png,1\n")


@pytest.mark.parametrize("folds", [(0, 1), (-1, 0, 1), (0, 1, 3), (0, 1, 10**8)])
def test_folds_of_a_split_file_are_numbered_from_0_and_at_least_three(tmp_path, folds):
    write_classes(tmp_path / "data", {"a": 4, "b": 4})
    rows = [f"{'ab'[n // 4]}/{n}.png,{folds[n % len(folds)]}" for n in range(8)]
    with pytest.raises(UsageError, match=f"has the folds {min(folds)}, .*at least 3, numbered 0, 1, 2"):
        given_split(tmp_path, "\n".join(["path,fold", *rows]))


def test_a_fold_of_which_no_image_is_there_is_refused(tmp_path):
    write_classes(tmp_path / "data", {"a": 4, "b": 4})
    rows = [f"{'ab'[n // 4]}/{n}.png,{n % 2}" for n in range(8)]
    with pytest.raises(UsageError, match="no image of fold 2 is in the data"):
        given_split(tmp_path, "\n".join(["path,fold", *rows, "a/gone.png,2"]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"file,split\na/0.png,train\n", "no column 'path'; its columns are 'file', 'split'"),
        ("path,split\na/0.png,train\n".encode("utf-16"), "not UTF-8 text .* save it as UTF-8"),
        (b'path,split\n"a/0.png,train\n' + b"x" * 200_000, "field larger than field limit"),
        (b"path,split\n,train\n", "a row without a path"),
    ],
)
def test_what_is_wrong_with_a_split_file_is_named(tmp_path, content, reason):
    write_classes(tmp_path / "data", {"a": 4, "b": 4})
    (tmp_path / "split.csv").write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        open_dataset(tmp_path / "data", DataRecipe(split_file=str(tmp_path / "split.csv")))
