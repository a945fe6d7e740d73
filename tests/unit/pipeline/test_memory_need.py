"""Memory is predicted before a run begins, and the run made to fit."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from control_groups import enter, memory_group
from images import write_split_shapes
from retop.activations import ActivationStore
from retop.data import Dataset, open_dataset
from retop.errors import MemoryRunError
from retop.pipeline import RunRequest
from retop.pipeline.memory_need import REST_BYTES, AtOnce, fit_into_memory, predict
from retop.pipeline.prepared import PreparedRun, prepare
from retop.recipe import DataRecipe
from retop.room import MemoryRoom
from small_runs import run_small, small_recipe, small_setting, write_weights

# Beside the libraries there is room for a quarter of a batch, and for none.
ENOUGH_BYTES, TOO_LITTLE_BYTES = 1200 * 2**20, 700 * 2**20
THAWED: dict[str, object] = {"thaw": "all"}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    """A network whose images are large enough for its activations to count."""
    root = tmp_path_factory.mktemp("large")
    write_weights(root / "weights", "test_resnet", 256)
    write_split_shapes(root / "images", train=22, validation=3, side=64)
    return root / "weights", open_dataset(root / "images", DataRecipe())


def prepared_run(large: tuple[Path, Dataset], settings: dict[str, object] = THAWED) -> PreparedRun:
    recipe = small_recipe(settings)
    request = RunRequest("test_resnet", str(large[0]), recipe, 0)
    return prepare(request, large[1], small_setting(recipe, None))


def room(left_bytes: int) -> MemoryRoom:
    return MemoryRoom(left_bytes, 2**40, "a box of ours")


def test_where_there_is_enough_batches_stay_whole(large: tuple[Path, Dataset]) -> None:
    run, runtime = prepared_run(large), small_setting(small_recipe(), None).runtime
    assert fit_into_memory(run, large[1], runtime, room(2**40)) == AtOnce(None, None)


def test_images_at_once_are_halved_until_they_fit_and_it_is_told(large: tuple[Path, Dataset]) -> None:
    run, runtime = prepared_run(large), small_setting(small_recipe(), None).runtime
    needs = {images: predict(run, large[1], runtime, images).num_bytes for images in (32, 16, 8, 4, 2, 1)}
    assert list(needs.values()) == sorted(needs.values(), reverse=True)
    assert needs[32] > needs[8] > needs[1] > REST_BYTES
    found = fit_into_memory(run, large[1], runtime, room(needs[4]))
    assert found.images == 4
    assert found.reason is not None
    assert "a box of ours" in found.reason
    assert "no more than 4 images go through the network at once" in found.reason


def test_what_does_not_fit_at_all_is_refused_with_the_way_out(large: tuple[Path, Dataset]) -> None:
    run, runtime = prepared_run(large), small_setting(small_recipe(), None).runtime
    with pytest.raises(MemoryRunError, match=r"even with one image at a time, and .*a box of ours.*--thaw"):
        fit_into_memory(run, large[1], runtime, room(REST_BYTES // 2))


def test_a_network_that_cannot_be_counted_is_run_whole_and_the_user_is_told(large: tuple[Path, Dataset]) -> None:
    run, runtime = prepared_run(large), small_setting(small_recipe(), None).runtime
    hook = run.network.register_forward_pre_hook(lambda _, inputs: (inputs[0] + float(inputs[0].flatten()[0]),))
    found = fit_into_memory(run, large[1], runtime, room(REST_BYTES // 2))
    hook.remove()
    assert found.images is None
    assert found.reason is not None
    assert "its memory is not predicted: what cannot be counted (" in found.reason


def test_prediction_leaves_the_network_as_it_was(large: tuple[Path, Dataset]) -> None:
    run, runtime = prepared_run(large), small_setting(small_recipe(), None).runtime
    before = [(p.requires_grad, p.is_meta) for p in run.network.parameters()]
    predict(run, large[1], runtime)
    assert [(p.requires_grad, p.is_meta) for p in run.network.parameters()] == before
    assert not any(module.training for module in run.network.modules())


@pytest.mark.parametrize("cached", [True, False], ids=["store", "whole"])
def test_a_run_with_fewer_images_at_once_learns_the_same(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    from retop.pipeline import beginning

    stores = [ActivationStore(tmp_path / name) if cached else None for name in "ab"]
    whole = run_small(tmp_path / "whole", shapes, weights=small_weights, store=stores[0])
    monkeypatch.setattr(beginning, "fit_into_memory", lambda *_: AtOnce(3, "three at once"))
    parts = run_small(tmp_path / "parts", shapes, weights=small_weights, store=stores[1])
    assert "three at once" in parts.warnings
    assert "three at once" not in whole.warnings
    for before, after in zip(whole.stages, parts.stages, strict=True):
        assert after.validation_loss == pytest.approx(before.validation_loss, rel=1e-3)


LIMITED = """
import sys
import torch, retop, retop.pipeline.beginning, retop.pipeline.plan
from retop.pipeline.memory_need import AtOnce
torch.set_num_threads(1)
images, weights, out, kind, thaw = sys.argv[1:]
if kind == "blind":
    retop.pipeline.beginning.fit_into_memory = retop.pipeline.plan.fit_into_memory = lambda *_: AtOnce()
try:
    retop.compare(images, ["test_resnet"], weights=weights, out=out, device="cpu", cache=False,
        listener=lambda event: print(getattr(event, "message", "")), settings={"stage1.epochs": 0, "stage2.epochs": 1,
        "stage2.batch_size": 64, "stage2.learning_rate": 0.01, "thaw": thaw, "isolating_tests": False})
except retop.RetopError as error:
    print(type(error).__name__, error)
"""


def run_limited(large: tuple[Path, Dataset], out: Path, kind: str, limit_bytes: int) -> tuple[int, str]:
    """Exit code and messages of a run whose process is held in a real control group."""
    arguments = [large[1].record.location, str(large[0]), str(out), kind, "all"]
    with memory_group(limit_bytes) as group:
        if group is None:
            pytest.skip("this process may not make a control group with a limit of memory")
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, timeout=280,
            preexec_fn=lambda: enter(group),
        )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.slow
def test_under_a_real_limit_a_run_halves_its_batches_and_ends_where_a_blind_one_is_killed(
    large: tuple[Path, Dataset], tmp_path: Path
) -> None:
    code, _ = run_limited(large, tmp_path / "blind", "blind", ENOUGH_BYTES)
    assert code == -signal.SIGKILL
    code, said = run_limited(large, tmp_path / "out", "predicted", ENOUGH_BYTES)
    assert code == 0
    assert "images go through the network at once" in said
    assert "control group" in said
    assert (tmp_path / "out" / "test_resnet-0" / "run.json").exists()


def test_under_a_real_limit_a_run_that_cannot_fit_is_refused_before_it_begins(
    large: tuple[Path, Dataset], tmp_path: Path
) -> None:
    code, said = run_limited(large, tmp_path / "out", "predicted", TOO_LITTLE_BYTES)
    assert code == 0
    assert re.search(r"RunError test_resnet-0: .*even with one image at a time, and .*control group.*--thaw", said)
    assert not (tmp_path / "out" / "test_resnet-0" / "run.json").exists()
