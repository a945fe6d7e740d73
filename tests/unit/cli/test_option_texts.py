"""What is read from options, and what is refused."""

import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retop.cli.app import app
from retop.cli.reading import limit_bytes, read_cache, read_class_weights, read_names, read_seeds
from retop.errors import UsageError
from retop.recipe.reading import preset_names


def test_names_of_an_option_that_is_given_twice_are_all_kept() -> None:
    assert read_names(["a,b", " c "]) == ["a", "b", "c"]
    assert read_names(None) == []


def test_seeds_are_a_number_or_a_list() -> None:
    assert read_seeds(None) == 1
    assert read_seeds(["3"]) == 3
    assert read_seeds(["3,"]) == [3]
    assert read_seeds(["0,3", "7"]) == [0, 3, 7]


@pytest.mark.parametrize("gib", [math.nan, math.inf, -1.0, 0.0])
def test_a_limit_that_is_no_size_is_refused(gib: float) -> None:
    with pytest.raises(UsageError, match="--cache-limit takes a number of GiB above 0"):
        limit_bytes(gib)


def test_an_empty_store_name_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError, match="--cache is empty"):
        read_cache("")


@pytest.mark.parametrize(
    ("name", "text", "weights"),
    [
        ("w.csv", "class,weight\ncat,2,\n dog , 0.5,,\n\n", {"cat": 2, "dog": 0.5}),
        ("w.csv", 'yes,1\n"no, never",3\n007,1\n', {"yes": 1, "no, never": 3, "007": 1}),
        ("w.yaml", "yes: 2\nno: 0.5\n007: 1\n", {"yes": 2, "no": 0.5, "007": 1}),
        ("w.csv", "class;weight\ncat;1,5\na,b;2\n", {"cat": 1.5, "a,b": 2}),
        ("w.csv", "cat;1,5\ndog;2\n", {"cat": 1.5, "dog": 2}),
        ("w.csv", "a;b,1.5\ndog,2\n", {"a;b": 1.5, "dog": 2}),
        ("w.csv", 'class,weight\n"two\nlines",2\n', {"two\nlines": 2}),
        ("w.json", '{"yes": 2, "b\\u00e4r": 1}', {"yes": 2, "b\u00e4r": 1}),
        ("w.json", '{\n\t"\\ud83d\\ude00": 2,\n\t"007": "1"\n}', {"\U0001f600": 2, "007": 1}),
    ],
)
def test_class_weights_are_read_as_they_are_written(
    tmp_path: Path, name: str, text: str, weights: dict[str, float]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_weights(str(tmp_path / name)) == weights


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("w.csv", "cat,1\ndog,1,5\n", "line 2 should be a class and its weight, it is 'dog,1,5'"),
        ("w.csv", "cat,1\ndog\n", "line 2 should be a class and its weight, it is 'dog'"),
        ("w.csv", "cat\t1\ndog\t2\n", "line 1 should be a class and its weight"),
        ("w.csv", "cat,1\ncat,2\n", "the class 'cat' stands there twice"),
        ("w.json", '{"cat": 1, "cat": 2}', "the class 'cat' stands there twice"),
        ("w.json", "[1, 2]", "is none of these"),
        ("w.csv", "cat,nan\ndog,1\n", "weights are finite numbers above 0; received cat: nan"),
        ("w.yaml", "cat: .inf\ndog: 0\n", "could not convert string to float"),
        ("w.yaml", "cat: inf\ndog: 0\n", "received cat: inf, dog: 0"),
        ("w.yaml", "- cat\n", "is none of these"),
        ("w.yaml", "", "is none of these"),
    ],
)
def test_class_weights_that_cannot_be_meant_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="--class-weights") as refused:
        read_class_weights(str(tmp_path / name))
    assert said in str(refused.value)


def test_every_recipe_that_comes_with_retop_is_in_the_help() -> None:
    described = CliRunner().invoke(app, ["pretrain", "--help"], env={"COLUMNS": "200"}).output
    line = next(line for line in described.splitlines() if "--recipe" in line)
    listed = line.partition("--recipe")[2].partition("[default")[0]
    assert [name for name in preset_names() if not re.search(rf"\b{name}\b", listed)] == []
