"""Sentences about what numbers can and cannot show."""

from dataclasses import replace

import numpy as np
import pytest

from example_records import comparison_record, contender, data_record
from retop.comparison.statements import describe
from retop.evaluation import wilson_interval
from retop.records import FailedRun


def first_right(num_right: int, n: int) -> np.ndarray:
    return (np.arange(n) < num_right)[None]


def text(*contenders: object, **keywords: object) -> str:
    return "\n".join(comparison_record(contenders, **keywords).statements)  # type: ignore[arg-type]


def test_ten_images_are_said_to_show_little() -> None:
    said = text(contender("vgg16", right=first_right(9, 10)), contender("resnet50", right=first_right(8, 10)))
    assert "10 test images are few: 90 % right (vgg16) means between 60 % and 98 %." in said
    assert "established at the earliest by 6 images (60 % of them)" in said
    assert "No difference is established on these 10 test images: both rows are tied." in said


def test_test_images_that_are_all_copies_are_said_to_show_nothing() -> None:
    one = contender("a", right=first_right(9, 10))
    record = comparison_record([one])
    for left, told in ((0, "All 10 test images have copies"), (4, "90.0 % with them (n = 10), 75.0 % (30.1 to 95.4)")):
        kept = wilson_interval(3, left) if left else None
        rows = tuple(replace(row, without_leaks=kept, num_without_leaks=left) for row in record.rows)
        said = " ".join(describe(rows, record.pairs, record.data, record.recommended))
        assert told in said
        assert ("without (n = 4)" in said) == bool(left)


def test_four_images_can_establish_nothing() -> None:
    said = text(contender("a", right=first_right(4, 4)), contender("b", right=first_right(0, 4)))
    assert "no difference can be established, however large it is" in said


def test_the_smallest_difference_is_counted_within_each_family_of_tests() -> None:
    backbones = [contender(name, right=first_right(19, 20)) for name in ("a", "b")]
    probes = [contender(f"probe-{name}", "probe", right=first_right(18, 20)) for name in ("a", "b")]
    said = text(*backbones, *probes)
    assert "With 20 test images and 1 pair of backbones, a difference is established at the earliest by 6 " in said
    assert "With 20 test images and 5 pairs with a baseline, a difference is established at the earliest by 8 " in said
    assert "pair of backbones" not in (one_backbone := text(backbones[0], probes[0]))
    assert "With 20 test images and 1 pair with a baseline, a difference is established at the earliest by 6 " in (
        one_backbone
    )


@pytest.mark.parametrize(("apart", "family"), [(6, "backbones"), (8, "baseline")])
def test_the_smallest_difference_that_is_named_is_what_ranking_establishes(apart: int, family: str) -> None:
    worse = ("b", "probe-b") if family == "backbones" else ("probe-a", "b")
    for divided, established in ((apart, True), (apart - 1, False)):
        rights = {name: first_right(20, 20) for name in ("a", "b", "probe-a", "probe-b")}
        rights[worse[0]] = first_right(20 - divided, 20)
        contenders = [
            contender(name, "probe" if "probe" in name else "fine-tuned", right=right) for name, right in rights.items()
        ]
        pairs = {(pair.first, pair.second): pair for pair in comparison_record(contenders).pairs}
        assert pairs["a", worse[0]].established is established


def test_of_equal_corrected_p_the_largest_difference_is_the_clearest() -> None:
    rights = {"a": 300, "b": 300, "c": 300, "d": 298}
    said = text(*(contender(name, right=first_right(num_right, 300)) for name, num_right in rights.items()))
    assert "The clearest, a against d, is +0.7 points" in said


def test_a_rank_that_differs_because_of_a_third_is_told() -> None:
    said = text(*(contender(name, right=first_right(k, 300)) for name, k in (("a", 300), ("b", 295), ("c", 290))))
    assert "Not told apart although their ranks differ: b and c." in said


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


@pytest.mark.parametrize(
    ("split_by", "way_out"), [("folders", "(a folder test/)"), ("retop", "(--split 70/15/15)"), ("table", "split test")]
)
def test_the_way_to_a_test_split_is_one_that_acts(split_by: str, way_out: str) -> None:
    data = replace(data_record(), split_by=split_by)  # type: ignore[arg-type]
    assert way_out in text(contender("a", split="validation"), data=data)


def test_the_recommendation_says_why_and_what_n_answers_were_right() -> None:
    two = text(contender("a", right=first_right(297, 300)), contender("b", right=first_right(290, 300)))
    assert "for the best validation accuracy among the fine-tuned backbones" in two
    one = text(contender("a", right=first_right(297, 300)), contender("probe-a", "probe"))
    assert "Recommended: a, the only fine-tuned backbone (validation accuracy" in one
    alone = text(contender("a", right=first_right(297, 300)))
    assert "Recommended: a, the only network (validation accuracy" in alone
    assert all("answers 99.0 % of 300 test images rightly." in said for said in (one, two))


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
    both = text(contender("a", seeds=3), contender("b", seeds=3))
    assert "Accuracies are means over 3 seeds; the standard deviation between seeds" in both
    said = text(contender("a", seeds=3), contender("probe-a", "probe"))
    assert "Accuracies are means over 3 seeds, of probe-a over one; the standard deviation of a between seeds" in said


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
