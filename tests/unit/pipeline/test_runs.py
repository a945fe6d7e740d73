"""One run from data to model folder: what is shared, what is recorded, what is measured."""

import gc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from retop.activations import ActivationStore
from retop.artifact import load_model_folder
from retop.data import Dataset
from retop.errors import RunExistsError
from retop.evaluation import acceptance_at, log_softmax
from retop.events import Event, Notice
from retop.pipeline import RunFolder, RunRequest, probe_request, run_backbone, scratch_request
from retop.pipeline.calibrating import calibrate_model
from retop.predictor import Predictor
from retop.records import RunRecord, read_predictions, read_record
from small_runs import run_small, saved_epochs, small_recipe, small_setting


def contents(store: ActivationStore) -> dict[str, int]:
    """What the store holds, and when it was written."""
    return {record.about: (folder / "entry.json").stat().st_mtime_ns for folder, record in store.entries()}


def test_seeds_step_sizes_and_heads_share_one_store(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    store = ActivationStore()
    run_small(tmp_path / "a", shapes, weights=small_weights, store=store)
    before = contents(store)
    run_small(tmp_path / "b", shapes, weights=small_weights, store=ActivationStore(), seed=1)
    changed = {"stage1.learning_rate": 0.01, "stage2.epochs": 1, "head.dropout": 0.3}
    run_small(tmp_path / "c", shapes, weights=small_weights, store=ActivationStore(), settings=changed)
    assert contents(store) == before


@pytest.mark.parametrize("thaw", ["none", "last"])
def test_heads_that_read_other_features_share_none(
    small_weights: Path, shapes: Dataset, tmp_path: Path, thaw: str
) -> None:
    """The pooled features of the linear head are not the flattened map of the other one."""
    store = ActivationStore()
    for kind in ("linear", "mlp"):
        settings = {"head.kind": kind, "head.hidden": 8, "thaw": thaw}
        run_small(tmp_path / kind, shapes, weights=small_weights, store=store, settings=settings)
    rows = {record.layout[0].shape for _, record in store.entries() if "features" in record.about}
    assert len(rows) == 2


def test_a_full_store_keeps_what_the_run_will_read(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore())
    gc.collect()
    before = contents(ActivationStore())
    tight = ActivationStore(limit_bytes=int(1.2 * ActivationStore().used_bytes()))
    run_small(tmp_path / "b", shapes, weights=small_weights, store=tight, seed=1)
    assert contents(tight) == before
    gc.collect()
    run_small(tmp_path / "c", shapes, "test_efficientnet", weights=small_weights, store=tight)
    gc.collect()
    assert tight.used_bytes() <= tight.limit_bytes


def test_what_does_not_fit_trains_without_a_store_and_says_so(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    settings, store = {"views.preset": "standard", "views.count": 2}, ActivationStore(limit_bytes=2**17)
    record = run_small(tmp_path / "a", shapes, weights=small_weights, store=store, settings=settings)
    assert record.network.loop == "whole"
    assert "and the store may hold 128 KiB" in str(record.network.loop_reason)
    assert "--views" in record.warnings[0]
    assert "--thaw" in record.warnings[0]


@pytest.mark.parametrize("thaw", ["none", "last"])
def test_features_that_do_not_fit_are_not_stored(
    small_weights: Path, shapes: Dataset, tmp_path: Path, thaw: str
) -> None:
    settings = {"thaw": thaw, "views.preset": "standard", "views.count": 2}
    store = ActivationStore(limit_bytes=1000)
    record = run_small(tmp_path / "a", shapes, weights=small_weights, store=store, settings=settings)
    assert store.used_bytes() == 0
    assert record.network.loop == "whole"
    assert record.precision["stored"] == "nothing stored"
    assert "the features would take" in str(record.network.loop_reason)
    assert all(way in record.warnings[0] for way in ("--views", "--cache-limit", "--cache DIR"))
    # Features are as large at every boundary.
    assert "--thaw" not in record.warnings[0]
    uncached = run_small(tmp_path / "b", shapes, weights=small_weights, store=None, settings=settings)
    assert record.validation.log_loss == uncached.validation.log_loss


def test_fewer_views_than_one_are_not_advised(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    settings = {"views.preset": "none", "views.count": 1}
    store = ActivationStore(limit_bytes=1000)
    record = run_small(tmp_path / "a", shapes, weights=small_weights, store=store, settings=settings)
    assert "--cache-limit" in record.warnings[0]
    assert "--views" not in record.warnings[0]


def test_a_store_that_is_switched_off_is_no_warning(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    heard: list[Event] = []
    record = run_small(tmp_path / "a", shapes, weights=small_weights, store=None, listener=heard.append)
    assert record.warnings == ()
    assert any(isinstance(event, Notice) and "the store is switched off" in event.message for event in heard)


def test_both_stages_make_at_least_the_steps_asked_for(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    settings = {"stage1.min_steps": 9, "stage2.min_steps": 15}
    record = run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    # 3 batches of 16 in an epoch of 45 images: 6 steps in 2 epochs.
    assert [stage.epochs_run for stage in record.stages] == [4, 6]
    uncached = run_small(tmp_path / "b", shapes, weights=small_weights, store=None, settings=settings)
    assert [stage.epochs_run for stage in uncached.stages] == [2, 2]


def test_metrics_are_scikit_learns_on_the_saved_predictions(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    record = run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore())
    assert record == read_record(RunRecord, tmp_path / "a" / "run.json")
    assert record.test is not None
    for split, ours in (("validation", record.validation), ("test", record.test)):
        saved = read_predictions(tmp_path / "a" / "predictions.parquet", split)
        answers_n = saved.logits_nk.argmax(1)
        wide_nk = np.exp(saved.logits_nk.astype(np.float64))
        assert ours.n == len(saved.labels_n)
        assert ours.accuracy.value == pytest.approx(sklearn_metrics.accuracy_score(saved.labels_n, answers_n))
        assert ours.balanced_accuracy.value == pytest.approx(
            sklearn_metrics.balanced_accuracy_score(saved.labels_n, answers_n)
        )
        assert ours.macro_f1.value == pytest.approx(
            sklearn_metrics.f1_score(saved.labels_n, answers_n, average="macro", zero_division=0)
        )
        assert ours.log_loss == pytest.approx(
            sklearn_metrics.log_loss(saved.labels_n, wide_nk / wide_nk.sum(1, keepdims=True), labels=range(3)), rel=1e-5
        )
        assert np.array_equal(ours.confusion, sklearn_metrics.confusion_matrix(saved.labels_n, answers_n))


def test_the_table_of_predictions_is_the_predictors(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore())
    saved = read_predictions(tmp_path / "a" / "predictions.parquet", "validation")
    again = Predictor(tmp_path / "a").evaluate(shapes.validation)
    assert again.paths == saved.paths
    assert np.array_equal(again.logits_nk, saved.logits_nk)


def test_stored_in_half_precision_the_saved_model_still_answers_as_in_training(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    store = ActivationStore()
    record = run_small(tmp_path / "a", shapes, weights=small_weights, store=store, settings={"precision": "auto"})
    assert record.precision["stored"] == "bfloat16"
    assert record.validation.log_loss == pytest.approx(record.stages[-1].validation_loss, abs=0.02)


def test_a_finished_run_is_not_made_again(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore())
    with pytest.raises(RunExistsError, match=r"finished run already.*--out"):
        run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore())


def test_what_an_unfinished_run_left_is_replaced(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore())
    (tmp_path / "a" / "run.json").unlink()
    run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore())
    epochs = [(epoch.stage, epoch.epoch) for epoch in saved_epochs(tmp_path / "a")]
    assert epochs == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_probe_reads_pooled_features_from_the_same_store(
    small_weights: Path, shapes: Dataset, tmp_path: Path, head: str
) -> None:
    recipe = small_recipe({"head.kind": head, "head.hidden": 8})
    store = ActivationStore()
    request = RunRequest("test_resnet", str(small_weights), recipe, 0)
    run_backbone(request, shapes, small_setting(recipe, store), RunFolder(tmp_path / "a"))
    before = contents(store)
    probe = run_backbone(probe_request(request), shapes, small_setting(recipe, store), RunFolder(tmp_path / "b"))
    prefixes = {about for about in contents(store) if "prefix" in about}
    assert prefixes == {about for about in before if "prefix" in about}
    assert probe.kind == "probe"
    assert probe.network.boundary is None
    assert probe.validation.accuracy.value == pytest.approx(probe.stages[0].validation_accuracy)
    assert probe.validation.log_loss == pytest.approx(probe.stages[0].validation_loss, abs=1e-4)


def test_the_probe_is_scikit_learns_best_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    from retop.pipeline.probe import PENALTIES_C, fit_probe

    generator = np.random.default_rng(0)
    labels_n = np.arange(120) % 3
    features_nf = (generator.normal(size=(120, 8)) * 5 + 2 * np.eye(3, 8)[labels_n]).astype(np.float32)
    head, c = fit_probe(features_nf[:80].copy(), labels_n[:80], features_nf[80:].copy(), labels_n[80:], 3)
    centre = features_nf[:80].mean(0)
    size = np.sqrt((features_nf[:80] - centre).var())
    losses = {}
    for penalty in PENALTIES_C:
        model = LogisticRegression(C=penalty, max_iter=1000).fit((features_nf[:80] - centre) / size, labels_n[:80])
        answers_nk = model.predict_proba((features_nf[80:] - centre) / size)
        losses[penalty] = sklearn_metrics.log_loss(labels_n[80:], answers_nk)
    assert c == min(losses, key=lambda penalty: losses[penalty])
    import torch

    ours_nk = head(torch.from_numpy(features_nf[80:])).softmax(1).detach().numpy()
    assert sklearn_metrics.log_loss(labels_n[80:], ours_nk) == pytest.approx(losses[c], abs=1e-4)


def test_a_probe_of_many_classes_with_few_images_warns_of_nothing() -> None:
    from retop.pipeline.probe import fit_probe

    features_nf = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    labels_n = np.arange(40) % 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_probe(features_nf.copy(), labels_n, features_nf.copy(), labels_n, 30)


def test_two_classes_of_the_probe_are_two_logits() -> None:
    from sklearn.linear_model import LogisticRegression

    from retop.pipeline.probe import fit_probe

    generator = np.random.default_rng(0)
    labels_n = np.arange(60) % 2
    features_nf = (generator.normal(size=(60, 4)) + labels_n[:, None]).astype(np.float32)
    head, c = fit_probe(features_nf.copy(), labels_n, features_nf.copy(), labels_n, 2)
    import torch

    ours_nk = head(torch.from_numpy(features_nf)).softmax(1).detach().numpy()
    scaled_nf = (features_nf - head.mean_f.numpy()) / head.size.numpy()
    theirs_nk = LogisticRegression(C=c, max_iter=1000).fit(scaled_nf, labels_n).predict_proba(scaled_nf)
    np.testing.assert_allclose(ours_nk, theirs_nk, atol=1e-3)


def test_scratch_trains_everything_from_random_weights(shapes: Dataset, tmp_path: Path) -> None:
    from dataclasses import replace

    recipe = small_recipe()
    request = scratch_request(recipe, 0)
    short = replace(request, recipe=replace(request.recipe, stage2=replace(request.recipe.stage2, epochs=1)))
    record = run_backbone(short, shapes, small_setting(recipe, ActivationStore()), RunFolder(tmp_path / "a"))
    assert record.network.parameters_trained == record.network.parameters
    assert [stage.stage for stage in record.stages] == [2]


def test_the_record_holds_exactly_the_warnings_that_were_shown(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    events: list[Event] = []
    store = ActivationStore(limit_bytes=2**17)
    record = run_small(tmp_path, shapes, weights=small_weights, store=store, listener=events.append)
    shown = [event.message for event in events if isinstance(event, Notice) and event.level == "warning"]
    assert list(record.warnings) == shown
    assert any("the whole network runs in every epoch, the activations would take" in message for message in shown)


def test_a_penalty_is_looked_for_without_a_store_and_found_as_with_one(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    settings = {"stage1.weight_decay": "auto"}
    usual = run_small(tmp_path / "a", shapes, weights=small_weights, settings=settings)
    cached = run_small(tmp_path / "b", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    assert usual.stages[0].weight_decay == cached.stages[0].weight_decay
    assert {timing.part for timing in usual.timings} >= {"features", "stage 1"}


def test_with_fresh_views_in_every_epoch_one_penalty_is_tried(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    settings = {"stage1.weight_decay": "auto", "views.preset": "standard", "views.count": 2}
    record = run_small(tmp_path, shapes, weights=small_weights, settings=settings)
    assert record.stages[0].weight_decay == pytest.approx(1 / (1e-2 * len(shapes.train)))
    assert any("only one penalty is tried" in message for message in record.warnings)
    assert [epoch.epoch for epoch in saved_epochs(tmp_path) if epoch.stage == 1] == [0, 1, 2]


def test_a_run_stores_temperature_and_threshold_and_reports_both_losses(
    tmp_path: Path, shapes: Dataset, small_weights: Path
) -> None:
    record = run_small(tmp_path / "run", shapes, weights=small_weights, settings={"reject_below": 0.5})
    calibration = load_model_folder(tmp_path / "run").trained.calibration
    assert calibration is not None
    assert record.test is not None
    for metrics in (record.validation, record.test):
        assert metrics.calibrated is not None
        assert metrics.calibrated.temperature == calibration.temperature
    assert record.validation.log_loss == pytest.approx(calibration.log_loss_before)
    assert record.validation.calibrated is not None
    assert record.validation.calibrated.log_loss == pytest.approx(calibration.log_loss_after)
    assert calibration.reject_below == Predictor(tmp_path / "run").reject_below == 0.5


def test_a_target_accuracy_chooses_the_stored_threshold_or_says_that_none_reaches_it(
    tmp_path: Path, shapes: Dataset, small_weights: Path
) -> None:
    run_small(tmp_path / "run", shapes, weights=small_weights)
    saved = read_predictions(tmp_path / "run" / "predictions.parquet", "validation")
    heard: list[Event] = []
    low = small_recipe({"target_accuracy": 0.4})
    assert calibrate_model(tmp_path / "run", saved, low, heard.append).reject_below == 0
    assert not heard
    right = replace(saved, labels_n=saved.logits_nk.argmax(1))
    least_sure = int(np.exp(log_softmax(right.logits_nk)).max(1).argmin())
    right.labels_n[least_sure] = (right.labels_n[least_sure] + 1) % 3
    found = calibrate_model(tmp_path / "run", right, small_recipe({"target_accuracy": 0.999}), heard.append)
    assert acceptance_at(found, found.reject_below).num_accepted == len(right.paths) - 1
    assert Predictor(tmp_path / "run").reject_below == found.reject_below
    wrong = replace(saved, labels_n=(saved.logits_nk.argmax(1) + 1) % 3)
    found = calibrate_model(tmp_path / "run", wrong, small_recipe({"target_accuracy": 0.9}), heard.append)
    assert found.reject_below == 0
    assert "no threshold reaches an accuracy of 0.9" in heard[0].message  # type: ignore[union-attr]


def test_images_of_another_size_become_part_of_the_model(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    own = run_small(tmp_path / "own", shapes, weights=small_weights).network.preprocessing
    run = run_small(tmp_path / "small", shapes, weights=small_weights, settings={"image_size": 32})
    assert (own.height, own.width) != (32, 32)
    assert (run.network.preprocessing.height, run.network.preprocessing.width) == (32, 32)
    predicted = Predictor(RunFolder(tmp_path / "small").model).evaluate(shapes.validation).logits_nk
    saved = read_predictions(RunFolder(tmp_path / "small").predictions, "validation").logits_nk
    assert np.array_equal(predicted, saved)
