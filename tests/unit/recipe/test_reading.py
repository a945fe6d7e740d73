"""Recipes from files and from settings: order does not matter, and contradictions are named."""

from pathlib import Path

import pytest

from retop.errors import RecipeError
from retop.recipe import DataRecipe, Recipe, apply_settings, load_recipe


def test_each_kind_of_head_has_a_dropout_of_its_own() -> None:
    assert Recipe().head.dropout_fraction == 0
    assert apply_settings(Recipe(), {"head.kind": "mlp"}).head.dropout_fraction == 0.5
    assert apply_settings(Recipe(), {"head.kind": "mlp", "head.dropout": "0.1"}).head.dropout_fraction == 0.1


@pytest.mark.parametrize("text", ["80/20/0", "[80, 20, 0]", "0.8/0.2/0", "0.8,0.2,0"])
def test_percentages_and_fractions_are_the_same_split(text: str) -> None:
    assert apply_settings(Recipe(), {"data.split": text}).data == DataRecipe((0.8, 0.2, 0.0))


def test_percentages_give_the_default_split_exactly(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("data:\n  split: 70/15/15\n")
    assert load_recipe(tmp_path / "recipe.yaml").data == DataRecipe()
    assert DataRecipe((70, 15, 15)) == DataRecipe()


@pytest.mark.parametrize("text", ["80/20/1", "8/1/1", "100/0/0", "a/b/c", "50/50", "nan/0.5/0.5"])
def test_what_is_no_split_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"data\.split"):
        apply_settings(Recipe(), {"data.split": text})


@pytest.mark.parametrize("turned", [False, True])
def test_settings_are_judged_together_in_any_order(turned: bool) -> None:
    changes = [("views.preset", "none"), ("views.count", "1")]
    assert apply_settings(Recipe(), dict(changes[::-1] if turned else changes)).views.count == 1


def test_options_on_top_of_a_preset_are_judged_together() -> None:
    probe = load_recipe("probe")
    assert apply_settings(probe, {"views.count": "4", "views.preset": "standard"}).views.count == 4
    late = apply_settings(probe, {"stage1.epochs": "0", "stage2.epochs": "5", "thaw": "last"})
    assert (late.stage1.epochs, late.stage2.epochs) == (0, 5)


def test_late_epochs_without_late_layers_are_refused() -> None:
    with pytest.raises(RecipeError, match="--thaw last"):
        apply_settings(load_recipe("probe"), {"stage1.epochs": "0", "stage2.epochs": "5"})


def test_an_unknown_key_among_several_is_named_alone() -> None:
    with pytest.raises(RecipeError, match=r"^--set stage2\.epoch=3: unknown key stage2\.epoch"):
        apply_settings(Recipe(), {"views.count": "2", "stage2.epoch": "3"})


def test_of_several_settings_those_that_are_wrong_are_named() -> None:
    changes = {"stage1.epochs": "2", "views.count": "0"}
    with pytest.raises(RecipeError, match=r"^--set views\.count=0: views\.count must be between"):
        apply_settings(Recipe(), changes)
    with pytest.raises(RecipeError, match=r"^--set vgg16\.views\.count=0: views\.count must be between"):
        apply_settings(Recipe(), changes, "vgg16")
    with pytest.raises(RecipeError, match=r"^--set vgg16\.views\.number=0: unknown key views\.number"):
        apply_settings(Recipe(), {"views.number": "0"}, "vgg16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage1.optimiser": "adamw"}, r"stage1\.weight_decay is 'auto' but stage1\.optimiser is 'adamw'"),
        ({"stage1.optimiser": "adam"}, r"stage1\.weight_decay is 'auto' but stage1\.optimiser is 'adam'"),
        ({"stage2.learning_rate": "inf"}, "finite"),
        ({"stage2.learning_rate": ".nan"}, "finite"),
        ({"stage2.weight_decay": "inf"}, "finite"),
    ],
)
def test_values_that_make_no_sense_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        apply_settings(Recipe(), changes)


def test_adamw_with_a_number_is_accepted() -> None:
    changed = apply_settings(Recipe(), {"stage1.optimiser": "adamw", "stage1.weight_decay": "0.05"})
    assert changed.stage1.weight_decay == 0.05


def test_thaw_is_a_number_of_groups_or_text() -> None:
    assert apply_settings(Recipe(), {"thaw": "2"}).thaw == "2"
    assert apply_settings(Recipe(), {"thaw": "inf"}).thaw == "inf"


def test_a_recipe_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match="is not UTF-8 text"):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_recipe_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: mine\n")
    monkeypatch.setattr(Path, "read_text", _refuse)
    with pytest.raises(RecipeError, match=r"recipe\.yaml cannot be read: Permission denied"):
        load_recipe(path)


def _refuse(self: Path, *arguments: object, **options: object) -> str:
    raise PermissionError(13, "Permission denied")


def test_few_images_are_passed_more_often_until_there_are_enough_steps() -> None:
    stage = load_recipe("default").stage1
    assert stage.lengthened(64).epochs * 2 >= stage.min_steps > stage.epochs * 2
    assert stage.lengthened(64).patience == stage.patience * (stage.lengthened(64).epochs // stage.epochs)
    assert stage.lengthened(100_000) == stage


def test_epochs_that_are_asked_for_are_not_multiplied() -> None:
    asked = apply_settings(load_recipe("default"), {"stage1.epochs": "2"})
    assert asked.stage1.lengthened(10).epochs == 2
    both = apply_settings(load_recipe("default"), {"stage1.min_steps": "30", "stage1.epochs": "2"})
    assert both.stage1.lengthened(10).epochs == 30
    assert load_recipe("original").stage1.lengthened(10).epochs == 30


def test_pretraining_runs_its_schedule_to_the_end() -> None:
    assert load_recipe("pretrain").stage2.patience is None
    assert load_recipe("default").stage2.patience is not None
