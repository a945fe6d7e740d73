"""Training from the store is training of the whole network."""

from functools import partial
from pathlib import Path

import pytest
import torch

from retop.activations import ActivationStore
from retop.data import Dataset
from retop.pipeline import frozen
from retop.training import DecodedInputs
from small_runs import run_small, saved_epochs, saved_weights, shrink_weights


def assert_same_training(first: Path, second: Path) -> None:
    ours, whole = saved_weights(first), saved_weights(second)
    assert ours.keys() == whole.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-5, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
    for cached, usual in zip(saved_epochs(first), saved_epochs(second), strict=True):
        assert cached.validation_loss == pytest.approx(usual.validation_loss, abs=1e-4)
        assert cached.train_loss == pytest.approx(usual.train_loss, abs=1e-4)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_cached_training_equals_uncached(small_weights: Path, shapes: Dataset, tmp_path: Path, head: str) -> None:
    settings = {"head.kind": head, "head.dropout": 0.0}
    cached = run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    usual = run_small(tmp_path / "b", shapes, weights=small_weights, store=None, settings=settings)
    assert (cached.network.loop, usual.network.loop) == ("store", "whole")
    assert_same_training(tmp_path / "a", tmp_path / "b")


def test_cached_training_equals_uncached_with_batch_statistics(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    settings = {"batch_norm": "update"}
    run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    run_small(tmp_path / "b", shapes, weights=small_weights, store=None, settings=settings)
    assert_same_training(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("backbone", ["test_convnext", "test_efficientnet"])
def test_cached_training_equals_uncached_for_other_kinds_of_network(
    small_weights: Path, shapes: Dataset, tmp_path: Path, backbone: str
) -> None:
    run_small(tmp_path / "a", shapes, backbone, weights=small_weights, store=ActivationStore())
    run_small(tmp_path / "b", shapes, backbone, weights=small_weights, store=None)
    assert_same_training(tmp_path / "a", tmp_path / "b")


def test_cached_training_equals_uncached_over_the_same_views(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"views.preset": "standard", "views.count": 3}
    run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    monkeypatch.setattr(frozen, "DecodedInputs", partial(DecodedInputs, fixed_views=True))
    run_small(tmp_path / "b", shapes, weights=small_weights, store=None, settings=settings)
    assert_same_training(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_cached_training_equals_uncached_with_pretrained_weights(
    shared: Path, shapes: Dataset, tmp_path: Path, head: str
) -> None:
    settings = {"head.kind": head, "head.dropout": 0.0, "head.hidden": 16}
    shrink_weights(tmp_path / "weights", shared / "weights" / "mobilenetv2_035", 96)
    arguments = {"weights": tmp_path / "weights", "settings": settings}
    run_small(tmp_path / "a", shapes, "mobilenetv2_035", store=ActivationStore(), **arguments)
    run_small(tmp_path / "b", shapes, "mobilenetv2_035", store=None, **arguments)
    assert_same_training(tmp_path / "a", tmp_path / "b")


def test_a_changed_learning_rate_changes_the_weights(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    """The comparison above can fail."""
    store = ActivationStore()
    run_small(tmp_path / "a", shapes, weights=small_weights, store=store)
    run_small(tmp_path / "b", shapes, weights=small_weights, store=store, settings={"stage2.learning_rate": 0.0055})
    with pytest.raises(AssertionError):
        assert_same_training(tmp_path / "a", tmp_path / "b")
