"""What a plan says before anything is computed, and that it says it of what will be done."""

import datetime
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from images import write_shapes
from retop.activations import ActivationStore
from retop.api import resume
from retop.backbones import build_backbone
from retop.comparison import ComparisonRequest, make_plan
from retop.comparison.compare import check_folder, claim_folder, compare_backbones
from retop.comparison.request import Baseline
from retop.comparison.schedule import planned_runs
from retop.data import Dataset, open_dataset
from retop.errors import RunError, RunExistsError
from retop.evaluation.numerals import size
from retop.events import Event, Notice
from retop.pipeline import RunFolder, RunRequest, rates, run_backbone
from retop.recipe import DataRecipe
from retop.records import ComparisonRecord, PlannedPart, PlanRecord, RunRecord, read_record
from small_runs import model_bytes, small_recipe, small_setting


@pytest.fixture(autouse=True)
def short_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "CALIBRATION_SECONDS", 0.01)


def request(
    weights: Path,
    backbones: tuple[str, ...] = ("test_resnet",),
    seeds: tuple[int, ...] = (0,),
    baselines: tuple[Baseline, ...] = (),
    **settings: object,
) -> ComparisonRequest:
    recipe = small_recipe({key.replace("__", "."): value for key, value in settings.items()})
    return ComparisonRequest(backbones, str(weights), recipe, seeds=seeds, baselines=baselines)


def planned(
    one: ComparisonRequest, dataset: Dataset, store: ActivationStore | None, folder: Path | None = None
) -> dict[tuple[str, str], PlannedPart]:
    made = make_plan(one, dataset, small_setting(one.recipe, store), folder)
    return {(part.run, part.part): part for part in made.parts}


@pytest.mark.parametrize("settings", [{}, {"thaw": "none"}, {"head__kind": "mlp", "head__hidden": 8}])
def test_planned_disk_is_what_the_store_takes(
    small_weights: Path, shapes: Dataset, tmp_path: Path, settings: dict[str, object]
) -> None:
    one = request(small_weights, baselines=("probe",), **settings)
    store = ActivationStore()
    parts = planned(one, shapes, store)
    for run in one.runs():
        run_backbone(run, shapes, small_setting(one.recipe, store), RunFolder(tmp_path / run.name))
    written = sum(part.num_bytes for _, record in store.entries() for part in record.parts)
    assert sum(part.disk_bytes for part in parts.values()) == written
    again = planned(one, shapes, store)
    stored = [part for (_, name), part in again.items() if name in ("prefix", "features")]
    assert {part.how_often for part in stored} == {"in the store"}


def test_the_probe_of_another_head_needs_features_of_its_own(small_weights: Path, shapes: Dataset) -> None:
    own = planned(request(small_weights, baselines=("probe",), head__kind="mlp"), shapes, ActivationStore())
    assert own["probe-test_resnet-0", "features"].disk_bytes > 0
    assert own["probe-test_resnet-0", "prefix"].how_often == "in the store"


@pytest.mark.parametrize("share", [0.05, 0.0])
def test_isolating_tests_are_planned_within_their_share(small_weights: Path, shapes: Dataset, share: float) -> None:
    parts = planned(request(small_weights, isolating_share=share), shapes, ActivationStore())
    seconds = {name: part.seconds or 0.0 for (_, name), part in parts.items()}
    certain = sum(seconds[name] for name in ("build", "stage 1", "stage 2", "evaluation"))
    assert seconds["prefix"] > 0
    assert seconds["isolating tests"] <= share * certain * (1 + 1e-9)


def test_a_plan_without_a_store_says_what_runs_in_every_epoch_and_why(small_weights: Path, shapes: Dataset) -> None:
    one = request(small_weights, baselines=("probe",), views__preset="standard", views__count=2)
    parts = planned(one, shapes, None)
    for stage in ("stage 1", "stage 2"):
        assert "the whole network in each: the store is switched off" in parts["test_resnet-0", stage].how_often
    assert parts["probe-test_resnet-0", "features"].how_often == "60 images, in memory"


