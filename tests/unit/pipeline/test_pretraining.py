"""From random weights to a folder that fine-tuning takes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import retop
from retop.backbones import build_backbone
from retop.errors import RecipeError, UsageError
from retop.recipe import apply_settings, load_recipe
from small_runs import saved_epochs, saved_weights

SHORT = {"stage2.epochs": 6, "stage2.batch_size": 15, "stage2.learning_rate": 0.05, "precision": "fp32"}


@pytest.fixture(scope="module")
def pretrained(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> retop.Comparison:
    place = tmp_path_factory.mktemp("pretrained")
    return retop.pretrain(
        shapes_folder, "pocket_resnet", settings=SHORT, out=place / "run", cache=place / "store", device="cpu"
    )


def test_the_loss_falls_on_crops_of_all_sides(pretrained: retop.Comparison) -> None:
    losses = [epoch.train_loss for epoch in saved_epochs(pretrained.folder / "pocket_resnet-0")[1:]]
    assert len(losses) == 6
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < 0.8 * losses[0]


def test_fine_tuning_starts_from_the_pretrained_weights(pretrained: retop.Comparison) -> None:
    backbone = build_backbone("pocket_resnet", pretrained.recommended)
    saved = saved_weights(pretrained.folder / "pocket_resnet-0")
    state = backbone.network.state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in state.items())
    assert not torch.equal(state["conv1.0.weight"], build_backbone("pocket_resnet", "random").network.conv1[0].weight)


@pytest.mark.parametrize("backbone", ["pocket_resnet", "resnet50", "scratch"])
def test_weights_of_ones_own_have_no_licence_of_others(backbone: str, tmp_path: Path) -> None:
    built = build_backbone(backbone, "random")
    assert built.weights.license is None
    assert "license" not in built.pretrained_cfg
    file = tmp_path / "own.safetensors"
    save_file(built.network.state_dict(), file)
    assert build_backbone(backbone, file).weights.license is None


def test_the_record_says_that_all_of_it_was_trained_on_pixels(pretrained: retop.Comparison) -> None:
    run = json.loads((pretrained.folder / "pocket_resnet-0" / "run.json").read_text())
    assert run["network"]["loop"] == "whole"
    assert "crops drawn anew" in run["network"]["loop_reason"]
    assert run["network"]["parameters_trained"] == run["network"]["parameters"]
    assert run["network"]["weights"]["source"] == "random"
    assert "licence of the weights | not stated" in (pretrained.recommended / "card.md").read_text()
    assert "license" not in json.loads((pretrained.recommended / "config.json").read_text())["pretrained_cfg"]
    assert "from random weights" in (pretrained.recommended / "card.md").read_text()


def test_fresh_crops_need_the_store(shapes_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'fresh'.*--cache off"):
        retop.pretrain(shapes_folder, "pocket_vgg", settings=SHORT, out=tmp_path / "run", cache=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thaw": "last"}, r"'fresh'.*thaw=all.*received thaw=last"),
        ({"stage1.epochs": "3"}, r"'fresh'.*stage1\.epochs=0"),
        ({"views.count": "4"}, r"'fresh' but views\.count is 4"),
        ({"views.sides": "[0.5, 2]"}, r"views\.sides must be fractions"),
        ({"views.preset": "none"}, r"views\.sides.*'none'"),
    ],
)
def test_contradictions_of_fresh_crops_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        apply_settings(load_recipe("pretrain"), settings)
