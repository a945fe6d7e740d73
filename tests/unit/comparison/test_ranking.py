"""Ranks, ties and the recommendation."""

from dataclasses import replace

import numpy as np
import pytest

from example_records import answers, contender
from retop.comparison.ranking import Contender, rank, recommended
from retop.errors import RunError
from retop.recipe import Recipe
from retop.records import Predictions


def first_right(num_right: int, n: int = 300, seeds: int = 1) -> np.ndarray:
    return np.tile(np.arange(n) < num_right, (seeds, 1))


def shuffled(one: Contender) -> Contender:
    given = one.predictions[0]
    order = np.random.default_rng(0).permutation(len(given.paths))
    paths = tuple(given.paths[place] for place in order)
    mixed = Predictions(given.split, paths, given.classes, given.labels_n[order], given.logits_nk[order])
    return replace(one, predictions=(mixed,))


def test_rank_is_one_plus_the_number_established_as_better() -> None:
    contenders = [
        contender(name, right=first_right(k))
        for name, k in (("worst", 200), ("best", 297), ("next", 296), ("mid", 250))
    ]
    rows, pairs = rank(contenders, Recipe())
    assert [(row.name, row.rank, row.tied_with) for row in rows] == [
        ("best", 1, ("next",)), ("next", 1, ("best",)), ("mid", 3, ()), ("worst", 4, ()),
    ]  # fmt: skip
    assert len(pairs) == 6
    assert sum(pair.established for pair in pairs) == 5


def test_nobody_is_above_another_without_evidence() -> None:
    rows, pairs = rank([contender("a", right=first_right(10, 10)), contender("b", right=first_right(5, 10))], Recipe())
    assert [row.rank for row in rows] == [1, 1]
    assert not pairs[0].established
    assert rows[0].tied_with == ("b",)


def test_a_tie_is_not_transitive() -> None:
    contenders = [contender(name, right=first_right(k)) for name, k in (("a", 300), ("b", 295), ("c", 290))]
    rows, _ = rank(contenders, Recipe())
    assert [(row.name, row.rank, row.tied_with) for row in rows] == [("a", 1, ("b",)), ("b", 1, ("a",)), ("c", 2, ())]


def test_order_of_images_and_of_contenders_does_not_matter() -> None:
    contenders = [contender("a", accuracy=0.95), contender("b", accuracy=0.8), contender("c", accuracy=0.9)]
    mixed = [shuffled(contenders[2]), contenders[0], shuffled(contenders[1])]
    assert rank(contenders, Recipe()) == rank(mixed, Recipe())


def test_equal_accuracies_are_ordered_by_name() -> None:
    rows, _ = rank([contender(name, right=first_right(250)) for name in ("b", "c", "a")], Recipe())
    assert [row.name for row in rows] == ["a", "b", "c"]


@pytest.mark.parametrize("change", ["path", "label", "missing"])
def test_different_images_are_refused_and_named(change: str) -> None:
    one, other = contender("a", n=20), contender("b", n=20)
    given = other.predictions[0]
    paths, labels, keep = list(given.paths), given.labels_n.copy(), 20
    if change == "path":
        paths[3] = "test/cat/other.jpg"
    elif change == "label":
        labels[3] = 1 - labels[3]
    else:
        keep = 19
    changed = Predictions("test", tuple(paths[:keep]), given.classes, labels[:keep], given.logits_nk[:keep])
    with pytest.raises(RunError, match=r"a-0 and b-0 cannot be compared.*\.jpg"):
        rank([one, replace(other, predictions=(changed,))], Recipe())


def test_an_image_counted_twice_is_refused() -> None:
    one = contender("a", n=20)
    given = one.predictions[0]
    twice = replace(given, paths=(given.paths[0], *given.paths[:19]))
    with pytest.raises(RunError, match="twice"):
        rank([replace(one, predictions=(twice,))], Recipe())


