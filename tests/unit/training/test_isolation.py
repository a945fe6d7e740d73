"""Isolating tests: they measure what they say, change nothing, and can be left out."""

from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as SklearnRegression

from example_records import contender
from images import write_split_shapes
from retop.activations import ActivationStore
from retop.backbones import build_backbone
from retop.data import Dataset, open_dataset
from retop.diagnosis import evidence_of
from retop.diagnosis.labels import surprising
from retop.diagnosis.untested import NotTested
from retop.errors import StoppedError, StoreError
from retop.predictor import Predictor
from retop.records import GroupRecord, Preprocessing, read_finished_run
from retop.stopping import Stop
from retop.training.allowance import Allowance
from retop.training.costs import (
    BACKWARD,
    BATCH_SECONDS,
    CORE_FLOPS,
    PASSED_PIXEL_SECONDS,
    STEP_SECONDS,
    Costs,
    fit_seconds,
)
from retop.training.depth import group_outputs, run_batches
from retop.training.isolation import isolate
from retop.training.probing import (
    PENALTY_C,
    FrozenFeatures,
    count_right,
    cross_validate,
    fit_logits,
    least_sharpness,
)
from retop.training.sample import exchange_middles, other_donors
from small_runs import model_bytes, run_small, saved_epochs, small_recipe, without_clock

