"""What is read from options, and what is refused."""

import math

import pytest

from retop.cli.reading import limit_bytes, read_cache, read_names, read_seeds
from retop.errors import UsageError


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
