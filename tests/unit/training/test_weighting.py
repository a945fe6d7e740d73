"""Classes of different sizes: weights in the loss, and balanced sampling."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from images import write_split_shapes
from retop.activations import ActivationStore
from retop.api import plan
from retop.data import open_dataset
from retop.errors import RecipeError, UsageError
from retop.events import ignore
from retop.pipeline.request import Kind
from retop.recipe import DataRecipe, ImbalanceRecipe, Recipe, StageRecipe, apply_settings
from retop.records import PlanRecord, class_shares
from retop.training.order import balanced_order
from retop.training.step import training_loss
from retop.training.weighting import class_weights
from small_runs import run_small, saved_epochs, saved_weights

LABELS = np.array([0] * 30 + [1] * 10 + [2] * 5)


def test_balanced_weights_give_every_class_the_same_say_and_have_mean_1() -> None:
    weights_k = class_weights(ImbalanceRecipe("balanced"), LABELS, "abc")
    assert weights_k is not None
    assert np.allclose(np.bincount(LABELS) * weights_k.numpy(), 15)
    assert np.isclose(weights_k[torch.from_numpy(LABELS)].mean(), 1)


def test_given_weights_keep_their_ratios() -> None:
    weights_k = class_weights(ImbalanceRecipe({"a": 1.0, "b": 2.0, "c": 8.0}), LABELS, "abc")
    assert weights_k is not None and np.allclose((weights_k / weights_k[0]).numpy(), [1, 2, 8])
    assert class_weights(ImbalanceRecipe(), LABELS, "abc") is None


def test_weights_that_do_not_fit_the_classes_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'c' has no weight; there is no class 'd'"):
        class_weights(ImbalanceRecipe({"a": 1.0, "b": 1.0, "d": 1.0}), LABELS, "abc")


def test_the_weighted_loss_equals_repeating_images() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_nk, labels_n = torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 1, 2])
    weights_k = torch.tensor([3.0, 1.0, 2.0])
    repeated = torch.tensor([0, 0, 0, 1, 2, 3, 3])
    whole = functional.cross_entropy(logits_nk[repeated], labels_n[repeated], reduction="sum")
    assert torch.allclose(training_loss(logits_nk, labels_n, StageRecipe(1), weights_k), whole / 4)


def test_the_weighted_loss_of_parts_adds_up() -> None:
    logits_nk, labels_n, weights_k = torch.randn(6, 3), torch.tensor([0, 1, 1, 2, 0, 0]), torch.tensor([1.0, 5, 2])
    parts = [training_loss(logits_nk[at], labels_n[at], StageRecipe(1), weights_k) for at in (slice(3), slice(3, 6))]
    assert torch.allclose(sum(parts) / 2, training_loss(logits_nk, labels_n, StageRecipe(1), weights_k))


def test_balanced_sampling_draws_every_class_alike_and_no_image_twice_before_all_of_its_class() -> None:
    orders = [balanced_order(0, 1, epoch, LABELS) for epoch in range(4)]
    for order in orders:
        assert len(order) == 45 and np.bincount(LABELS[order]).tolist() == [15, 15, 15]
        seen = np.bincount(order, minlength=45)
        assert seen[:30].max() == 1 and set(seen[30:40]) <= {1, 2} and set(seen[40:]) == {3}
    assert len({tuple(order) for order in orders}) == 4
    assert np.array_equal(orders[0], balanced_order(0, 1, 0, LABELS))


def test_both_corrections_at_once_are_refused() -> None:
    recipe = apply_settings(Recipe(), {"imbalance.class_weights": "balanced"})
    with pytest.raises(RecipeError, match="both correct for the same thing"):
        apply_settings(recipe, {"imbalance.sampling": "balanced"})
    with pytest.raises(RecipeError, match="above 0; received a: 0"):
        apply_settings(Recipe(), {"imbalance.class_weights": '{"a": 0.0, "b": 1}'})


def test_a_mapping_is_replaced_as_a_whole() -> None:
    recipe = apply_settings(Recipe(), {"imbalance.class_weights": "{a: 1, b: 2}"})
    assert apply_settings(recipe, {"imbalance.class_weights": "{c: 3}"}).imbalance.class_weights == {"c": 3.0}
    assert apply_settings(recipe, {"imbalance.class_weights": "none"}).imbalance.class_weights == "none"


@pytest.mark.parametrize("kind", ["fine-tuned", "probe"])
def test_what_is_asked_for_reaches_training(small_weights: Path, tmp_path: Path, kind: Kind) -> None:
    folder = write_split_shapes(tmp_path / "data", train=4, validation=3, classes=("disc", "square"))
    write_split_shapes(tmp_path / "data", train=12, validation=3, classes=("stripes",))
    dataset, store = open_dataset(folder, DataRecipe()), ActivationStore()
    asked: list[dict[str, object]] = [
        {},
        {"imbalance.class_weights": "balanced"},
        {"imbalance.class_weights": "{disc: 1, square: 1, stripes: 1}"},
        {"imbalance.sampling": "balanced"},
    ]
    outcomes = []
    for number, settings in enumerate(asked):
        run = tmp_path / str(number)
        run_small(run, dataset, weights=small_weights, store=store, settings=settings | {"thaw": "none"}, kind=kind)
        outcomes.append(_outcome(run, kind))
    plain, balanced, equal, drawn = outcomes
    assert torch.allclose(plain, equal, atol=1e-6)
    assert not torch.allclose(plain, balanced, atol=1e-4)
    assert not torch.allclose(plain, drawn, atol=1e-4)


def _outcome(run: Path, kind: Kind) -> torch.Tensor:
    """The probe's weights; of training, which may keep its start, the losses."""
    if kind == "probe":
        return next(value for name, value in saved_weights(run).items() if name.endswith("fc.weight"))
    return torch.tensor([epoch.train_loss for epoch in saved_epochs(run) if epoch.train_loss is not None])


def test_an_epoch_draws_as_often_as_the_plan_says() -> None:
    shares = class_shares(ImbalanceRecipe(sampling="balanced"), "abc", np.bincount(LABELS).tolist())
    orders = np.concatenate([balanced_order(0, 1, epoch, LABELS) for epoch in range(300)])
    drawn = np.bincount(LABELS[orders]) / 300 / np.bincount(LABELS)
    assert [share.drawn for share in shares] == pytest.approx(drawn, rel=0.02)
    assert [share.images for share in shares] == np.bincount(LABELS).tolist()


def test_a_plan_says_that_classes_are_weighted_and_refuses_weights_that_do_not_fit(shapes_folder: Path) -> None:
    def planned(weights: object) -> PlanRecord:
        settings = {"imbalance.class_weights": weights}
        return plan(shapes_folder, ["pocket_resnet"], baselines=["probe"], settings=settings, listener=ignore)

    record = planned("balanced")
    said = {f"{part.run} {part.part}": part.how_often for part in record.parts}
    assert [(share.label, round(share.weight, 3)) for share in record.class_shares] == [
        (name, 1.0) for name in ("disc", "square", "stripes")
    ]
    assert planned("none").class_shares == ()
    assert "Classes count alike in training" in record._repr_html_()
    for part in ("pocket_resnet-0 stage 1", "pocket_resnet-0 stage 2", "probe-pocket_resnet-0 stage 1"):
        assert said[part].endswith("classes weighted")
    with pytest.raises(UsageError, match=r"do not fit the classes: .*'disc' has no weight.*there is no class 'owl'"):
        planned({"owl": 1.0, "square": 2.0})
