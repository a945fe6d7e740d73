"""Which runs a comparison makes, and what is refused before any work begins."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from images import write_shapes
from retop.activations import ActivationStore
from retop.api import compare, plan, train
from retop.api.arguments import build_request, build_setting, repeatable_arguments, with_short_forms
from retop.api.notices import warn
from retop.comparison import ComparisonRequest
from retop.errors import RecipeError, RetopError, UsageError
from retop.events import Notice
from retop.recipe import Recipe, load_recipe


def request(**changes: object) -> ComparisonRequest:
    arguments: dict[str, object] = {"backbones": ("a", "b"), "weights": None, "recipe": Recipe()}
    return ComparisonRequest(**{**arguments, **changes})  # type: ignore[arg-type]


def test_every_backbone_runs_with_every_seed_and_its_probe_follows_it() -> None:
    runs = request(seeds=(0, 3), baselines=("probe", "scratch")).runs()
    assert [run.name for run in runs] == [
        "a-0", "a-3", "probe-a-0", "b-0", "b-3", "probe-b-0", "scratch-0", "scratch-3",
    ]  # fmt: skip
    assert len({run.name for run in runs}) == len(runs)


def test_changes_for_one_backbone_leave_the_others_alone() -> None:
    overrides = (("a", "stage2.epochs", "3"), ("scratch", "stage2.epochs", "5"))
    runs = {run.name: run.recipe for run in request(overrides=overrides, baselines=("scratch",)).runs()}
    assert (runs["a-0"].stage2.epochs, runs["b-0"].stage2.epochs) == (3, Recipe().stage2.epochs)
    assert runs["scratch-0"].stage2.epochs == 5


def test_the_probe_of_the_original_recipe_reads_pooled_features() -> None:
    runs = {run.name: run.recipe for run in request(recipe=load_recipe("original"), baselines=("probe",)).runs()}
    assert runs["a-0"].head.kind == "mlp"
    assert runs["probe-a-0"].head.kind == "linear"


def test_what_scratch_does_not_take_is_named() -> None:
    settings = {"stage2.epochs": 5, "thaw": 2, "views.count": 8, "stage2.batch_size": 16, "data.split_seed": 3}
    made = build_request(["a"], None, "default", settings, 1, ["scratch"])
    assert made.untaken() == (
        "thaw=2 (scratch keeps all)", "views.count=8 (scratch keeps 16)", "stage2.epochs=5 (scratch keeps 60)",
    )  # fmt: skip
    taken = {"scratch.stage2.epochs": 5, "scratch.thaw": 2, "scratch.views.count": 8}
    assert build_request(["a"], None, "default", settings | taken, 1, ["scratch"]).untaken() == ()
    other = {"scratch.stage2.epochs": 30, "scratch.thaw": "all", "scratch.views.count": 16}
    assert build_request(["a"], None, "default", settings | other, 1, ["scratch"]).untaken() == ()
    assert build_request(["a"], None, "default", settings, 1, []).untaken() == ()
    assert build_request(["a"], None, "default", None, 1, ["scratch"]).untaken() == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbones": ()}, "each backbone once"),
        ({"backbones": ("a", "a")}, "each backbone once"),
        ({"seeds": ()}, "--seeds"),
        ({"seeds": (1, 1)}, "--seeds"),
        ({"seeds": (-1,)}, "--seeds"),
        ({"baselines": ("other",)}, "no baseline 'other'"),
        ({"overrides": (("c", "thaw", "all"),)}, "'c' is none of the backbones"),
        ({"backbones": ("scratch",), "baselines": ("scratch",)}, "leave one of them out"),
        ({"overrides": (("a", "precision", "fp32"),)}, "set it for all with --set precision=fp32"),
        ({"overrides": (("a", "data.split", "80/20/0"),)}, "set it for all with --set data.split=80/20/0"),
        ({"overrides": (("scratch", "thaw", "all"),)}, "scratch is not compared; add --baseline scratch"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        request(**changes)


def test_no_seeds_are_told_from_seed_0() -> None:
    with pytest.raises(UsageError, match=r"how many, at least 1; received 0\. .*--seeds 5, \(seeds=\[5\]\)"):
        build_request(["a"], None, "default", None, 0, ())


def test_a_wrong_setting_of_one_backbone_is_named_with_it() -> None:
    with pytest.raises(RecipeError, match=r"^--set a\.views\.preset=none: "):
        build_request(["a", "b"], None, "default", {"stage1.epochs": 2, "a.views.preset": "none"}, 1, ()).runs()


def test_settings_are_python_values_or_text() -> None:
    settings = {
        "data.split": (0.5, 0.25, 0.25),
        "stage2.patience": None,
        "stage1.learning_rate": 1e-05,
        "stage2.momentum": "0.5",
        "thaw": 2,
        "a.stage2.epochs": 7,
    }
    built = build_request(["a", "b"], None, "default", settings, 2, ())
    assert built.recipe.data.split == (0.5, 0.25, 0.25)
    assert built.recipe.stage2.patience is None
    assert built.recipe.stage1.learning_rate == 1e-05
    assert built.recipe.stage2.momentum == 0.5
    assert built.recipe.thaw == "2"
    assert built.runs()[0].recipe.stage2.epochs == 7
    assert built.seeds == (0, 1)


def test_text_instead_of_a_list_and_unknown_keys_are_refused() -> None:
    with pytest.raises(UsageError, match="must be a list of names; received the text 'vgg16'"):
        build_request("vgg16", None, "default", None, 1, ())
    with pytest.raises(UsageError, match=r"'vgg19' is none of the backbones vgg16 and no part of a recipe: .*thaw"):
        build_request(["vgg16"], None, "default", {"vgg19.thaw": "all"}, 1, ())
    with pytest.raises(RecipeError, match=r"unknown key stage2\.rate"):
        build_request(["vgg16"], None, "default", {"stage2.rate": 1}, 1, ())


def test_numbers_of_numpy_are_numbers() -> None:
    settings = {
        "stage2.epochs": np.int64(7),
        "stage2.momentum": np.float32(0.5),
        "data.split": np.array([0.5, 0.25, 0.25]),
    }
    built = build_request(["a"], None, "default", settings, np.int64(2), ())
    assert (built.recipe.stage2.epochs, built.recipe.stage2.momentum) == (7, 0.5)
    assert built.recipe.data.split == (0.5, 0.25, 0.25)
    assert built.seeds == (0, 1)
    assert build_request(["a"], None, "default", None, np.array([3, 5]), ()).seeds == (3, 5)
    assert all(type(seed) is int for seed in build_request(["a"], None, "default", None, np.array([3]), ()).seeds)


@pytest.mark.parametrize("seeds", [1.5, "0,1", [0, 1.5], ["0"], None])
def test_seeds_that_are_no_whole_numbers_are_refused(seeds: object) -> None:
    with pytest.raises(UsageError, match="seeds must be a whole number"):
        build_request(["a"], None, "default", None, seeds, ())  # type: ignore[arg-type]


def test_a_setting_that_is_no_value_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"settings\['stage2.epochs'\] must be .*; received object"):
        build_request(["a"], None, "default", {"stage2.epochs": object()}, 1, ())


@pytest.mark.parametrize("changes", [{"batch_norm": "x"}, {"precision": "bf17"}])
def test_a_recipe_made_in_python_is_checked_like_one_from_a_file(changes: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=next(iter(changes))):
        build_request(["a"], None, Recipe(**changes), None, 1, ())  # type: ignore[arg-type]


def test_groups_to_thaw_may_be_a_number_in_python_too() -> None:
    assert build_request(["a"], None, Recipe(thaw=2), None, 1, ()).recipe.thaw == "2"  # type: ignore[arg-type]


def test_a_setting_belongs_to_the_longest_name_that_fits() -> None:
    names = ["resnet50", "resnet50.tv_in1k"]
    built = build_request(names, None, "default", {"resnet50.tv_in1k.stage2.epochs": 3, "resnet50.thaw": 2}, 1, ())
    assert built.overrides == (("resnet50.tv_in1k", "stage2.epochs", "3"), ("resnet50", "thaw", "2"))


def test_the_order_of_settings_does_not_matter() -> None:
    for settings in ({"views.preset": "none", "views.count": 1}, {"views.count": 1, "views.preset": "none"}):
        assert build_request(["a"], None, "default", settings, 1, ()).recipe.views.count == 1
        of_one = {f"a.{key}": value for key, value in settings.items()}
        assert build_request(["a"], None, "default", of_one, 1, ()).runs()[0].recipe.views.count == 1


@pytest.mark.parametrize("cache", [False, "off"])
def test_the_store_can_be_switched_off_by_value_or_word(cache: bool | str) -> None:
    assert build_setting(Recipe(), "cpu", cache, None, warn).store is None


@pytest.mark.parametrize("cache", [True, "on"])
def test_the_usual_store_has_two_names(cache: bool | str) -> None:
    store = build_setting(Recipe(), "cpu", cache, None, warn).store
    assert store is not None
    assert store.folder == ActivationStore().folder


@pytest.mark.parametrize(("cache", "limit"), [("", None), (" ", None), (True, 0), (True, -1), (True, float("nan"))])
def test_a_store_without_name_or_size_is_refused(cache: bool | str, limit: int | None) -> None:
    with pytest.raises(UsageError, match="--cache"):
        build_setting(Recipe(), "cpu", cache, limit, warn)


def test_a_warning_names_the_line_that_called_retop(tmp_path: Path) -> None:
    write_shapes(tmp_path, 3)
    (tmp_path / "disc" / "broken.png").write_text("no image")
    with pytest.warns(UserWarning, match="cannot be read") as caught, pytest.raises(RetopError):
        plan(tmp_path, ["no_such_network"], weights="random")
    assert {warning.filename for warning in caught} == {__file__}


def test_without_a_listener_warnings_are_python_warnings() -> None:
    with pytest.warns(UserWarning, match="too good"):
        warn(Notice("warning", "too good"))
    warn(Notice("note", "nothing to worry about"))


def test_train_and_plan_take_what_compare_takes() -> None:
    of_train, of_plan, of_compare = (inspect.signature(function).parameters for function in (train, plan, compare))
    assert list(of_train.values())[2:] == list(of_compare.values())[2:]
    written = ("out", "log", "on_plan")
    assert list(of_plan.values()) == [each for name, each in of_compare.items() if name not in written]


def test_arguments_that_are_short_for_settings_mean_the_same_and_settings_win() -> None:
    settings = {"stage1.epochs": 2, "stage2.epochs": 3, "thaw": 2, "views.count": 1, "precision": "fp32"}
    short = with_short_forms(None, (2, 3), 2, 1, "fp32")
    built = build_request(["a"], None, "default", short, 1, ())
    assert built == build_request(["a"], None, "default", settings, 1, ())
    # As --set wins over --epochs.
    assert with_short_forms(settings, (5, 6), "all", 4, "bf16") == settings
    assert with_short_forms({"a.thaw": 1}, None, None, None, None) == {"a.thaw": 1}
    # A plan keeps them in its recipe, and only there.
    arguments = {"data": "photos", "settings": None, "epochs": (2, 3), "thaw": 2, "views": 1, "precision": "fp32"}
    assert repeatable_arguments(arguments, built).keys().isdisjoint({"epochs", "thaw", "views", "precision"})


@pytest.mark.parametrize("epochs", [5, (5,), (1, 2, 3), "5,5", (1.5, 2)])
def test_epochs_are_two_whole_numbers(epochs: object) -> None:
    with pytest.raises(UsageError, match=r"epochs takes two numbers.*--epochs 10,10.*received"):
        with_short_forms(None, epochs, None, None, None)  # type: ignore[arg-type]
