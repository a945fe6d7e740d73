"""What training changes and what it leaves alone; which epoch is kept; what happens when it diverges."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from retop.activations import ActivationStore
from retop.backbones import build_backbone, choose_boundary
from retop.data import Dataset
from retop.errors import DivergedError, StoppedError
from retop.events import Event, Notice
from retop.records import EpochRecord
from retop.stopping import Stop
from retop.training.loop import is_better
from small_runs import run_small, saved_epochs, saved_weights

# From an untrained head on, some epoch of stage 2 is better than none.
LEARNING: dict[str, object] = {"stage1.epochs": 0, "stage2.epochs": 3, "stage2.learning_rate": 0.05}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def changed_tensors(run: Path, weights: Path, backbone: str) -> tuple[set[str], dict[str, torch.Tensor]]:
    before = load_file(weights / backbone / "model.safetensors")
    after = saved_weights(run)
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}, before


@pytest.mark.parametrize("update", [False, True], ids=["frozen", "update"])
@pytest.mark.parametrize("cached", [True, False], ids=["store", "whole"])
def test_frozen_means_frozen(small_weights: Path, shapes: Dataset, tmp_path: Path, update: bool, cached: bool) -> None:
    settings = LEARNING | {"batch_norm": "update" if update else "frozen"}
    store = ActivationStore() if cached else None
    run_small(tmp_path / "run", shapes, weights=small_weights, store=store, settings=settings)
    changed, before = changed_tensors(tmp_path / "run", small_weights, "test_resnet")
    backbone = build_backbone("test_resnet", small_weights)
    thawed = choose_boundary(backbone, "last").parameter_names
    layers = {name.rpartition(".")[0] for name in thawed}
    statistics = {name for name in before if name.endswith(STATISTICS) and name.rpartition(".")[0] in layers}
    assert statistics
    assert changed == (thawed | statistics if update else thawed)


@pytest.mark.parametrize("thaw", ["none", "all"])
def test_thaw_decides_what_changes(small_weights: Path, shapes: Dataset, tmp_path: Path, thaw: str) -> None:
    settings = LEARNING | {"thaw": thaw, "stage1.epochs": 1 if thaw == "none" else 0}
    run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    changed, before = changed_tensors(tmp_path / "run", small_weights, "test_resnet")
    everything = {name for name in before if not name.endswith(STATISTICS)}
    assert changed == (everything if thaw == "all" else set())


def test_stage_2_never_hands_back_a_worse_model(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    """Steps this long ruin the network, so the weights of stage 1 are kept."""
    ruinous = {"stage2.learning_rate": 50, "stage2.schedule": "constant", "stage2.epochs": 3}
    store = ActivationStore()
    record = run_small(tmp_path / "run", shapes, weights=small_weights, store=store, settings=ruinous)
    first, second = record.stages
    epochs = [epoch for epoch in saved_epochs(tmp_path / "run") if epoch.stage == 2]
    assert all(not is_better(epoch, epochs[0]) for epoch in epochs)
    assert max(epoch.validation_loss for epoch in epochs) > 2 * epochs[0].validation_loss
    assert second.best_epoch == 0
    assert second.validation_accuracy == first.validation_accuracy
    assert changed_tensors(tmp_path / "run", small_weights, "test_resnet")[0] == set()


def test_the_epoch_that_is_best_on_validation_is_kept(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    settings = {"stage1.epochs": 4, "stage2.epochs": 4, "stage2.learning_rate": 0.05}
    store = ActivationStore()
    record = run_small(tmp_path / "run", shapes, weights=small_weights, store=store, settings=settings)
    epochs = saved_epochs(tmp_path / "run")
    for stage in record.stages:
        own = [epoch for epoch in epochs if epoch.stage == stage.stage]
        assert [epoch.epoch for epoch in own] == list(range(stage.epochs_run + 1))
        best = max(own, key=lambda epoch: (epoch.validation_accuracy, -epoch.validation_loss))
        assert stage.best_epoch == best.epoch
        assert (stage.validation_accuracy, stage.validation_loss) == (best.validation_accuracy, best.validation_loss)
    assert record.validation.accuracy.value == record.stages[-1].validation_accuracy
    assert record.validation.log_loss == pytest.approx(record.stages[-1].validation_loss, abs=1e-4)


def test_patience_ends_a_stage_early(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    """A step size that changes nothing brings no better epoch."""
    settings = {"stage2.epochs": 9, "stage2.patience": 2, "stage2.learning_rate": 1e-20}
    store = ActivationStore()
    record = run_small(tmp_path / "run", shapes, weights=small_weights, store=store, settings=settings)
    assert record.stages[0].stopped == "finished"
    assert (record.stages[1].stopped, record.stages[1].epochs_run) == ("patience", 2)


def test_better_is_a_higher_accuracy_then_a_lower_loss() -> None:
    epoch = EpochRecord(
        stage=1, epoch=1, learning_rate=0.1, train_loss=1.0, train_accuracy=0.5, train_eval_loss=1.0,
        train_eval_accuracy=0.5, validation_loss=1.0, validation_accuracy=0.5, gradient_norm=1.0, seconds=1.0,
    )  # fmt: skip
    assert is_better(replace(epoch, validation_accuracy=0.6, validation_loss=9.0), epoch)
    assert is_better(replace(epoch, validation_loss=0.9), epoch)
    assert not is_better(epoch, epoch)
    assert not is_better(replace(epoch, validation_accuracy=0.4, validation_loss=0.1), epoch)


OPTIONS: dict[str, dict[str, object]] = {
    "mixup": {"stage1.mixup": 0.4, "stage2.mixup": 0.4},
    "label smoothing": {"stage1.label_smoothing": 0.1, "stage2.label_smoothing": 0.1},
    "AdamW": {"stage1.optimiser": "adamw", "stage2.optimiser": "adamw", "stage2.learning_rate": 0.0005},
    "Adam": {"stage1.optimiser": "adam", "stage1.learning_rate": 0.001},
    "dropout": {"head.dropout": 0.5},
    "mlp": {"head.kind": "mlp", "head.dropout": 0.5, "head.hidden": 16},
    "plain SGD": {"stage1.momentum": 0.0, "stage2.momentum": 0.0},
    "no warm-up": {"stage1.warmup_fraction": 0.0, "stage2.schedule": "constant", "stage2.clip_norm": None},
    "grid and range test": {"stage1.weight_decay": "auto", "stage1.learning_rate": "auto"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_training_changes_the_result(
    small_weights: Path, shapes: Dataset, tmp_path: Path, name: str
) -> None:
    store = ActivationStore()
    arguments: dict[str, Any] = {"weights": small_weights, "store": store}
    record = run_small(tmp_path / "plain", shapes, **arguments)
    other = run_small(tmp_path / "other", shapes, settings=OPTIONS[name], **arguments)
    losses = [[epoch.validation_loss for epoch in saved_epochs(tmp_path / run)] for run in ("plain", "other")]
    assert losses[0] != losses[1]
    assert all(map(math.isfinite, losses[1]))
    assert (other.stages[0].weight_decay_chosen_by == "validation") == (name == "grid and range test")
    assert record.stages[0].weight_decay_chosen_by == "recipe"
    if name == "mixup":
        assert {epoch.train_accuracy for epoch in saved_epochs(tmp_path / "other")} == {None}


def test_dropout_acts_in_training_alone(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    settings = {"head.dropout": 0.9, "stage1.learning_rate": 1e-20, "stage2.epochs": 0, "thaw": "none"}
    settings |= {"head.kind": "mlp"}
    run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    before, first, second = saved_epochs(tmp_path / "run")
    assert before.validation_loss == pytest.approx(first.validation_loss, rel=1e-6)
    assert before.train_eval_loss == pytest.approx(second.train_eval_loss, rel=1e-6)
    assert first.train_loss != pytest.approx(second.train_loss, rel=1e-6)


def test_divergence_goes_back_to_the_last_good_epoch_once_then_is_named(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    events: list[Event] = []
    settings = {"stage2.learning_rate": 1e30, "stage2.clip_norm": None, "stage2.warmup_fraction": 0.0}
    with pytest.raises(DivergedError, match=r"stage 2, epoch \d+.* is not finite"):
        run_small(
            tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), settings=settings,
            listener=events.append,
        )  # fmt: skip
    warnings = [event.message for event in events if isinstance(event, Notice) and event.level == "warning"]
    assert len(warnings) == 1
    assert ". Going on from epoch 0 at step size 1e+29" in warnings[0]
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_tenth_of_the_step_size_can_save_a_run(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retop.training import loop

    monkeypatch.setattr(loop, "ROLL_BACK_FACTOR", 1e-32)
    settings = {"stage2.learning_rate": 1e30, "stage2.clip_norm": None, "stage2.warmup_fraction": 0.0}
    store = ActivationStore()
    record = run_small(tmp_path / "run", shapes, weights=small_weights, store=store, settings=settings)
    assert record.stages[1].learning_rate == pytest.approx(0.01)
    assert all(bool(tensor.isfinite().all()) for tensor in saved_weights(tmp_path / "run").values())
    assert all(math.isfinite(epoch.validation_loss) for epoch in saved_epochs(tmp_path / "run"))


def test_a_penalty_that_diverges_is_left_out_with_a_notice_and_not_trained_again(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retop.training import stages

    fit, tried = stages.fit, []

    def diverging(*arguments: Any, weight_decay: float, **named: Any) -> Any:
        tried.append(weight_decay)
        if tried.index(weight_decay) == 1:
            arguments[0].head.linear.weight.data.fill_(math.nan)
            raise DivergedError("stage 1, epoch 1, step 1: the loss is not finite")
        return fit(*arguments, weight_decay=weight_decay, **named)

    monkeypatch.setattr(stages, "fit", diverging)
    events: list[Event] = []
    arguments: dict[str, Any] = {"weights": small_weights, "store": ActivationStore(), "listener": events.append}
    arguments["settings"] = {"stage1.weight_decay": "auto"}

    def stopping(event: Event) -> None:
        events.append(event)
        if getattr(event, "part", "").endswith("stage 2"):
            stop.requested = "SIGTERM"

    stop = Stop()
    with pytest.raises(StoppedError):
        run_small(tmp_path / "run", shapes, **(arguments | {"stop": stop, "listener": stopping}))
    record = run_small(tmp_path / "run", shapes, **arguments)
    assert len(tried) == len(set(tried)) == 6
    left_out = f"The penalty {tried[1]:.2g} is left out"
    said = [event.message for event in events if isinstance(event, Notice) and left_out in event.message]
    assert len(said) == 1
    assert [message for message in record.warnings if left_out in message] == said
    assert record.stages[0].weight_decay != tried[1]
