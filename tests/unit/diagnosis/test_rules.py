"""Every rule names what it is for, and keeps silent about healthy runs."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import retop
from example_records import answers, contender, epochs
from retop.diagnosis import RULES, Evidence, diagnose, diagnose_comparison
from retop.diagnosis.answering import ClassesPermuted
from retop.diagnosis.classes import ordering_of
from retop.diagnosis.diagnose import EXPLAINS
from retop.diagnosis.labels import flattening, losses
from retop.diagnosis.splits import GiveAway, leaked_from
from retop.diagnosis.steps import fluctuation, most_by_chance
from retop.evaluation import measure, right_answers
from retop.records import (
    DepthResult,
    EpochRecord,
    Finding,
    GroupRecord,
    IsolationRecord,
    KeptStatistics,
    Predictions,
    SampleResult,
    SkippedTest,
    StageRecord,
    SureAnswers,
    SuspectedLabel,
)

HEALTHY_TESTS = IsolationRecord(
    SampleResult(100, 95, 0.2), SampleResult(100, 94, 0.2), SampleResult(100, 30, 2.8), SampleResult(100, 55, 0.8),
    SampleResult(300, 285, 0.2), SampleResult(300, 150, 0.8), SampleResult(1000, 950, 0.2), (),
)  # fmt: skip


def curve(stage: int, *points: tuple[float, float, float, float], rate: float = 0.01) -> tuple[EpochRecord, ...]:
    """Epochs of (train loss, train accuracy, validation loss, validation accuracy), under evaluation conditions."""
    return tuple(
        EpochRecord(stage, place, rate, loss, right, loss, right, other_loss, other_right, 1.0, 1.0)  # type: ignore[arg-type]
        for place, (loss, right, other_loss, other_right) in enumerate(points)
    )


def run(history: tuple[EpochRecord, ...] = (), n: int = 400, **changes: object) -> Evidence:
    validation = answers(np.arange(n) % 20 > 0, split="validation")
    test = answers(np.arange(n) % 20 > 0, split="test", seed=1)
    evidence = Evidence(
        "a", 1000, n, 2, history, (), contender("a").runs[0], measure(validation, "float32"), measure(test, "float32"),
        validation, test, None, HEALTHY_TESTS,
    )  # fmt: skip
    return replace(evidence, **changes)  # type: ignore[arg-type]


def codes(evidence: Evidence) -> set[str]:
    return {finding.code for finding in diagnose(evidence)}


def graver(evidence: Evidence) -> set[str]:
    return {finding.code for finding in diagnose(evidence) if finding.severity != "note"}


CALM = curve(
    2, (0.7, 0.5, 0.7, 0.5), (0.3, 0.9, 0.32, 0.9), (0.2, 0.94, 0.22, 0.94), (0.17, 0.95, 0.2, 0.95),
    (0.16, 0.955, 0.19, 0.9525), (0.155, 0.96, 0.19, 0.95), (0.15, 0.96, 0.19, 0.95), (0.15, 0.96, 0.19, 0.9525),
)  # fmt: skip


def test_healthy_runs_are_not_warned_of() -> None:
    assert graver(run(CALM)) == set()
    for seed in range(20):
        assert graver(run(epochs(seed), n=300)) == set()


def test_every_rule_has_a_code_of_its_own_and_says_what_to_do() -> None:
    assert len({rule.code for rule in RULES}) == len(RULES) >= 20
    for rule in RULES:
        assert rule.why.endswith((".", "?"))
        assert rule.fixes
        assert rule.looks_for


def test_every_rule_about_a_training_names_its_sources() -> None:
    # R26 and R27 are about retop's own bookkeeping.
    assert [rule.code for rule in RULES if not rule.references] == ["R26", "R27"]


def test_learning_by_heart_is_overfitting() -> None:
    history = curve(
        2, (0.7, 0.5, 0.7, 0.5), (0.3, 0.9, 0.4, 0.84), (0.1, 0.97, 0.38, 0.85), (0.02, 1.0, 0.5, 0.85),
        (0.01, 1.0, 0.6, 0.845), (0.005, 1.0, 0.7, 0.845),
    )  # fmt: skip
    assert "R01" in codes(run(history))


def test_the_same_gap_on_few_images_is_not() -> None:
    history = curve(
        2, (0.7, 0.5, 0.7, 0.5), (0.3, 0.9, 0.4, 0.84), (0.1, 0.97, 0.38, 0.85), (0.02, 1.0, 0.5, 0.9),
        (0.01, 1.0, 0.6, 0.9), (0.005, 1.0, 0.7, 0.9),
    )  # fmt: skip
    assert "R01" not in codes(run(history, n=20))


def test_training_images_that_stay_wrong_are_underfitting() -> None:
    history = curve(1, *[(0.66, 0.60, 0.66, 0.60)] * 8)
    assert codes(replace(run(history), isolation=None)) & {"R02", "R06"}
    falling = curve(1, (0.9, 0.5, 0.9, 0.5), *[(0.66, 0.60, 0.66, 0.60)] * 8)
    assert "R02" in codes(run(falling))


def test_a_loss_that_no_regression_on_the_features_beats_is_not_underfitting() -> None:
    slow = curve(1, (0.9, 0.5, 0.9, 0.5), *[(0.48, 0.80, 0.48, 0.80)] * 8)
    assert "R02" in codes(run(slow))
    alike = replace(HEALTHY_TESTS, head_refit=SampleResult(300, 240, 0.45))
    assert "R02" not in codes(run(slow, isolation=alike))


def test_a_run_that_ends_while_it_learns_has_not_converged() -> None:
    history = curve(2, *[(0.7 - 0.05 * k, 0.5 + 0.03 * k, 0.7 - 0.05 * k, 0.5 + 0.03 * k) for k in range(8)])
    assert "R03" in codes(run(history))


def test_curves_that_jump_beyond_sampling_mean_large_steps() -> None:
    points = [(0.3, 0.9, 0.4, 0.9 - 0.15 * (place % 2)) for place in range(12)]
    found = next(one for one in diagnose(run(curve(2, *points, rate=0.5))) if one.code == "R05")
    assert "stage2.learning_rate=0.05" in found.fix


def accuracies(values: Sequence[float]) -> tuple[EpochRecord, ...]:
    return curve(2, *[(0.3, 0.97, 0.4, float(value)) for value in values])


def test_a_steady_rise_is_no_fluctuation_however_many_images_there_are() -> None:
    rise = [0.60 + 0.03 * place for place in range(13)]
    bent = [0.97 - 0.5 * math.exp(-place / 3) for place in range(13)]
    for n in (2_000, 100_000):
        for values in (rise, bent, rise[::-1]):
            assert not codes(run(accuracies(values), n=n)) & {"R05", "R07"}
    dipped = [value - (0.08 if place in (7, 9, 11) else 0) for place, value in enumerate(rise)]
    assert "R05" in codes(run(accuracies(dipped), n=2_000))


def test_pure_sampling_noise_is_rarely_taken_for_fluctuation() -> None:
    generator = np.random.default_rng(0)
    for n, num_epochs, p in product((20, 200, 2_000), (4, 8, 20), (0.6, 0.95)):
        drawn = generator.binomial(n, p, (1_000, num_epochs)) / n
        limit = max(2.5, most_by_chance(num_epochs))
        exceeded = sum(fluctuation(accuracies(values), n) > limit for values in drawn)
        # 5 are expected of one in 200; more than 12 have a probability of 0.2 %.
        assert exceeded <= 12, (n, num_epochs, p)


def test_random_answers_are_not_renamed_and_permuted_ones_are() -> None:
    generator = np.random.default_rng(0)
    for per_class, k in product((3, 5, 10, 20), (2, 3, 8, 20)):
        labels = np.repeat(np.arange(k), per_class)
        named = 0
        for _ in range(20):
            counts = np.zeros((k, k), dtype=np.int64)
            np.add.at(counts, (labels, generator.integers(0, k, len(labels))), 1)
            named += ClassesPermuted().apply(of_counts(counts)) is not None
        assert named == 0, (per_class, k)
        if per_class * k < 12:
            continue  # Too few images to say anything of.
        permuted = np.roll(per_class * np.eye(k, dtype=np.int64), 1, axis=1)
        found = ClassesPermuted().apply(of_counts(permuted))
        assert found is not None
        assert found.evidence["renamed"] == 1.0
        assert len(found.evidence["moved"]) == k


def of_counts(counts_kk: np.ndarray) -> Evidence:
    return with_validation([[int(n) for n in line] for line in counts_kk])


def test_the_same_jumps_on_few_images_are_noise() -> None:
    points = [(0.3, 0.9, 0.4, 0.9 - 0.05 * (place % 2)) for place in range(12)]
    few = run(curve(2, *points), n=20)
    assert "R05" not in codes(few)
    assert "R07" in codes(few)


def test_a_stage_that_makes_its_own_training_images_worse_has_large_steps() -> None:
    assert "R05" in codes(run(curve(1, (0.69, 0.5, 0.69, 0.5), *[(1.5, 0.5, 1.5, 0.5)] * 4)))


def test_even_and_tiny_progress_means_small_steps() -> None:
    points = [(0.69 - 0.003 * k, 0.55 + 0.005 * k, 0.69 - 0.003 * k, 0.55 + 0.005 * k) for k in range(10)]
    assert codes(run(curve(1, *points, rate=1e-6))) >= {"R06"}
    assert not codes(run(curve(1, *points, rate=1e-6))) & {"R02", "R03"}


def test_a_loss_that_came_to_rest_is_not_on_its_way() -> None:
    """A penalty holds it: it falls in nearly every epoch and by a tenth in all, but hardly at the end."""
    losses = [1.6, 1.5, 1.45, *(1.43 - 0.0005 * k for k in range(7))]
    held = curve(1, *[(loss, 0.6, loss, 0.6) for loss in losses])
    assert codes(replace(run(held), num_classes=5, isolation=None)) & {"R02", "R06"} == {"R02"}
    # The same where the schedule ends with small steps is no rest: each of them moved the loss as far as before.
    rates = [0.1, 0.1, 0.1, 0.05, *[0.0005] * 6]
    slowed = tuple(replace(one, learning_rate=rate) for one, rate in zip(held, rates, strict=True))
    assert "R06" in codes(replace(run(slowed), num_classes=5, isolation=None))


def test_validation_above_training_is_explained_by_how_training_is_measured() -> None:
    last = replace(CALM[-1], train_accuracy=0.9)
    found = next(one for one in diagnose(run((*CALM[:-1], last))) if one.code == "R08")
    assert (found.severity, found.suspected) == ("note", False)


def test_stage_2_that_loses_what_stage_1_had() -> None:
    first = curve(1, (0.69, 0.5, 0.69, 0.5), *[(0.1, 0.97, 0.15, 0.95)] * 5)
    second = curve(2, (0.1, 0.97, 0.15, 0.95), *[(0.4, 0.85, 0.5, 0.82)] * 6)
    assert "R09" in codes(run(first + second))


def test_batch_statistics_that_serve_better_mean_wrong_running_ones() -> None:
    tests = replace(HEALTHY_TESTS, validation=SampleResult(100, 55, 2.0), batch_statistics=SampleResult(100, 95, 0.2))
    assert "R10" in graver(run(CALM, isolation=tests))


def test_perfect_training_and_chance_in_validation_is_suspected_to_be_batch_norm() -> None:
    history = tuple(
        replace(one, train_eval_accuracy=None, train_eval_loss=None) for one in curve(1, *[(0.02, 0.99, 3.0, 0.5)] * 8)
    )
    found = next(one for one in diagnose(Evidence("a", 2000, 500, 2, history)) if one.code == "R10")
    assert found.suspected
    assert found.isolating_test


def answered(counts: list[list[int]], split: str = "validation") -> Predictions:
    """Predictions with this confusion matrix."""
    classes = tuple("abcdefghijklmnopqrst"[: len(counts)])
    cells = [(row, column) for row, line in enumerate(counts) for column, n in enumerate(line) for _ in range(n)]
    logits = np.full((len(cells), len(classes)), -2.0, dtype=np.float32)
    logits[np.arange(len(cells)), [column for _, column in cells]] = 2
    paths = tuple(f"{split}/{place}.png" for place in range(len(cells)))
    return Predictions(split, paths, classes, np.array([row for row, _ in cells]), logits)


def with_validation(counts: list[list[int]]) -> Evidence:
    predictions = answered(counts)
    return Evidence(
        "a", 900, len(predictions.paths), len(counts), validation=measure(predictions, "float32"),
        validation_predictions=predictions,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        ([[50, 0], [50, 0]], "R11"),
        ([[2, 48, 0], [1, 1, 48], [47, 2, 1]], "R12"),
        ([[26, 24, 0], [23, 27, 0], [1, 0, 49]], "R13"),
        ([[300, 2], [18, 6]], "R14"),
    ],
    ids=["collapse", "permuted", "twins", "imbalance"],
)
def test_confusion_matrices_name_their_fault(counts: list[list[int]], code: str) -> None:
    assert graver(with_validation(counts)) == {code}


@pytest.mark.parametrize("counts", [[[47, 3], [4, 46]], [[40, 5, 5], [6, 38, 6], [4, 7, 39]], [[290, 10], [5, 25]]])
def test_honest_confusion_matrices_name_none(counts: list[list[int]]) -> None:
    assert graver(with_validation(counts)) == set()


def test_labels_that_the_others_contradict_are_named() -> None:
    suspected = tuple(SuspectedLabel(f"train/{k}.png", "a", "b", 0.95) for k in range(80))
    # Of 700 answers of about 0.95, 35 are expected to be wrong.
    tests = replace(HEALTHY_TESTS, suspected_labels=suspected, sure_answers=SureAnswers(700, 80, 35.0))
    found = next(one for one in diagnose(run(CALM, isolation=tests)) if one.code == "R15")
    assert found.evidence["files"][0] == ["train/0.png"]
    assert "35.0" in found.seen
    # So many would be wrong if the answers are as sure as they say.
    for expected in (65.0, 80.0, 120.0):
        assert "R15" not in codes(run(CALM, isolation=replace(tests, sure_answers=SureAnswers(700, 80, expected))))
    # More suspected labels than a record lists are counted all the same.
    many = replace(tests, cross_validated=SampleResult(10_000, 9_500, 0.2))
    assert "R15" in codes(run(CALM, isolation=replace(many, sure_answers=SureAnswers(9_000, 450, 200.0))))


def test_only_labels_that_are_surely_contradicted_may_be_left_out() -> None:
    sure = tuple(SuspectedLabel(f"train/{k}.png", "a", "b", 0.9) for k in range(7))
    doubtful = tuple(SuspectedLabel(f"train/{k}.png", "a", "b", 0.4) for k in range(7, 250))
    # By the excess of loss alone: no count of sure answers is surprising.
    tests = replace(HEALTHY_TESTS, cross_validated=SampleResult(1000, 750, 0.6))
    for suspected in (sure + doubtful, doubtful):
        evidence = run(CALM, isolation=replace(tests, suspected_labels=suspected))
        found = next(one for one in diagnose(evidence) if one.code == "R15")
        assert found.evidence["files"] == [[one.path] for one in suspected]
        assert found.evidence.get("exclude", []) == [one.path for one in suspected if one.confidence > 0.8]
        assert ("--exclude" in found.fix) == (sure[0] in suspected)


@pytest.mark.parametrize(("num_train", "num_listed"), [(1000, 250), (12_345, 250), (12_345, 200), (0, 200)])
def test_what_a_list_of_suspected_labels_leaves_out_is_said(num_train: int, num_listed: int) -> None:
    suspected = tuple(SuspectedLabel(f"train/{k}.png", "a", "b", 0.4) for k in range(num_listed))
    tests = replace(HEALTHY_TESTS, cross_validated=SampleResult(1000, 750, 0.6), suspected_labels=suspected)
    found = next(one for one in diagnose(run(CALM, num_train=num_train, isolation=tests)) if one.code == "R15")
    assert ("Of 12,345 training images no more than these 1,000 were looked at." in found.seen) == (num_train > 1000)
    assert ("were looked at" in found.seen) == (num_train > 1000)
    assert ("The list ends at the 200 surest of 250" in found.seen) == ("list ends" in found.seen) == (num_listed < 250)


def test_the_same_images_answered_otherwise_mean_other_preprocessing() -> None:
    own = answers(np.arange(200) % 20 > 0)
    other = answers(np.random.default_rng(0).random(200) < 0.5)
    assert "R16" in codes(run(CALM, test_predictions=own, other_predictions=other))
    assert "R16" not in codes(run(CALM, test_predictions=own, other_predictions=own))


def test_other_answers_under_other_names_are_not_other_preprocessing() -> None:
    own = answers(np.arange(200) % 20 > 0)
    other = replace(own, logits_nk=own.logits_nk[:, ::-1].copy())
    found = codes(run(CALM, test_predictions=own, other_predictions=other))
    assert "R12" in found
    assert "R16" not in found


def test_one_answer_to_all_test_images_is_a_shift_where_validation_has_several() -> None:
    collapsed = answered([[100, 0], [100, 0]], split="test")
    found = graver(run(CALM, test=measure(collapsed, "float32"), test_predictions=collapsed))
    assert found == {"R17"}


def test_worse_answers_on_test_are_a_shift() -> None:
    test = answers(np.arange(400) % 4 > 0)
    assert "R17" in graver(run(CALM, test=measure(test, "float32"), test_predictions=test))


def weighed(audit: Finding, **changes: object) -> Finding:
    (found,) = (one for one in diagnose(run(CALM, audit=(audit,), **changes)) if one.code == "R18")
    return found


def test_copies_that_an_audit_of_before_found_are_weighed() -> None:
    test = answers(np.arange(400) % 20 > 0)
    copies = Finding("D04", "copies across splits", "error", "", "", "", {"files": [["train/x.jpg", test.paths[0]]]})
    assert weighed(copies, test_predictions=test).evidence["leaked"] == 1


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """20 images of noise for training, 12 for validation and 12 for test, of two classes."""
    generator = np.random.default_rng(3)
    for split, n in (("train", 20), ("validation", 12), ("test", 12)):
        for place in range(n):
            file = tmp_path / split / ("cat", "dog")[place % 2] / f"{place:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            small.resize((160, 120), Image.Resampling.BICUBIC).save(file)
    return tmp_path


def audited(folder: Path, code: str) -> Finding:
    return next(one for one in retop.check(str(folder)).findings if one.code == code)


def answered_in(folder: Path, split: str) -> Predictions:
    paths = tuple(str(file.relative_to(folder)) for file in sorted((folder / split).rglob("*.*")))
    given = answers(np.arange(len(paths)) % 4 > 0, split=split)
    return replace(given, paths=paths)


def copy_of(folder: Path, source: str, to: str, quality: int | None = None) -> None:
    image = Image.open(folder / source)
    (folder / to).unlink(missing_ok=True)
    image.save(folder / to) if quality is None else image.save((folder / to).with_suffix(".jpg"), quality=quality)


def test_copies_of_training_images_are_an_error_that_counts_them(photos: Path) -> None:
    copy_of(photos, "train/cat/00.png", "test/cat/00.png")
    test = answered_in(photos, "test")
    found = weighed(audited(photos, "D04"), test_predictions=test)
    others = right_answers(test)[[path != "test/cat/00.png" for path in test.paths]]
    assert (found.severity, found.suspected, found.evidence["leaked"]) == ("error", False, 1)
    assert found.evidence["without"] == pytest.approx(others.mean())


def test_a_test_split_that_is_all_copies_is_said_loudest(photos: Path) -> None:
    for place in range(12):
        name = f"{('cat', 'dog')[place % 2]}/{place:02d}.png"
        copy_of(photos, f"train/{name}", f"test/{name}")
    found = weighed(audited(photos, "D04"), test_predictions=answered_in(photos, "test"))
    assert (found.severity, found.evidence["leaked"], found.evidence["without"]) == ("error", 12, None)
    assert found.seen.startswith("All 12 of 12 test images")


def test_images_that_look_alike_stay_a_warning(photos: Path) -> None:
    copy_of(photos, "train/cat/00.png", "test/cat/00.png", quality=80)
    found = weighed(audited(photos, "D06"), test_predictions=answered_in(photos, "test"))
    assert (found.severity, found.suspected, found.evidence["leaked"]) == ("warning", True, 1)
    assert found.isolating_test


def test_copies_in_validation_are_not_taken_for_copies_in_training(photos: Path) -> None:
    copy_of(photos, "validation/cat/00.png", "test/cat/00.png")
    audit = audited(photos, "D04")
    found = weighed(audit, test_predictions=answered_in(photos, "test"))
    assert (found.severity, found.evidence["copies_in"]) == ("warning", "validation")
    assert leaked_from([audit], "train") == frozenset()
    copy_of(photos, "train/dog/01.png", "test/dog/01.png")
    found = weighed(audited(photos, "D04"), test_predictions=answered_in(photos, "test"))
    assert (found.severity, found.evidence["copies_in"], found.evidence["leaked"]) == ("error", "train", 1)


def test_all_copies_count_where_the_audit_shows_some(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retop.data.audit.copies.SHOWN_GROUPS", 2)
    for place in range(0, 10, 2):
        copy_of(photos, f"train/cat/{place:02d}.png", f"test/cat/{place:02d}.png")
    audit = audited(photos, "D04")
    assert len(audit.evidence["files"]) == 2
    assert weighed(audit, test_predictions=answered_in(photos, "test")).evidence["leaked"] == 5


def test_labels_that_no_image_tells_are_unrelated() -> None:
    guessed = answers(np.arange(400) % 2 > 0, split="validation")
    tests = replace(
        HEALTHY_TESTS, head_refit=SampleResult(400, 205, 0.7), shuffled_labels=SampleResult(400, 195, 0.7),
        cross_validated=SampleResult(1000, 510, 0.7),
    )  # fmt: skip
    blind = run(
        CALM, validation=measure(guessed, "float32"), validation_predictions=guessed, isolation=tests,
        test=measure(guessed, "float32"), test_predictions=guessed,
    )  # fmt: skip
    assert "R19" in graver(blind)
    # Where training images are told, it is only the labels of the others that nothing tells.
    assert "R19" in graver(replace(blind, isolation=replace(tests, cross_validated=SampleResult(1000, 950, 0.2))))
    # A few points above chance are too few on each split, and enough on all of them.
    slightly = replace(tests, head_refit=SampleResult(400, 225, 0.68), cross_validated=SampleResult(1000, 560, 0.68))
    assert "R19" not in codes(replace(blind, isolation=slightly))
    # A regression that can tell the classes means that the model is at fault, not the labels.
    able = replace(tests, head_refit=SampleResult(400, 320, 0.5))
    assert "R19" not in codes(replace(blind, isolation=able))


def test_shuffled_labels_that_answer_some_images_by_chance_are_no_finding() -> None:
    # Images of one class share an answer, so accuracies of shuffled labels scatter as those of few images do.
    assert graver(run(CALM, isolation=replace(HEALTHY_TESTS, shuffled_labels=SampleResult(300, 240, 0.5)))) == set()


def test_borders_that_suffice_are_give_aways() -> None:
    tests = replace(HEALTHY_TESTS, border=SampleResult(100, 85, 0.5))
    assert "R20" in graver(run(CALM, isolation=tests))
    assert "R20" in graver(run(CALM, isolation=replace(tests, middle=SampleResult(100, 10, 2.5))))


def test_surroundings_that_tell_less_than_the_subject_are_a_note() -> None:
    # Five classes: of 64 images 36 are answered by the border, far above chance; by the middle, once 20 and once 8.
    five = answers(np.arange(400) % 20 > 0, classes=tuple("abcde"), split="validation")
    tests = replace(HEALTHY_TESTS, border=SampleResult(64, 36, 1.5))
    told = [replace(tests, middle=SampleResult(64, right, 2.0)) for right in (20, 8)]
    found = [GiveAway().apply(run(CALM, validation=measure(five, "float32"), isolation=one)) for one in told]
    assert [one.severity for one in found if one] == ["note", "warning"]


def test_thumbnails_that_suffice_are_a_note() -> None:
    tests = replace(HEALTHY_TESTS, thumbnail=SampleResult(100, 93, 0.3))
    found = next(one for one in diagnose(run(CALM, isolation=tests)) if one.code == "R20")
    assert (found.severity, found.suspected) == ("note", True)
    assert "beside the subject" not in found.why


def test_training_labels_confirmed_less_often_than_others_are_noisy() -> None:
    tests = replace(HEALTHY_TESTS, cross_validated=SampleResult(1000, 750, 0.6))
    assert "R15" in graver(run(CALM, isolation=tests))
    assert "R15" not in codes(run(CALM, isolation=replace(tests, cross_validated=SampleResult(1000, 920, 0.3))))


def test_wrong_labels_are_seen_in_losses_that_chance_does_not_explain() -> None:
    # 20 % of the training labels drawn anew: regressions that answer 85 of 100 confirm 72 of 100, and pay more.
    noisy = replace(
        HEALTHY_TESTS, head_refit=SampleResult(400, 340, 0.42), cross_validated=SampleResult(400, 290, 0.6)
    )  # fmt: skip
    assert "R15" in graver(run(CALM, isolation=noisy))
    few = replace(noisy, head_refit=SampleResult(30, 26, 0.42), cross_validated=SampleResult(30, 22, 0.6))
    assert "R15" not in codes(run(CALM, n=40, isolation=few))
    # A regression that learned from a fifth fewer images pays a little more for that alone.
    fewer_learned = replace(noisy, cross_validated=SampleResult(400, 332, 0.46))
    assert "R15" not in codes(run(CALM, isolation=fewer_learned))


def test_a_model_far_above_the_regression_does_not_tell_how_its_losses_scatter() -> None:
    """Flattened, answers that are nearly all right cost nearly the same; as with the digits of the demo."""
    sure = [answers(np.arange(300) % 100 > 0, split=split) for split in ("validation", "test")]
    learned = replace(
        HEALTHY_TESTS, head_refit=SampleResult(300, 271, 0.599), cross_validated=SampleResult(300, 260, 0.764)
    )  # fmt: skip
    evidence = run(
        CALM, n=300, validation=measure(sure[0], "float32"), test=measure(sure[1], "float32"),
        validation_predictions=sure[0], test_predictions=sure[1], isolation=learned,
    )  # fmt: skip
    assert "R15" not in codes(evidence)
    assert "R15" in codes(replace(evidence, isolation=replace(learned, cross_validated=SampleResult(300, 220, 1.2))))


def test_flattened_answers_cost_what_they_are_asked_to() -> None:
    predictions = answers(np.arange(400) % 10 > 0, split="validation")
    own = float(losses(predictions, 1.0).mean())
    assert own == pytest.approx(measure(predictions, "float32").log_loss)
    wanted = (own + np.log(2)) / 2
    assert float(losses(predictions, flattening(predictions, wanted)).mean()) == pytest.approx(wanted, rel=0.03)
    best = flattening(predictions, 0.0)
    assert losses(predictions, best).mean() <= min(losses(predictions, best * by).mean() for by in (0.9, 1.1))


def test_twins_need_other_pairs_that_are_told_apart() -> None:
    twins = [[26, 24, 2, 1], [23, 27, 1, 2], [1, 2, 45, 5], [2, 1, 6, 44]]
    assert graver(with_validation(twins)) == {"R13"}
    assert graver(with_validation([[14, 12, 13, 14], [13, 14, 12, 14], [12, 14, 14, 13], [14, 13, 12, 14]])) == set()


def test_classes_whose_probabilities_order_their_images_are_no_twins() -> None:
    twins = with_validation([[26, 24, 0], [23, 27, 0], [1, 0, 49]])
    assert twins.validation_predictions is not None
    told = twins.validation_predictions
    logits_nk = told.logits_nk + 0.5 * np.eye(3, dtype=np.float32)[told.labels_n]
    assert np.array_equal(logits_nk.argmax(1), told.logits_nk.argmax(1))
    ordered = replace(twins, validation_predictions=replace(told, logits_nk=logits_nk))
    assert "R13" in codes(twins)
    assert "R13" not in codes(ordered)
    area = roc_auc_score(told.labels_n[:100] == 1, logits_nk[:100, 1] - logits_nk[:100, 0])
    assert ordering_of(ordered, (0, 1)) == pytest.approx((area - 0.5) / math.sqrt(101 / (12 * 50 * 50)))


def test_twins_on_few_images_are_seen_with_test_images() -> None:
    counts = [[5, 4, 0, 0], [4, 5, 1, 0], [0, 1, 14, 0], [1, 0, 0, 14]]
    alone, test = with_validation(counts), answered(counts, "test")
    assert "R13" not in codes(alone)
    assert "R13" in codes(replace(alone, test=measure(test, "float32"), test_predictions=test))


def test_rare_classes_that_are_right_less_often_are_hidden_by_accuracy() -> None:
    counts = [[57, 1, 2], [4, 7, 1], [3, 1, 8]]
    test = answered(counts, "test")
    both = replace(with_validation(counts), test=measure(test, "float32"), test_predictions=test)
    assert graver(both) == {"R14"}
    even = [[57, 1, 2], [1, 11, 0], [1, 0, 11]]
    assert graver(with_validation(even)) == set()


def test_a_saved_model_that_answers_worse_than_in_training_is_another_one() -> None:
    stage = StageRecord(2, 5, 3, 0.01, "recipe", 0.0, "recipe", 0.95, 0.2, "finished", 10)
    spoilt = answers(np.arange(400) % 2 > 0, split="validation")
    evidence = run(CALM, stages=(stage,), validation=measure(spoilt, "float32"), validation_predictions=spoilt)
    assert "R27" in graver(evidence)
    assert not codes(run(CALM, stages=(stage,))) & {"R10", "R27"}
    # Only where the batch's own statistics mend it are the stored ones said to be at fault ...
    stored = SampleResult(100, 50, 9.0)
    mended = replace(HEALTHY_TESTS, validation=stored, batch_statistics=SampleResult(100, 90, 0.3))
    found = {one.code: one for one in diagnose(replace(evidence, isolation=mended))}
    assert not found["R10"].suspected
    assert "R27" not in found
    # ... or suspected, where they bring outputs far out of scale nearer; a head that is lost stays as it is.
    nearer = replace(mended, batch_statistics=SampleResult(100, 52, 1.5))
    assert {one.code: one for one in diagnose(replace(evidence, isolation=nearer))}["R10"].suspected
    lost = replace(mended, validation=SampleResult(100, 50, 0.69), batch_statistics=SampleResult(100, 50, 0.69))
    assert {"R27"} <= codes(replace(evidence, isolation=lost)) - {"R10"} == codes(replace(evidence, isolation=lost))
    # Statistics that training keeps and the model folder has not are at fault, whatever there was time to test.
    changed = replace(lost, batch_statistics=None, kept_statistics=KeptStatistics(27, 20, "layer1.bn1"))
    found = {one.code: one for one in diagnose(replace(evidence, isolation=changed))}
    assert not found["R10"].suspected
    assert "20 have others in the saved model, layer1.bn1 the first" in found["R10"].seen
    assert "R27" not in found
    kept = replace(changed, kept_statistics=KeptStatistics(27, 0, None))
    assert {"R27"} <= codes(replace(evidence, isolation=kept)) - {"R10"} == codes(replace(evidence, isolation=kept))
    # That it answers one class is not for smaller steps to mend.
    collapsed = answered([[50, 0], [50, 0]])
    one_class = replace(evidence, validation=measure(collapsed, "float32"), validation_predictions=collapsed)
    assert graver(replace(one_class, isolation=changed)) == {"R10"}
    assert graver(replace(one_class, isolation=kept)) == {"R27"}
    # Where nothing is lost, nothing is wrong.
    assert "R10" not in codes(run(CALM, isolation=changed))


def test_training_that_is_learned_by_heart_is_told_before_it_costs_anything() -> None:
    by_heart = curve(
        2, (1.1, 0.6, 1.1, 0.53), (0.9, 0.7, 1.07, 0.55), *[(0.3, 0.95, 1.2, 0.54)] * 3, (0.18, 1.0, 1.235, 0.526)
    )
    found = next(one for one in diagnose(run(by_heart)) if one.code == "R01")
    assert found.severity == "note"
    costly = (*by_heart[:-1], replace(by_heart[-1], validation_loss=1.6))
    assert next(one for one in diagnose(run(costly)) if one.code == "R01").severity == "warning"
    # A gap that was there from the first epoch on has not grown.
    steady = curve(2, (0.2, 1.0, 1.1, 0.53), *[(0.19, 1.0, 1.12 + k / 100, 0.53) for k in range(5)])
    assert "R01" not in codes(run(steady))


def test_as_trained_is_not_under_evaluation_conditions() -> None:
    """A history of another tool: training images were augmented."""
    augmented = tuple(
        replace(one, train_eval_accuracy=None, train_eval_loss=None)
        for one in curve(1, *[(3.4 - k / 50, 0.28, 2.6, 0.38) for k in range(12)])
    )
    assert "R02" not in codes(Evidence("a", 5000, 500, 100, augmented))
    by_heart = tuple(
        replace(one, train_eval_accuracy=None, train_eval_loss=None)
        for one in curve(1, *[(0.7 - k / 30, 0.5 + k / 41, 0.69 + k / 14, 0.6) for k in range(20)])
    )
    found = {one.code: one for one in diagnose(Evidence("a", 2000, 500, 2, by_heart))}
    assert "as trained" in found["R01"].seen
    assert found["R01"].suspected
    assert found["R01"].isolating_test
    # It was learned by heart little by little: wrong statistics are there from the beginning.
    assert "R10" not in found
    assert "--" not in found["R01"].fix


def test_a_leak_does_not_hide_wrong_labels_nor_stage_1_stage_2() -> None:
    assert "R15" not in EXPLAINS.get("R18", ())
    swings = [(0.3, 0.9, 0.4, 0.95 - 0.4 * (k % 2)) for k in range(9)]
    first = curve(1, *swings)
    second = curve(2, *[(0.3 / (k + 1), min(1.0, 0.9 + k / 30), 0.4 + k / 10, 0.8) for k in range(9)])
    assert {"R05", "R01"} <= codes(run(first + second))


def test_a_training_loss_that_leaps_means_large_steps() -> None:
    points = [(0.1 + 0.5 * (place % 2), 0.97, 0.4, 0.9) for place in range(12)]
    assert "R05" in codes(run(curve(1, *points)))


def test_a_validation_loss_that_rises_far_is_overfitting_where_accuracy_does_not_tell() -> None:
    points = [(0.7, 0.5, 0.7, 0.5), (0.2, 0.97, 0.4, 0.95), (0.05, 1.0, 0.5, 0.95), (0.01, 1.0, 0.7, 0.95),
              (0.005, 1.0, 0.9, 0.95)]  # fmt: skip
    assert "R01" in codes(run(curve(2, *points), n=400))
    assert "R01" not in codes(run(curve(2, *points), n=60))


def test_few_images_are_a_note() -> None:
    few = answers(np.arange(20) % 10 > 0)
    found = next(one for one in diagnose(run(CALM, test=measure(few, "float32"), test_predictions=few))
                 if one.code == "R21")  # fmt: skip
    assert found.severity == "note"


def test_backbones_that_cannot_be_told_apart_are_a_note() -> None:
    from example_records import comparison_record

    same = comparison_record(
        [contender("a", right=np.ones((1, 50), bool)), contender("b", right=np.ones((1, 50), bool))]
    )
    assert [finding.code for finding in diagnose_comparison(same)] == ["R22"]
    apart = comparison_record([contender("a", accuracy=1.0), contender("b", accuracy=0.5)])
    assert diagnose_comparison(apart) == ()


def depths(*gained_and_lost: tuple[int, int]) -> tuple[DepthResult, ...]:
    """Regressions at several depths of which the last features answer 60 of 100 rightly."""
    return tuple(
        DepthResult(f"layer{place}", SampleResult(100, 60 + gained - lost, 0.5), gained, lost)
        for place, (gained, lost) in enumerate(gained_and_lost, 1)
    )


def test_an_earlier_depth_that_serves_better_means_a_boundary_too_deep() -> None:
    deep = run(CALM, isolation=replace(HEALTHY_TESTS, depths=depths((2, 30), (25, 3), (8, 4))))
    found = next(one for one in diagnose(deep) if one.code == "R23")
    assert "--thaw layer3" in found.fix
    assert found.evidence["last"] == pytest.approx(0.6)
    assert "R23" not in codes(run(CALM, isolation=replace(HEALTHY_TESTS, depths=depths((2, 30), (9, 3), (8, 4)))))


def test_thawing_that_buys_nothing_is_a_note() -> None:
    evidence = run(CALM)
    assert evidence.record is not None
    assert evidence.validation is not None
    groups = tuple(GroupRecord(f"layer{place}", 10, 10, 10) for place in range(1, 5))
    record = replace(evidence.record, network=replace(evidence.record.network, groups=groups, boundary="layer2"))
    refit = SampleResult(evidence.validation.n, evidence.validation.num_right, 0.2)
    thawed = replace(evidence, record=record, isolation=replace(HEALTHY_TESTS, head_refit=refit))
    found = next(one for one in diagnose(thawed) if one.code == "R24")
    assert (found.severity, found.evidence["trained_groups"]) == ("note", 3)
    worse = replace(refit, num_right=refit.num_right - 5)
    assert "R24" not in codes(replace(thawed, isolation=replace(HEALTHY_TESTS, head_refit=worse)))


OF_ANOTHER_TOOL = {"record": None, "isolation": None, "other_predictions": None, "stages": (), "audit": ()}
"""What no history holds; test_importing.py shows that none is read from one."""


def needing_a_run() -> dict[str, Evidence]:
    """For each rule that needs what only a run of retop leaves, evidence that it speaks of."""
    evidence, test = run(CALM), answers(np.arange(400) % 20 > 0)
    assert evidence.record is not None
    groups = tuple(GroupRecord(f"layer{place}", 10, 10, 10) for place in range(1, 5))
    record = replace(evidence.record, network=replace(evidence.record.network, groups=groups, boundary="layer2"))
    copies = Finding("D04", "copies across splits", "error", "", "", "", {"files": [["train/x.jpg", test.paths[0]]]})
    guessed = answers(np.arange(400) % 2 > 0, split="validation")
    blind = {"validation": measure(guessed, "float32"), "test": measure(guessed, "float32")}
    long, short = (StageRecord(2, n, 1, 0.01, "recipe", 0.0, "recipe", 0.95, 0.2, "finished", 10) for n in (20, 5))
    tests = {
        "R15": {"cross_validated": SampleResult(1000, 750, 0.6)},
        "R19": {
            "head_refit": SampleResult(400, 205, 0.7), "shuffled_labels": SampleResult(400, 195, 0.7),
            "cross_validated": SampleResult(1000, 510, 0.7),
        },
        "R20": {"border": SampleResult(100, 85, 0.5)},
        "R23": {"depths": depths((2, 30), (25, 3), (8, 4))},
        "R24": {"head_refit": SampleResult(400, 380, 0.2)},
    }  # fmt: skip
    changes: dict[str, dict[str, object]] = {
        "R04": {"stages": (long,)},
        "R18": {"audit": (copies,), "test_predictions": test},
        "R19": blind,
        "R24": {"record": record},
        "R27": {"stages": (short,), "validation": blind["validation"]},
    }
    return {
        code: replace(evidence, isolation=replace(HEALTHY_TESTS, **tests.get(code, {})), **changes.get(code, {}))  # type: ignore[arg-type]
        for code in tests.keys() | changes.keys()
    }


def of_another_tool() -> list[Evidence]:
    """Histories and answers of another tool, each with a fault."""
    good, poor = answers(np.arange(400) % 20 > 0, split="validation"), answers(np.arange(400) % 4 > 0)
    wrong, few = answers(np.arange(400) % 2 > 0), answers(np.arange(20) % 10 > 0)
    as_trained = [replace(one, train_eval_accuracy=None, train_eval_loss=None)
                  for one in curve(1, *[(0.02, 0.99, 3.0, 0.5)] * 8)]  # fmt: skip
    histories = (
        curve(2, (0.7, 0.5, 0.7, 0.5), (0.3, 0.9, 0.4, 0.84), *[(0.01, 1.0, 0.7, 0.845)] * 4),
        curve(1, (0.9, 0.5, 0.9, 0.5), *[(0.66, 0.60, 0.66, 0.60)] * 8),
        curve(2, *[(0.7 - 0.05 * k, 0.5 + 0.03 * k, 0.7 - 0.05 * k, 0.5 + 0.03 * k) for k in range(8)]),
        curve(2, *[(0.3, 0.9, 0.4, 0.9 - 0.15 * (place % 2)) for place in range(12)]),
        curve(1, *[(0.69 - 0.003 * k, 0.55, 0.69 - 0.003 * k, 0.55) for k in range(10)]),
        (*CALM[:-1], replace(CALM[-1], train_accuracy=0.9)),
        (*CALM[:-1], replace(CALM[-1], train_accuracy=0.7, train_eval_accuracy=0.7)),
        curve(1, (0.69, 0.5, 0.69, 0.5), *[(0.1, 0.97, 0.15, 0.95)] * 5)
        + curve(2, (0.1, 0.97, 0.15, 0.95), *[(0.4, 0.85, 0.5, 0.82)] * 6),
        tuple(as_trained),
    )
    calm = Evidence("a", 1000, 400, 2, CALM, validation=measure(good, "float32"), validation_predictions=good)
    counts = ([[50, 0], [50, 0]], [[2, 48, 0], [1, 1, 48], [47, 2, 1]], [[26, 24, 0], [23, 27, 0], [1, 0, 49]],
              [[300, 2], [18, 6]])  # fmt: skip
    return [
        *(Evidence("a", 1000, 400, 2, history) for history in histories),
        *(replace(calm, test=measure(test, "float32"), test_predictions=test) for test in (poor, wrong, few)),
        *map(with_validation, counts),
        replace(run(curve(2, *[(0.3, 0.9, 0.4, 0.9 - 0.05 * (k % 2)) for k in range(12)]), n=20), **OF_ANOTHER_TOOL),  # type: ignore[arg-type]
        Evidence("a", 0, 0, 0, CALM, no_numbers=(("train loss", 3),)),
    ]


def test_a_rule_that_needs_a_run_of_retop_says_nothing_of_another_tools() -> None:
    evidences = needing_a_run()
    for code, evidence in evidences.items():
        rule = next(rule for rule in RULES if rule.code == code)()
        assert rule.apply(evidence) is not None, code
        assert rule.apply(replace(evidence, **OF_ANOTHER_TOOL)) is None, code  # type: ignore[arg-type]
        assert rule.elsewhere is None, code
    said = {finding.code for evidence in of_another_tool() for finding in diagnose(evidence)}
    # R22 is about a comparison, which is always one of retop's.
    assert said | evidences.keys() | {"R22"} == {rule.code for rule in RULES}
    assert not said & evidences.keys()


def test_validation_that_conditions_do_not_explain_is_looked_into_whoever_trained() -> None:
    above = run((*CALM[:-1], replace(CALM[-1], train_accuracy=0.7, train_eval_accuracy=0.7)))
    for evidence in (above, replace(above, **OF_ANOTHER_TOOL)):  # type: ignore[arg-type]
        found = next(one for one in diagnose(evidence) if one.code == "R08")
        assert found.severity == "warning"
        assert found.fix.startswith("Look for easier or duplicated images in validation")


def test_what_is_said_of_another_tools_run_can_be_done_there() -> None:
    for finding in (one for evidence in of_another_tool() for one in diagnose(evidence)):
        words = f"{finding.fix} {finding.why} {finding.isolating_test}"
        # `import-history` takes these numbers itself.
        assert set(re.findall(r"--[a-z-]+", words)) <= {"--num-validation", "--num-classes"}, finding.code
        assert not re.search(r"\bretop\b|=auto", words), finding.code


def test_tests_that_were_left_out_for_one_reason_are_told_together() -> None:
    skipped = (SkippedTest("borders", "takes 2 s"), SkippedTest("depths", "takes 2 s"), SkippedTest("fits", "failed"))
    evidence = run(CALM, isolation=replace(HEALTHY_TESTS, skipped=skipped))
    found = next(one for one in diagnose(evidence) if one.code == "R26")
    assert found.seen == "Not tested: borders, depths (takes 2 s); fits (failed)."
    assert found.evidence["tests"] == ["borders", "depths", "fits"]
