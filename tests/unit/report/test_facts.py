"""Facts are what figures show, so they are tested instead of pictures."""

import numpy as np
import pytest

from example_records import comparison_record, contender, epochs
from retop.errors import RunError
from retop.evaluation import wilson_interval
from retop.report import confusion_facts, curve_facts, ranking_facts


def test_stage_2_begins_where_stage_1_ended() -> None:
    run = contender("vgg16").runs[0]
    facts = curve_facts(run, epochs(num=(7, 9)))
    assert facts is not None
    assert [stage.places for stage in facts.stages] == [tuple(range(8)), tuple(range(7, 17))]
    assert facts.change_place == 7


def test_chosen_epoch_is_the_one_stage_2_handed_on() -> None:
    run = contender("vgg16").runs[0]
    records = epochs(num=(10, 10))
    facts = curve_facts(run, records)
    assert facts is not None
    assert (run.stages[1].best_epoch, facts.chosen_place) == (9, 19)
    assert facts.chosen_accuracy == next(r for r in records if (r.stage, r.epoch) == (2, 9)).validation_accuracy


def test_noise_band_is_wilson_of_the_validation_images() -> None:
    facts = curve_facts(contender("vgg16").runs[0], epochs())
    assert facts is not None
    assert facts.num_validation == 300
    assert facts.noise == wilson_interval(facts.chosen_accuracy * 300, 300)


def test_epochs_of_another_run_are_refused() -> None:
    with pytest.raises(RunError, match="not of one run"):
        curve_facts(contender("vgg16").runs[0], epochs(num=(4, 3)))


def test_scratch_has_one_stage_and_no_change() -> None:
    records = tuple(record for record in epochs(num=(0, 12)) if record.stage == 2)
    facts = curve_facts(contender("scratch", "scratch").runs[0], records)
    assert facts is not None
    assert (facts.name, len(facts.stages), facts.change_place) == ("scratch", 1, None)


def test_probe_has_no_curves() -> None:
    assert curve_facts(contender("probe-a", "probe").runs[0], ()) is None


def test_confusion_rows_add_up_to_one_or_are_unknown() -> None:
    one = contender("a", n=100, classes=("x", "y", "z"))
    metrics = one.runs[0].test
    assert metrics is not None
    facts = confusion_facts("a", metrics)
    assert np.array(facts.shares, dtype=float).sum(1) == pytest.approx(1)
    assert np.trace(np.array(facts.counts)) == facts.num_right
    empty = confusion_facts("a", type(metrics)(**{**vars(metrics), "confusion": ((3, 1, 0), (0, 0, 0), (0, 0, 2))}))
    assert empty.shares[1] == (None, None, None)


def test_ranking_facts_follow_the_rows() -> None:
    record = comparison_record([contender("a", accuracy=0.99), contender("b", accuracy=0.7)])
    facts = ranking_facts(record)
    assert facts is not None
    assert [(row.name, row.rank, row.tied) for row in facts.rows] == [("a", 1, False), ("b", 2, False)]
    assert (facts.split, facts.n) == ("test", 300)