def test_malformed_contenders_are_refused() -> None:
    one = contender("a", n=20)
    with pytest.raises(RunError, match="different names"):
        rank([one, one], Recipe())
    with pytest.raises(RunError, match="one set of predictions"):
        rank([replace(one, predictions=())], Recipe())
    with pytest.raises(RunError, match="one split"):
        rank([one, contender("b", n=20, split="validation")], Recipe())


def test_row_tells_what_was_measured() -> None:
    one = contender("vgg16", seeds=3, right=np.array([first_right(k)[0] for k in (290, 280, 285)]))
    (row,), pairs = rank([one], replace(Recipe(), name="other"))
    assert pairs == ()
    assert row.runs == ("vgg16-0", "vgg16-1", "vgg16-2")
    assert row.seeds.accuracies == pytest.approx((290 / 300, 280 / 300, 285 / 300))
    assert row.seeds.standard_deviation == pytest.approx(5 / 300)
    assert row.metrics == one.runs[0].test
    assert row.seconds == {"prefix": 20, "stage 1": 5, "stage 2": 30, "evaluation": 0, "total": 55}
    assert row.stage1_accuracy == pytest.approx(np.mean([run.stages[0].validation_accuracy for run in one.runs]))
    assert row.recipe_differs


def test_only_backbones_are_marked_for_another_recipe() -> None:
    other = Recipe(name="another")
    contenders = [contender("a"), contender("b", recipe=other), contender("probe-a", "probe", recipe=other)]
    rows, _ = rank(contenders, Recipe())
    assert {row.name for row in rows if row.recipe_differs} == {"b"}


def test_a_stage_lengthened_for_few_images_is_not_another_recipe() -> None:
    asked = Recipe()
    longer = replace(asked, stage1=asked.stage1.lengthened(64))
    impatient = replace(longer, stage1=replace(longer.stage1, patience=asked.stage1.patience))
    assert longer != asked
    rows, _ = rank([contender("a", recipe=longer), contender("b", recipe=impatient), contender("c")], asked)
    assert {row.name for row in rows if row.recipe_differs} == {"b"}


def test_baselines_have_no_stage_1() -> None:
    rows, _ = rank([contender("scratch", "scratch"), contender("probe-a", "probe")], Recipe())
    assert [row.stage1_accuracy for row in rows] == [None, None]


def test_recommendation_looks_at_validation_alone() -> None:
    contenders = [
        contender("good-on-test", right=first_right(300), validation_accuracy=0.8),
        contender("good-on-validation", right=first_right(200), validation_accuracy=0.99),
        contender("probe-a", "probe", right=first_right(300), validation_accuracy=1.0),
    ]
    assert recommended(contenders) == "good-on-validation"
    assert recommended(contenders[2:]) is None


def test_equal_validation_is_decided_by_log_loss_not_by_a_clock() -> None:
    one = contender("a", validation_accuracy=1.0)
    run = one.runs[0]
    better = replace(
        run, name="b-0", timings=(), validation=replace(run.validation, log_loss=run.validation.log_loss / 2)
    )
    other = replace(one, name="b", runs=(better,))
    assert recommended([one, other]) == recommended([other, one]) == "b"


def test_ranking_on_validation_uses_validation_metrics() -> None:
    (row,), _ = rank([contender("a", split="validation")], Recipe())
    assert row.metrics.split == "validation"
    assert answers(np.ones(4, dtype=bool)).split == "test"


@pytest.mark.parametrize(("num_leaked", "value", "left"), [(0, None, None), (4, 4 / 6, 6), (10, None, 0)])
def test_copies_are_taken_out_and_what_is_left_is_counted(
    num_leaked: int, value: float | None, left: int | None
) -> None:
    one = contender("a", right=first_right(8, 10))
    (row,), _ = rank([one], Recipe(), frozenset(one.predictions[0].paths[:num_leaked]))
    assert (row.without_leaks and row.without_leaks.value) == value
    assert row.num_without_leaks == left
    assert row.metrics.accuracy.value == 0.8