def test_the_plan_lengthens_the_stages_like_the_run(small_weights: Path, shapes: Dataset) -> None:
    one = request(small_weights, stage1__min_steps=9, stage2__min_steps=15)
    parts = planned(one, shapes, ActivationStore())
    assert parts["test_resnet-0", "stage 1"].how_often.startswith("1 x 4 epochs")
    assert parts["test_resnet-0", "stage 2"].how_often.startswith("6 epochs")


def test_the_plan_tells_what_scratch_does_not_take(small_weights: Path, shapes: Dataset) -> None:
    heard: list[Event] = []
    one = request(small_weights, baselines=("scratch",), stage2__epochs=1)
    make_plan(one, shapes, small_setting(one.recipe, ActivationStore(), heard.append))
    (told,) = [event.message for event in heard if isinstance(event, Notice)]
    assert "stage2.epochs=1 (scratch keeps 60)" in told
    assert "--set scratch.KEY=VALUE" in told


def test_the_probe_is_calibrated_and_its_memory_is_named(small_weights: Path, shapes: Dataset) -> None:
    one = request(small_weights, baselines=("probe",))
    part = planned(one, shapes, ActivationStore())["probe-test_resnet-0", "stage 1"]
    assert part.seconds is not None and part.seconds > 0
    assert part.seconds != planned(one, shapes, ActivationStore())["probe-test_resnet-0", "stage 1"].seconds
    num_features = build_backbone("test_resnet", "random").num_features
    assert part.how_often == f"9 penalties, {size(60 * num_features * 4)} of features in memory"