COSTS = Costs(
    [GroupRecord(name, 0, flops, 0) for name, flops in (("stem", 10**9), ("late", 10**8))],
    Preprocessing(224, 224, 0.9, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    accelerated=False,
)


def test_depths_are_those_of_the_frozen_groups(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    record = run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore())
    tests = record.isolation
    assert tests is not None
    groups = [group.name for group in record.network.groups]
    assert [one.group for one in tests.depths] == groups[: groups.index(record.network.boundary or "")]
    # All depths are compared with the same regression, so what they gained and lost leads back to one number.
    assert len({one.result.num_right - one.only_here + one.only_last for one in tests.depths}) == 1
    assert {one.result.n for one in tests.depths} == {tests.validation.n} == {tests.thumbnail.n} == {15}
    assert tests.border.n <= 15
    # Border and middle are of two classes, so an answer follows one of them at most.
    assert tests.middle is not None
    assert tests.middle.n == tests.border.n >= tests.middle.num_right + tests.border.num_right


def test_all_groups_are_probed_where_none_is_thawed(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    record = run_small(
        tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), settings={"thaw": "none"}
    )
    assert record.isolation is not None
    assert len(record.isolation.depths) == len(record.network.groups)
    # The last group's output, averaged, is what the head reads.
    last = record.isolation.depths[-1]
    assert last.only_here == last.only_last == 0


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_batch_in_parts_leaves_the_same_at_every_depth(
    small_weights: Path, shapes: Dataset, tmp_path: Path, head: str
) -> None:
    settings = {"head.kind": head, "isolating_tests": False}
    run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    groups = build_backbone("test_resnet", small_weights).groups[:3]
    images = [torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8) for n in (11, 7)]
    outputs = []
    for at_once in (None, 4):
        predictor = Predictor(tmp_path / "run" / "model", images_at_once=at_once)
        with group_outputs(predictor.classifier.image_network.body, groups) as pooled:
            outputs.append(run_batches(predictor, images, pooled, [group.name for group in groups]))
    for whole, parts in zip(*(one.values() for one in outputs), strict=True):
        assert len(whole) == 18
        np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_what_exceeds_the_share_is_left_out_and_said(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    skipped = {}
    for share in (0.0, 0.1, 1.0):
        record = run_small(
            tmp_path / f"{share}", shapes, weights=small_weights, store=ActivationStore(tmp_path / "store"),
            settings={"isolating_share": share},
        )  # fmt: skip
        tests = record.isolation
        assert tests is not None
        skipped[share] = [one.test for one in tests.skipped]
        finding = NotTested().apply(evidence_of(read_finished_run(tmp_path / f"{share}")))
        assert (finding.evidence["tests"] if finding else []) == skipped[share]
        made = [
            tests.head_refit is not None,
            tests.batch_statistics is not None,
            tests.border.n > 0,
            bool(tests.depths),
        ]
        assert made.count(False) == len(skipped[share])
    assert [len(skipped[share]) for share in (0.0, 1.0)] == [4, 0]
    # The smaller share makes no test that the larger one does not.
    assert set(skipped[0.1]) <= set(skipped[0.0])
    assert model_bytes(tmp_path / "0.0") == model_bytes(tmp_path / "1.0")


def test_what_the_store_spares_a_rerun_is_no_time_to_test_in(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    # Of four views four times as many images pass the prefix, unless they are stored; the steps are the same.
    skipped = []
    for views, preset in ((1, "none"), (4, "standard")):
        settings = {"views.preset": preset, "views.count": views, "isolating_share": 0.01, "thaw": "none"}
        record = run_small(
            tmp_path / str(views), shapes, weights=small_weights, store=ActivationStore(), settings=settings
        )
        assert record.isolation is not None
        skipped.append(record.isolation.skipped)
    assert len(skipped[0]) == 4
    assert skipped[0] == skipped[1]


def test_what_lacks_features_or_memory_is_left_out_and_said(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    run_small(tmp_path / "run", shapes, weights=small_weights)
    finding = NotTested().apply(evidence_of(read_finished_run(tmp_path / "run")))
    assert finding is not None
    assert finding.evidence["tests"] == ["regressions on the features", "probe at several depths"]
    assert "not stored" in finding.seen
    predictor = Predictor(tmp_path / "run" / "model", images_at_once=4)
    allowance = Allowance(1e15)
    isolate(
        predictor, read_finished_run(tmp_path / "run").validation, shapes.train, shapes.validation, None,
        frozen=(), seed=0, costs=COSTS, allowance=allowance,
    )  # fmt: skip
    assert [one.test for one in allowance.skipped] == ["statistics of the batch"]


def test_a_sample_is_the_largest_with_which_all_tests_fit(small_weights: Path, tmp_path: Path) -> None:
    dataset = open_dataset(write_split_shapes(tmp_path / "images", 3, 100, 3), small_recipe().data)
    run_small(tmp_path / "run", dataset, weights=small_weights, settings={"isolating_tests": False})
    predictions, sizes, left_out = read_finished_run(tmp_path / "run").validation, [], []
    for seconds in np.geomspace(0.25, 256, 11):
        allowance = Allowance(float(seconds))
        tests = isolate(
            Predictor(tmp_path / "run" / "model"), predictions, dataset.train, dataset.validation, None,
            frozen=(), seed=0, costs=COSTS, allowance=allowance,
        )  # fmt: skip
        assert 0 <= allowance.seconds <= seconds
        sizes.append(tests.validation.n)
        left_out.append(len(allowance.skipped))
    assert sizes == sorted(sizes)
    assert set(sizes) == {64, 128, 256}
    # Only the smallest is taken where not all fits.
    assert [number for number, skipped in zip(sizes, left_out, strict=True) if skipped] == [64] * sum(
        map(bool, left_out)
    )
    assert left_out[0] and not left_out[-1]


def test_work_is_counted_as_it_is_done() -> None:
    stages = [replace(stage, epochs_run=2, learning_rate_chosen_by="recipe") for stage in contender("a").runs[0].stages]
    late = next(stage for stage in stages if stage.stage == 2)
    # Two epochs of 5 training steps at three passes, and 4 images judged, in the last of the groups.
    computed = 2 * (BACKWARD * 5 + 4) * 1e8 / CORE_FLOPS
    assert COSTS.training(late, 1, (5, 4), 1) == pytest.approx(2 * 5 * STEP_SECONDS[2] + computed)
    waited = 10 * 224**2 * PASSED_PIXEL_SECONDS
    assert COSTS.passing(10, 5) == pytest.approx(10 * 110e7 / CORE_FLOPS + waited + 2 * BATCH_SECONDS)
    assert COSTS.decoding(7) < replace(COSTS, preprocessing=replace(COSTS.preprocessing, height=448)).decoding(7)
    assert fit_seconds(6, 100, 50, 3) == pytest.approx(2 * fit_seconds(3, 100, 50, 3))


def test_what_is_not_left_is_not_spent() -> None:
    allowance = Allowance(100.0)
    assert [allowance.covers(test, 60) for test in ("one", "two")] == [True, False]
    assert [one.test for one in allowance.skipped] == ["two"]
    assert allowance.covers("three", 40)


def test_regressions_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    for num_images, num_features, num_classes in ((60, 90, 2), (200, 30, 2), (150, 200, 5), (400, 20, 12)):
        labels_n = np.concatenate(
            [np.arange(num_classes), generator.integers(0, num_classes, num_images - num_classes)]
        )
        features_nf = generator.normal(0, 0.5, (num_classes, num_features))[labels_n]
        features_nf = (features_nf + generator.normal(0, 1, features_nf.shape)).astype(np.float32)
        exact = SklearnRegression(C=PENALTY_C, max_iter=5000, tol=1e-9).fit(features_nf.astype(np.float64), labels_n)
        ours_nk = fit_logits(features_nf, labels_n, features_nf, num_classes)
        np.testing.assert_allclose(ours_nk, exact.predict_log_proba(features_nf), atol=0.01)
        # A class that nobody has seen is never answered.
        unseen_nk = fit_logits(features_nf, labels_n + (labels_n > 0), features_nf, num_classes + 1)
        np.testing.assert_allclose(np.delete(unseen_nk, 1, axis=1), ours_nk, atol=1e-12)
        assert (unseen_nk[:, 1] < -20).all()


def test_features_that_are_no_numbers_are_not_fitted() -> None:
    features_nf = np.ones((4, 2), dtype=np.float32)
    features_nf[1, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        fit_logits(features_nf, np.array([0, 1, 0, 1]), features_nf, 2)


def test_leaving_them_out_changes_nothing_else(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    for name, wanted in (("with", True), ("without", False)):
        settings = {"isolating_tests": wanted}
        record = run_small(
            tmp_path / name, shapes, weights=small_weights, store=ActivationStore(tmp_path / "store"), settings=settings
        )
        assert (record.isolation is not None) == wanted
        assert ("isolating tests" in {timing.part for timing in record.timings}) == wanted
    assert model_bytes(tmp_path / "with") == model_bytes(tmp_path / "without")
    histories = [[without_clock(epoch) for epoch in saved_epochs(tmp_path / name)] for name in ("with", "without")]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_every_family_has_outputs_of_its_groups(backbone: str) -> None:
    built = build_backbone(backbone, "random", seed=0)
    side = built.preprocessing.height
    images = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), group_outputs(built.network, built.groups) as pooled:
        built.network.eval()(images)
    assert list(pooled) == [group.name for group in built.groups]
    assert all(output.ndim == 2 and len(output) == 2 for output in pooled.values())
    # Averaged over places, never over channels: as many values as the widest of the group's parameters has channels.
    widths = {parameter.shape[0] for parameter in built.network.parameters()}
    assert all(output.shape[1] in widths for output in pooled.values())


def test_middles_come_from_images_of_other_classes() -> None:
    labels_n = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [10, 12, 9]))
    donor_n = other_donors(labels_n)
    assert sorted(donor_n) == list(range(31))
    assert (labels_n[donor_n] != labels_n).all()
    images = torch.arange(31, dtype=torch.uint8).reshape(31, 1, 1, 1).expand(31, 3, 20, 30)
    exchanged = exchange_middles(images, donor_n)
    assert (exchanged[:, :, 10, 15] == torch.from_numpy(donor_n)[:, None]).all()
    for row, column in ((0, 15), (19, 15), (10, 0), (10, 29)):
        assert (exchanged[:, :, row, column] == images[:, :, 0, 0]).all()


def test_of_a_class_with_most_images_some_find_no_other() -> None:
    labels_n = np.repeat([0, 1], [8, 3])
    donor_n = other_donors(labels_n)
    assert sorted(donor_n) == list(range(11))
    assert (labels_n[donor_n] != labels_n).sum() == 6


def test_a_regression_on_features_that_say_nothing_stays_at_chance() -> None:
    generator = np.random.default_rng(0)
    features = FrozenFeatures(
        generator.normal(3, 5, (400, 8)).astype(np.float32), generator.normal(3, 5, (400, 8)).astype(np.float32)
    ).scaled()
    assert abs(float(features.train_nf.mean())) < 1e-5
    labels_n = generator.integers(0, 4, 400)
    seen = count_right(fit_logits(features.train_nf, labels_n, features.validation_nf, 4), labels_n)
    assert abs(seen.num_right / 400 - 0.25) < 0.1


@pytest.mark.parametrize(("overlap", "wrong", "named"), [(0.6, 0.0, 0), (0.6, 0.2, 10), (0.15, 0.0, 0)])
def test_wrong_labels_are_told_from_classes_that_overlap(overlap: float, wrong: float, named: int) -> None:
    generator, n, k = np.random.default_rng(0), 300, 2
    found = 0
    for _ in range(10):
        labels_n = generator.integers(0, k, 2 * n)
        features_nf = generator.normal(0, overlap, (k, 64))[labels_n] + generator.normal(0, 1, (2 * n, 64))
        features = FrozenFeatures(*np.split(features_nf.astype(np.float32), 2)).scaled()
        given_n = np.where(generator.random(n) < wrong, 1 - labels_n[:n], labels_n[:n])
        refit_nk = fit_logits(features.train_nf, given_n, features.validation_nf, k)
        images = ImageRows(("a", "b"))
        sharpness = least_sharpness(refit_nk, labels_n[n:])
        _, _, sure = cross_validate(features.train_nf, given_n, images, np.arange(n), generator, sharpness, Stop())  # type: ignore[arg-type]
        assert sure.num_wrong <= sure.n <= n
        found += surprising(sure, n)
    assert found == named


@dataclass(frozen=True)
class ImageRows:
    """Names of rows of features, which have no files."""

    classes: tuple[str, ...]

    def path(self, row: int) -> str:
        return str(row)


@pytest.mark.parametrize(
    ("broken", "error", "said", "lost"),
    [
        ("isolation.fit_logits", ValueError("no fit"), "failed: ValueError: no fit", ["regressions on the features"]),
        (
            "isolation.probe_depths",
            torch.OutOfMemoryError("CUDA out of memory"),
            "ran out of memory",
            ["probe at several depths"],
        ),
        ("sample._thumbnail", RuntimeError("no size"), "failed: RuntimeError: no size", ["borders and thumbnails"]),
        (
            "sample.Sample.use_batch_statistics",
            RuntimeError("no norm"),
            "failed: RuntimeError",
            ["statistics of the batch"],
        ),
        (
            "sample.decode_plainly",
            OSError("gone"),
            "failed: OSError: gone",
            ["statistics of the batch", "borders and thumbnails", "probe at several depths"],
        ),
    ],
)
def test_a_test_that_fails_is_named_and_nothing_else_is_lost(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str,
    error: Exception, said: str, lost: list[str],
) -> None:  # fmt: skip
    arguments = {"weights": small_weights, "store": ActivationStore(tmp_path / "store")}
    whole = run_small(tmp_path / "whole", shapes, **arguments).isolation

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"retop.training.{broken}", fail)
    tests = run_small(tmp_path / "broken", shapes, **arguments).isolation
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "whole")
    assert tests is not None
    assert whole is not None
    assert [one.test for one in tests.skipped] == lost
    assert tests.skipped[0].reason.startswith(said)
    # The others are what they were.
    fields = {
        "regressions on the features": [("head_refit", None)],
        "probe at several depths": [("depths", ())],
        "borders and thumbnails": [("border.n", 0), ("thumbnail.n", 0)],
        "statistics of the batch": [("batch_statistics", None)],
    }
    for test, values in fields.items():
        for name, nothing in values:
            value = attrgetter(name)(tests)
            assert value == (nothing if test in lost else attrgetter(name)(whole)), name
    finding = NotTested().apply(evidence_of(read_finished_run(tmp_path / "broken")))
    assert finding is not None
    assert said in finding.seen


def test_features_that_cannot_be_read_and_a_stop_in_the_tests(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"weights": small_weights, "store": ActivationStore(tmp_path / "store")}

    def raising(error: Exception) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("retop.pipeline.fitting.FrozenFeatures", fail)

    raising(StoppedError("stopped by SIGTERM"))
    with pytest.raises(StoppedError):
        run_small(tmp_path / "run", shapes, **arguments)
    raising(StoreError("changed by another program"))
    tests = run_small(tmp_path / "run", shapes, **arguments).isolation
    assert tests is not None
    assert [one.test for one in tests.skipped] == ["regressions on the features", "probe at several depths"]
    assert tests.head_refit is None
    assert tests.border.n > 0
