"""Single answers, confidence, cost and networks: facts computed two ways, and as text."""

from dataclasses import replace

import numpy as np
import pytest

from example_records import GROUPS, answers, contender
from retop.evaluation import measure
from retop.recipe import Recipe
from retop.records import PlannedPart, PlanRecord, Predictions
from retop.report.answered import answer_facts, sample_images
from retop.report.confidence import confidence_facts
from retop.report.cost import cost_facts, network_facts


def logits(probabilities: list[list[float]], labels: list[int]) -> Predictions:
    paths = tuple(f"test/{place}.png" for place in range(len(labels)))
    classes = ("cat", "dog", "fox")
    return Predictions("test", paths, classes, np.array(labels), np.log(np.array(probabilities, dtype=np.float32)))


FEW = logits([[0.7, 0.2, 0.1], [0.45, 0.40, 0.15], [0.05, 0.9, 0.05], [0.98, 0.01, 0.01]], [0, 1, 0, 0])


def test_worst_are_the_most_confident_errors_and_doubtful_the_closest_races() -> None:
    facts = answer_facts("a", FEW)
    assert [image.path for image in facts.worst] == ["test/2.png", "test/1.png"]
    assert [image.path for image in facts.doubtful] == ["test/1.png"]
    assert (facts.doubtful[0].predicted, facts.doubtful[0].runner_up) == ("cat", "dog")
    assert facts.doubtful[0].confidence == pytest.approx(0.45)
    assert facts.num_missed == 2


def test_probabilities_are_those_the_model_gives_after_its_temperature() -> None:
    cold, hot = answer_facts("a", FEW, 0.5), answer_facts("a", FEW, 2.0)
    assert [image.confidence for image in cold.worst] == pytest.approx([0.81 / 0.815, 0.2025 / 0.385])
    assert [image.path for image in hot.doubtful] == ["test/1.png", "test/0.png"]
    given = measure(FEW, "float32", 2.0)
    assert [image.confidence for image in hot.worst] == pytest.approx([image.confidence for image in given.missed])
    assert confidence_facts("a", FEW, 2.0).threshold[-1] == pytest.approx(hot.worst[-1].confidence)


def test_cells_hold_every_image_once_and_errors_come_first() -> None:
    facts = answer_facts("a", answers(np.arange(60) % 4 > 0, ("x", "y", "z")))
    assert sum(cell.num_images for cell in facts.cells) == 60
    errors = [cell.label != cell.predicted for cell in facts.cells]
    assert errors == sorted(errors, reverse=True)


def test_samples_are_spread_over_each_class() -> None:
    samples = sample_images(answers(np.ones(40, bool)), 3)
    assert samples["cat"] == ("test/cat/0000.jpg", "test/cat/0020.jpg", "test/cat/0038.jpg")


def test_bins_add_up_and_agree_with_a_plain_count() -> None:
    predictions = answers(np.random.default_rng(0).random(500) < 0.8, ("x", "y", "z"))
    facts = confidence_facts("a", predictions)
    assert sum(one.n for one in facts.bins) == 500
    right = sum(one.n * one.accuracy.value for one in facts.bins)
    assert right == pytest.approx(np.sum(predictions.logits_nk.argmax(1) == predictions.labels_n))
    assert all(one.low < one.confidence <= one.high for one in facts.bins)


def test_coverage_ends_at_the_accuracy_of_all_answers() -> None:
    facts = confidence_facts("a", FEW)
    assert facts.coverage == (0.25, 0.5, 0.75, 1.0)
    assert facts.accuracy_at_coverage == pytest.approx((1.0, 0.5, 2 / 3, 0.5))
    assert facts.threshold == pytest.approx((0.98, 0.9, 0.7, 0.45))


def test_answers_of_equal_confidence_are_given_together() -> None:
    same = logits([[0.8, 0.1, 0.1]] * 4, [0, 0, 1, 1])
    assert confidence_facts("a", same).coverage == (1.0,)


def test_network_shows_what_was_frozen_and_where_it_was_stored() -> None:
    facts = network_facts("vgg16", contender("vgg16").runs[0])
    assert [(group.name, group.state, group.stored_here) for group in facts.groups] == [
        ("stem", "frozen", False),
        ("blocks.0", "frozen", False),
        ("blocks.1", "trained in stage 2", True),
    ]
    assert facts.head_parameters == facts.parameters - sum(group.parameters for group in GROUPS)


def test_cost_is_the_sum_of_its_parts() -> None:
    runs = contender("vgg16", seeds=2).runs
    facts = cost_facts(runs, None)
    assert facts.seconds == sum(timing.seconds for run in runs for timing in run.timings) == 110
    assert facts.planned_seconds is None
    # The store stays; of the checkpoints, which each run gives back, the larger counts.
    assert facts.disk_bytes == 100_000_000 and facts.passing_bytes == 9_000_000
    assert [(part.part, part.seconds, part.disk_bytes) for part in facts.totals] == [
        ("prefix", 40, 100_000_000),
        ("stage 1", 10, 0),
        ("stage 2", 60, 9_000_000),
    ]


def test_parts_stand_in_the_order_in_which_they_are_made_whichever_run_ranks_first() -> None:
    (tuned,) = contender("vgg16").runs
    probe = replace(tuned, timings=(tuned.timings[0], replace(tuned.timings[0], part="other")))
    tuned = replace(tuned, timings=(*tuned.timings, replace(tuned.timings[0], part="other")))
    totals = cost_facts([probe, tuned], None).totals
    assert [part.part for part in totals] == ["prefix", "stage 1", "stage 2", "other"]


def test_disk_that_one_run_did_not_record_is_not_summed() -> None:
    first, second = contender("vgg16", seeds=2).runs
    older = replace(second, timings=tuple(replace(timing, disk_bytes=None) for timing in second.timings))
    facts = cost_facts([first, older], None)
    assert (
        facts.disk_bytes is None
        and facts.passing_bytes is None
        and {part.disk_bytes for part in facts.totals} == {None}
    )
    assert facts.seconds == 110


def test_disk_is_planned_for_what_the_store_keeps_and_for_nothing_else() -> None:
    runs = contender("vgg16", seeds=2).runs
    # As plans are: every part has its disk there, which is none where nothing is stored.
    planned = tuple(
        PlannedPart(run.name, timing.part, "once", 1.0, 7_000 if timing.part == "prefix" and run is runs[0] else 0)
        for run in runs
        for timing in run.timings
    )
    facts = cost_facts(runs, PlanRecord("", Recipe(), (), planned, 0, 0))
    assert {(part.part, part.planned_disk_bytes) for part in facts.parts} == {
        ("prefix", 7_000), ("prefix", 0), ("stage 1", None), ("stage 2", None),
    }  # fmt: skip
    assert [part.planned_disk_bytes for part in facts.totals] == [7_000, None, None]
    assert facts.planned_disk_bytes == 7_000
