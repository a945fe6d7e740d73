"""Numbers as people read them."""

import pytest

from retop.evaluation.numerals import count, listing, p_value, percent, points, seconds, short, size


@pytest.mark.parametrize(
    ("fraction", "n", "text"),
    [(0.9, 10, "90 %"), (0.9753, 600, "97.5 %"), (1, 600, "100.0 %"), (0.9999, 600, "99.9 %"), (1e-5, 50, "1 %"),
     (0.12345, 50_000, "12.35 %"), (0, 50, "0 %")],
)  # fmt: skip
def test_percent_has_no_more_digits_than_n_supports(fraction: float, n: int, text: str) -> None:
    assert percent(fraction, n) == text


def test_points_carry_their_sign() -> None:
    assert [points(d, 600) for d in (0.0251, -0.1, 0.0, -1e-9)] == ["+2.5", "−10.0", "0.0", "0.0"]


def test_p_values_do_not_pretend_to_be_zero() -> None:
    assert (p_value(0.0123), p_value(1e-9)) == ("p = 0.012", "p < 0.001")


def test_nouns_and_lists() -> None:
    assert (count(1, "image"), count(2000, "image")) == ("1 image", "2,000 images")
    assert listing(("a",)) == "a"
    assert listing(("a", "b")) == "a and b"
    assert listing(tuple("abcdefgh")) == "a, b, c, d and 4 more"


@pytest.mark.parametrize(("value", "text"), [(0.04, "0.0 s"), (35.4, "35 s"), (250, "4 min 10 s"), (7500, "2 h 5 min")])
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(512, "512 B"), (401_408, "392 KiB"), (1_500_000_000, "1.4 GiB")])
def test_sizes(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(("value", "text"), [(999, "999"), (2562, "2.56 k"), (14_714_688, "14.7 M"), (999_900, "1 M")])
def test_large_numbers_keep_three_digits(value: int, text: str) -> None:
    assert short(value) == text
