"""Sentences about what numbers can and cannot show."""

import numpy as np

from example_records import comparison_record, contender, data_record
from retop.comparison.statements import describe
from retop.records import FailedRun


def first_right(num_right: int, n: int) -> np.ndarray:
    return (np.arange(n) < num_right)[None]


def text(*contenders: object, **keywords: object) -> str:
    return "\n".join(comparison_record(contenders, **keywords).statements)  # type: ignore[arg-type]


def test_ten_images_are_said_to_show_little() -> None:
    said = text(contender("vgg16", right=first_right(9, 10)), contender("resnet50", right=first_right(8, 10)))
    assert "10 test images are few: 90 % right (vgg16) means between 60 % and 98 %." in said
    assert "established at the earliest by 6 images (60 % of them)" in said
    assert "No difference is established" in said


def test_four_images_can_establish_nothing() -> None:
    said = text(contender("a", right=first_right(4, 4)), contender("b", right=first_right(0, 4)))
    assert "no difference can be established, however large it is" in said


def test_many_images_are_not_called_few() -> None:
    assert "few" not in text(contender("a", n=300), contender("b", n=300))


def test_established_differences_and_ties_are_named_with_intervals() -> None:
    said = text(
        contender("a", right=first_right(297, 300)),
        contender("b", right=first_right(296, 300)),
        contender("c", right=first_right(200, 300)),
    )
    assert "2 of 3 pairs established as different: a above c by +32.3 points (+27.3 to +37.8), p < 0.001" in said
    assert "Tied at rank 1: a and b; their order in the table is not evidence." in said


def test_validation_ranking_is_labelled() -> None:
    assert "selection" not in text(contender("a"))
    assert "There is no test split, so the ranking is on validation" in text(contender("a", split="validation"))


def test_lift_over_baselines_is_a_number_with_an_interval() -> None:
    said = text(
        contender("vgg16", right=first_right(280, 300)),
        contender("probe-vgg16", "probe", right=first_right(282, 300)),
        contender("scratch", "scratch", right=first_right(200, 300)),
    )
    assert "Fine-tuning vgg16 against a logistic regression on its frozen features: −0.7 points (" in said
    assert "not established" in said
    assert "vgg16 against a small network trained from scratch: +26.7 points (" in said


def test_seeds_spread_is_told_or_its_absence() -> None:
    assert "--seeds 3" in text(contender("a"))
    assert "standard deviation between seeds" in text(contender("a", seeds=3), contender("b", seeds=3))


def test_what_is_missing_is_told() -> None:
    one = contender("a")
    record = comparison_record([one])
    said = describe(
        record.rows, record.pairs, data_record(unreadable=("x.jpg", "y.jpg")), "a", (FailedRun("b-0", "out of memory"),)
    )
    assert "2 images could not be read and were left out: x.jpg and y.jpg." in said
    assert "b-0 did not finish and is not ranked: out of memory" in said


def test_nothing_finished_is_described_without_rows() -> None:
    assert describe((), (), data_record(), None, (FailedRun("b-0", "broken"),)) == (
        "b-0 did not finish and is not ranked: broken",
    )