def test_planned_parts_are_the_timed_parts(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    for name, store in (("a", ActivationStore()), ("b", None)):
        one = request(small_weights, baselines=("probe",))
        parts = planned(one, shapes, store)
        for run in one.runs():
            folder = RunFolder(tmp_path / name / run.name)
            record = run_backbone(run, shapes, small_setting(one.recipe, store), folder)
            timed = {timing.part for timing in record.timings} - {"other"}
            assert {part for owner, part in parts if owner == run.name} == timed


def make(one: ComparisonRequest, dataset: Dataset, folder: Path) -> tuple[PlanRecord, list[str]]:
    setting = small_setting(one.recipe, ActivationStore())
    check_folder(folder, one, dataset, setting)
    made = make_plan(one, dataset, setting, folder)
    claim_folder(folder, made)
    return made, [failed.name for failed in compare_backbones(one, dataset, made, setting, folder).failed]


def test_what_is_finished_is_not_calibrated_again(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    one = request(small_weights, seeds=(0, 1))
    make(one, shapes, tmp_path)
    (tmp_path / "test_resnet-1" / "run.json").unlink()
    again = make_plan(one, shapes, small_setting(one.recipe, ActivationStore()), tmp_path)
    assert [part for part in again.parts if part.run == "test_resnet-0"] == [
        PlannedPart("test_resnet-0", "all", "finished already", 0.0, 0)
    ]
    assert sum(part.seconds or 0 for part in again.parts if part.run == "test_resnet-1") > 0


def test_the_record_of_a_comparison_names_when_it_began(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    began = datetime.datetime.now().astimezone().replace(microsecond=0)
    make(request(small_weights), shapes, tmp_path)
    compared = read_record(ComparisonRecord, tmp_path / "comparison.json")
    run = read_record(RunRecord, tmp_path / "test_resnet-0" / "run.json")
    assert began.isoformat() <= compared.environment.started <= run.environment.started


def test_one_epoch_is_planned_in_the_singular(small_weights: Path, shapes: Dataset) -> None:
    parts = planned(request(small_weights, stage1__epochs="1", stage2__epochs="1"), shapes, ActivationStore())
    assert parts["test_resnet-0", "stage 1"].how_often == "1 x 1 epoch at most"
    assert parts["test_resnet-0", "stage 2"].how_often == "1 epoch at most"


def test_a_folder_of_another_comparison_is_refused_before_anything_is_planned(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    one = request(small_weights)
    claim_folder(tmp_path / "a", PlanRecord(shapes.record.fingerprint, one.recipe, (), (), 0, 0))
    with pytest.raises(RunExistsError, match=r"holds another comparison.*--out"):
        check_folder(tmp_path / "a", one, shapes, small_setting(one.recipe, None))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").touch()
    with pytest.raises(RunExistsError, match="not empty"):
        check_folder(tmp_path / "b", one, shapes, small_setting(one.recipe, None))
    assert not (tmp_path / "c").exists()
    check_folder(tmp_path / "c", one, shapes, small_setting(one.recipe, None))
    assert not (tmp_path / "c").exists()


def test_runs_that_differ_alike_are_named_together(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    one = request(small_weights, seeds=(0, 1), thaw="last")
    others = tuple(replace(run, recipe=replace(run.recipe, thaw="all")) for run in planned_runs(one))
    claim_folder(tmp_path / "a", PlanRecord(shapes.record.fingerprint, one.recipe, others, (), 0, 0))
    told = r"another comparison: of test_resnet-0, test_resnet-1, recipe\.thaw was all and is last\. Undo"
    with pytest.raises(RunExistsError, match=told):
        check_folder(tmp_path / "a", one, shapes, small_setting(one.recipe, None))


def test_results_among_the_images_are_refused(
    small_weights: Path, shapes: Dataset, shapes_folder: Path, tmp_path: Path
) -> None:
    one = request(small_weights)
    unsplit = open_dataset(write_shapes(tmp_path / "photos", 10), DataRecipe())
    for dataset, folder in (
        (unsplit, tmp_path / "photos"),
        (unsplit, tmp_path / "photos" / "runs" / "a"),
        (unsplit, tmp_path / "photos" / "disc" / "a"),
        (shapes, shapes_folder),
        (shapes, shapes_folder / "train" / "runs"),
        (shapes, shapes_folder / "test" / "runs"),
    ):
        with pytest.raises(RunError, match=r"lies among the images of .*--out"):
            check_folder(folder, one, dataset, small_setting(one.recipe, None))
    check_folder(tmp_path / "photos-runs", one, unsplit, small_setting(one.recipe, None))
    check_folder(shapes_folder / "runs" / "a", one, shapes, small_setting(one.recipe, None))


def test_a_folder_that_cannot_be_made_is_told_with_the_way_out(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    one = request(small_weights)
    with pytest.raises(RunError, match="--out"):
        check_folder(tmp_path / "file", one, shapes, small_setting(one.recipe, None))
    with pytest.raises(RunError, match="--out"):
        claim_folder(tmp_path / "file" / "a", PlanRecord("", one.recipe, (), (), 0, 0))


def test_whatever_a_run_raises_the_others_are_made(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retop.comparison import compare

    def breaking(run: object, *arguments: object) -> object:
        if getattr(run, "backbone", None) == "test_resnet":
            raise KeyError("layer9")
        return run_backbone(run, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compare, "run_backbone", breaking)
    one = replace(request(small_weights), backbones=("test_resnet", "test_convnext"))
    assert make(one, shapes, tmp_path)[1] == ["test_resnet-0"]


def test_whatever_the_plan_of_a_run_raises_the_others_are_planned_and_made(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retop.pipeline import plan, run

    prepare = plan.prepare

    def breaking(one: RunRequest, *arguments: object) -> object:
        if one.backbone == "test_resnet":
            raise RuntimeError("a kernel of layer9\nis missing")
        return prepare(one, *arguments)  # type: ignore[arg-type]

    for module in (plan, run):
        monkeypatch.setattr(module, "prepare", breaking)
    one = replace(request(small_weights), backbones=("test_resnet", "test_convnext"))
    made, failed = make(one, shapes, tmp_path)
    said = {part.run: part.how_often for part in made.parts if part.seconds is None}
    assert said == {"test_resnet-0": "not calibrated: RuntimeError: a kernel of layer9 is missing"}
    assert failed == ["test_resnet-0"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "predictions.parquet cut": lambda run: cut(run / "predictions.parquet"),
    "predictions.parquet gone": lambda run: (run / "predictions.parquet").unlink(),
    "run.json cut": lambda run: cut(run / "run.json"),
    "config.json gone": lambda run: shutil.rmtree(run / "model"),
}


def test_a_damaged_finished_run_is_named_with_the_way_out_and_costs_the_others_nothing(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    one = replace(request(small_weights), backbones=("test_resnet", "test_convnext"))
    make(one, shapes, tmp_path)
    shutil.copytree(tmp_path / "test_resnet-0", tmp_path / "kept")
    for name, damage in DAMAGES.items():
        damage(tmp_path / "test_resnet-0")
        (tmp_path / "comparison.json").unlink()
        make(one, shapes, tmp_path)
        compared = read_record(ComparisonRecord, tmp_path / "comparison.json")
        assert [row.name for row in compared.rows] == ["test_convnext"]
        (failed,) = compared.failed
        assert failed.name == "test_resnet-0"
        assert str(tmp_path / "test_resnet-0") in failed.error
        assert name.split()[0] in failed.error
        assert f"Delete {tmp_path / 'test_resnet-0'}, and the same command makes the run again" in failed.error
        shutil.rmtree(tmp_path / "test_resnet-0")
        shutil.copytree(tmp_path / "kept", tmp_path / "test_resnet-0")
    shutil.rmtree(tmp_path / "test_resnet-0")
    assert make(one, shapes, tmp_path)[1] == []
    assert model_bytes(tmp_path / "test_resnet-0") == model_bytes(tmp_path / "kept")


def test_a_damaged_plan_is_made_anew_for_the_same_comparison_alone(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    # So many steps that the finished run has more epochs than were asked for.
    one = request(small_weights, seeds=(0, 1), stage2__min_steps=9)
    make(one, shapes, tmp_path)
    shutil.rmtree(tmp_path / "test_resnet-1")
    (tmp_path / "plan.json").write_bytes(b"")
    heard: list[Event] = []
    setting = small_setting(one.recipe, ActivationStore(), heard.append)
    for another, message in (
        (
            request(small_weights, seeds=(0, 1), stage2__min_steps=9, head__dropout=0.5),
            "recipe.head.dropout was auto and is 0.5. Undo the change",
        ),
        (replace(one, weights="random"), "weights was"),
    ):
        with pytest.raises(RunExistsError, match=rf"another comparison: test_resnet-0: {message}.*--out"):
            check_folder(tmp_path, another, shapes, setting)
    with pytest.raises(RunError, match=r"plan.json is damaged.*same command again with --out"):
        resume(tmp_path)
    assert check_folder(tmp_path, one, shapes, setting) is None
    (said,) = [event.message for event in heard if isinstance(event, Notice)]
    assert "plan.json is damaged" in said
    assert "it is made anew" in said
    finished = (tmp_path / "test_resnet-0" / "run.json").stat().st_mtime_ns
    assert make(one, shapes, tmp_path)[1] == []
    assert (tmp_path / "test_resnet-0" / "run.json").stat().st_mtime_ns == finished
    assert read_record(PlanRecord, tmp_path / "plan.json").runs == planned_runs(one)


def test_checkpoints_that_a_kill_left_to_a_finished_run_are_removed(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    one = request(small_weights)
    make(one, shapes, tmp_path)
    left = tmp_path / "test_resnet-0" / "checkpoints"
    left.mkdir()
    (left / f"000001-{'0' * 64}.safetensors").write_bytes(b"left")
    assert make(one, shapes, tmp_path)[1] == []
    assert not left.exists()
