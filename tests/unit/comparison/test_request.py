"""Which runs a comparison makes, and what is refused before any work begins."""

import inspect

import pytest

from retop.activations import ActivationStore
from retop.api import build_request, build_setting, compare, train, warn
from retop.comparison import ComparisonRequest
from retop.errors import RecipeError, UsageError
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
    with pytest.raises(RecipeError, match="unknown key vgg19"):
        build_request(["vgg16"], None, "default", {"vgg19.thaw": "all"}, 1, ())


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


def test_without_a_listener_warnings_are_python_warnings() -> None:
    with pytest.warns(UserWarning, match="too good"):
        warn(Notice("warning", "too good"))
    warn(Notice("note", "nothing to worry about"))


def test_train_takes_what_compare_takes() -> None:
    of_train, of_compare = (inspect.signature(function).parameters for function in (train, compare))
    assert list(of_train)[2:] == list(of_compare)[2:]
    assert all(of_train[name] == of_compare[name] for name in list(of_compare)[2:])
