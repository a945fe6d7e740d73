"""Faults, injected for real: kills, damaged checkpoints, full disks, two processes, no memory, images that vanish."""

import json
import math
import multiprocessing
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from images import write_split_shapes
from reliability_sections import reliability, run_beside
from retop.activations import ActivationStore
from retop.backbones.head import LinearHead
from retop.data import Dataset, open_dataset
from retop.errors import (
    DivergedError,
    MemoryRunError,
    OutputError,
    RunBusyError,
    RunExistsError,
    StoppedError,
    UnreadableImageError,
)
from retop.events import Event, Notice, ignore
from retop.recipe import DataRecipe
from retop.records.lock import only_process_in
from retop.stopping import Stop
from retop.training import Checkpoints, StageTrainer
from small_runs import model_bytes, run_small


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill tests fork")
def test_killed_comparisons_end_as_if_they_had_not_been() -> None:
    found = reliability("kills", 0.01)
    assert (found["kills"], found["inside a save"]) == (6, 2)
    assert found["different"] == []


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before() -> None:
    found = reliability("damaged", 0.01)
    assert found["the one before was used"] == found["damaged"] == 10
    assert found["different"] == 0


OVERHEAD = """
import json
from pathlib import Path
from overhead import Subject, measure_overhead
print(json.dumps(measure_overhead(Path({folder!r}), 1, (Subject("pocket_vgg", 1),))))
"""


def test_the_price_is_measured_on_runs_with_the_same_weights(tmp_path: Path) -> None:
    found = json.loads(run_beside(OVERHEAD.format(folder=str(tmp_path))))["pocket_vgg"]
    assert found["saves in a run"] >= 1
    assert found["bytes of the largest"] > 0
    same = {variant: said["same weights"] for variant, said in found["as it is, to"].items()}
    assert same == {
        "without checkpoints": True, "without seeds and checkpoints": False, "only deterministic kernels": True
    }  # fmt: skip


def test_a_full_disk_is_one_error_and_loses_nothing() -> None:
    found = reliability("disks", 0.01)
    if "skipped" in found:
        pytest.skip(found["skipped"])
    assert found["other endings"] == []
    assert found["different"] == 0


def hold(folder: Path, ready: Any, over: Any) -> None:
    with only_process_in(folder, "retop compare photos", ignore):
        ready.set()
        over.wait(60)


def test_a_second_process_is_told_who_is_at_work_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready, over))
    process.start()
    assert ready.wait(60)
    with (
        pytest.raises(RunBusyError, match=rf"process {process.pid} on .*retop compare photos.*--out"),
        only_process_in(tmp_path, "", ignore),
    ):
        pass
    process.kill()
    process.join()
    with only_process_in(tmp_path, "", ignore):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_deleted_and_begun_again_by_another_stays_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with ExitStack() as later:
        with only_process_in(folder, "first", ignore) as first:
            first.check()
            shutil.rmtree(folder)
            with pytest.raises(OutputError, match="deleted or replaced"):
                first.check()
            second = later.enter_context(only_process_in(folder, "second", ignore))
            with pytest.raises(OutputError, match="deleted or replaced"):
                first.check()
        second.check()
        with pytest.raises(RunBusyError, match="second"), only_process_in(folder, "third", ignore):
            pass


def test_a_run_writes_nothing_into_a_folder_that_is_no_longer_its_own(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "comparison"
    with only_process_in(folder, "", ignore) as held:

        def replace_folder(event: Event) -> None:
            if getattr(event, "part", "").endswith("stage 2") and (folder / ".lock").exists():
                shutil.rmtree(folder)
                (folder / "run").mkdir(parents=True)

        with pytest.raises(OutputError, match="deleted or replaced"):
            run_small(
                folder / "run", shapes, weights=small_weights, store=ActivationStore(), listener=replace_folder,
                still_ours=held.check,
            )  # fmt: skip
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_a_stop_in_the_evaluation_keeps_what_was_trained(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoints, "_is_affordable", lambda *_: False)
    stop = Stop()

    def ask(event: Event) -> None:
        if getattr(event, "part", "").endswith("evaluation"):
            stop.requested = "SIGTERM"

    def forbidden(trainer: StageTrainer) -> None:
        raise AssertionError("a stage is trained again")

    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    arguments: dict[str, Any] = {"weights": small_weights, "store": ActivationStore()}
    run_small(whole, shapes, **arguments)
    with pytest.raises(StoppedError):
        run_small(pieces, shapes, stop=stop, listener=ask, **arguments)
    monkeypatch.setattr(StageTrainer, "run", forbidden)
    run_small(pieces, shapes, **arguments)
    assert model_bytes(pieces) == model_bytes(whole)


def test_a_failure_after_training_keeps_what_was_trained(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoints, "_is_affordable", lambda *_: False)
    arguments: dict[str, Any] = {"weights": small_weights, "store": ActivationStore()}
    run_small(tmp_path / "whole", shapes, **arguments)

    def fail(event: Event) -> None:
        if getattr(event, "part", "").endswith("evaluation"):
            raise UnreadableImageError("disc.png", "gone")

    def forbidden(trainer: StageTrainer) -> None:
        raise AssertionError("a stage is trained again")

    with pytest.raises(UnreadableImageError):
        run_small(tmp_path / "run", shapes, listener=fail, **arguments)
    monkeypatch.setattr(StageTrainer, "run", forbidden)
    run_small(tmp_path / "run", shapes, **arguments)
    assert model_bytes(tmp_path / "run") == model_bytes(tmp_path / "whole")


def test_a_stop_while_the_head_is_calibrated_comes_before_any_step_and_changes_nothing(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"weights": small_weights, "store": ActivationStore()}
    run_small(tmp_path / "whole", shapes, **arguments)
    calibrate, stop, asked = LinearHead.calibrate, Stop(), list[int]()

    def ask(head: LinearHead, batches: Iterable[torch.Tensor]) -> None:
        def after_the_first() -> Iterator[torch.Tensor]:
            for batch in batches:
                yield batch
                asked.append(len(batch))
                stop.requested = "SIGTERM"

        calibrate(head, after_the_first())

    def forbidden(trainer: StageTrainer) -> None:
        raise AssertionError("a stage began after the stop")

    with monkeypatch.context() as patched, pytest.raises(StoppedError):
        # Several batches, or there would be nothing to stop between.
        patched.setattr("retop.pipeline.frozen.FEATURE_BATCH", 10)
        patched.setattr(LinearHead, "calibrate", ask)
        patched.setattr(StageTrainer, "run", forbidden)
        run_small(tmp_path / "run", shapes, stop=stop, **arguments)
    assert len(asked) == 1
    run_small(tmp_path / "run", shapes, **arguments)
    assert model_bytes(tmp_path / "run") == model_bytes(tmp_path / "whole")


class Asked(Stop):
    """Somebody who asks to stop after so many questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    @property
    def requested(self) -> str | None:  # type: ignore[override]
        self.left -= 1
        return "SIGTERM" if self.left < 0 else None


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"stage2.epochs": 7}, "recipe.stage2.epochs was 2 and is 7"), ({"head.dropout": 0.5}, "recipe.head.dropout was")],
)
def test_an_unfinished_run_of_another_recipe_is_refused_by_name(
    small_weights: Path, shapes: Dataset, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(StoppedError):
        run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), stop=Asked(9))
    # As a process leaves them that was killed while it wrote its results, and in a save.
    (tmp_path / "run" / "model").mkdir()
    left = ("model/config.json", "metrics.jsonl", "predictions.parquet", ".run.json.0a1b2c3d.partial")
    for name in (*left, "checkpoints/.000009-ab.safetensors.0a1b2c3d.partial"):
        (tmp_path / "run" / name).write_text("")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(RunExistsError, match=f"{message}.*--out"):
        run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore())
    assert list((tmp_path / "run").rglob("*.partial")) == []


def test_other_versions_are_refused_and_other_machines_are_told(tmp_path: Path) -> None:
    notices: list[Event] = []
    before = Checkpoints(tmp_path / "checkpoints", {"versions": {"torch": "1"}}, {"threads": 2}, Asked(0))
    with pytest.raises(StoppedError):
        before.once("stage 1", _Nothing, None, _Nothing)
    after = Checkpoints(tmp_path / "checkpoints", {"versions": {"torch": "2"}}, {"threads": 2})
    with pytest.raises(RunExistsError, match=r"versions\.torch was 1 and is 2"):
        after.open()
    assert Checkpoints(
        tmp_path / "checkpoints", {"versions": {"torch": "1"}}, {"threads": 4}, listener=notices.append
    ).open()
    assert [
        event.message for event in notices if isinstance(event, Notice) and "threads was 2 and is 4" in event.message
    ]


@dataclass(frozen=True)
class _Nothing:
    pass


class Scarce:
    """Raises what torch raises when a device has no memory, for more than so many images at once in training."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # What has no content takes no memory: the prediction runs on such tensors.
        if torch.is_grad_enabled() and len(inputs[0]) > self.most and not inputs[0].is_meta:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


@pytest.mark.parametrize("most", [5, 1])
def test_without_memory_for_a_batch_its_parts_make_the_same_step(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    arguments: dict[str, Any] = {"weights": small_weights, "store": ActivationStore()}
    whole = run_small(tmp_path / "a", shapes, **arguments)
    events: list[Event] = []
    _limit(monkeypatch, most)
    parts = run_small(tmp_path / "b", shapes, listener=events.append, **arguments)
    said = [event.message for event in events if isinstance(event, Notice) and "has no memory for" in event.message]
    assert said
    for before, after in zip(whole.stages, parts.stages, strict=True):
        assert after.validation_loss == pytest.approx(before.validation_loss, rel=1e-3)


def test_without_memory_for_one_image_the_way_out_is_named(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _limit(monkeypatch, 0)
    with pytest.raises(MemoryRunError, match=r"single image.*--thaw"):
        run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore())


def _limit(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    from retop.training.network import LateNetwork

    forward = LateNetwork.forward
    scarce = Scarce(most)

    def limited(self: LateNetwork, *crossings: torch.Tensor) -> torch.Tensor:
        scarce(self, crossings)
        return forward(self, *crossings)

    monkeypatch.setattr(LateNetwork, "forward", limited)


def test_an_image_that_vanishes_is_named(small_weights: Path, tmp_path: Path) -> None:
    folder = write_split_shapes(tmp_path / "shapes", train=6, validation=3)
    dataset = open_dataset(folder, DataRecipe())
    gone = sorted((folder / "train" / "disc").iterdir())[2]
    gone.unlink()
    with pytest.raises(UnreadableImageError, match=gone.name):
        run_small(tmp_path / "run", dataset, weights=small_weights, store=ActivationStore())


@pytest.mark.parametrize("remains", ["nothing", "a file"])
def test_a_run_whose_folder_is_deleted_says_so(
    small_weights: Path, shapes: Dataset, tmp_path: Path, remains: str
) -> None:
    def delete(event: Event) -> None:
        if getattr(event, "part", "").endswith("stage 2") and (tmp_path / "run").is_dir():
            shutil.rmtree(tmp_path / "run")
            if remains == "a file":
                (tmp_path / "run").touch()

    with pytest.raises(OutputError, match="cannot be written"):
        run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), listener=delete)
    assert not (tmp_path / "run").is_dir()


SYSTEM_SAYS = "Read-only file system|Permission denied|File too large"
ROOT = os.name != "nt" and os.geteuid() == 0


@contextmanager
def read_only_mount(folder: Path) -> Iterator[None]:
    """The folder as a file system that may only be read: even root cannot write there."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def closed_to_us(folder: Path) -> Iterator[None]:
    """The folder of somebody else: root becomes a user without rights for a while."""
    folder.chmod(0o555)
    if ROOT:
        os.seteuid(65534)
    try:
        yield
    finally:
        if ROOT:
            os.seteuid(0)
        folder.chmod(0o755)


@contextmanager
def files_that_may_not_grow(folder: Path) -> Iterator[None]:
    """RLIMIT_FSIZE: no file of this process may become larger than a page."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows closes folders in another way")
@pytest.mark.parametrize(
    "closed",
    [
        pytest.param(read_only_mount, marks=pytest.mark.skipif(not ROOT, reason="only root mounts")),
        closed_to_us,
        files_that_may_not_grow,
    ],
)
def test_a_folder_that_cannot_be_written_any_more_is_one_error_and_loses_nothing(
    small_weights: Path, shapes: Dataset, closed: Callable[[Path], AbstractContextManager[None]]
) -> None:
    # Not below pytest's own folder, which is closed to other users as it is.
    with tempfile.TemporaryDirectory() as name, ExitStack() as while_closed:
        root = Path(name)
        root.chmod(0o755)
        arguments: dict[str, Any] = {"weights": small_weights, "store": ActivationStore()}
        run_small(root / "whole", shapes, **arguments)

        def close(event: Event) -> None:
            if getattr(event, "part", "").endswith("stage 2") and not closings:
                closings.append(event)
                while_closed.enter_context(closed(root / "run"))

        closings: list[Event] = []
        with pytest.raises(OutputError, match=rf"cannot be written.*: ({SYSTEM_SAYS})"):
            run_small(root / "run", shapes, listener=close, **arguments)
        while_closed.close()
        run_small(root / "run", shapes, **arguments)
        assert model_bytes(root / "run") == model_bytes(root / "whole")


def test_a_damaged_store_is_computed_again(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    store = ActivationStore(tmp_path / "store")
    run_small(tmp_path / "a", shapes, weights=small_weights, store=store)
    for part in (tmp_path / "store").rglob("*.bin"):
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 4
        part.write_bytes(content)
    run_small(tmp_path / "b", shapes, weights=small_weights, store=ActivationStore(tmp_path / "store"))
    assert model_bytes(tmp_path / "a") == model_bytes(tmp_path / "b")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("loss", r"stage 2, epoch 1, step 1: the loss is not finite"),
        ("gradient", r"stage 2, epoch 1, step 1: the gradient of .*weight is not finite"),
        ("weights", r"stage 2, .*: the weights .* are not finite"),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_is_not_finite_is_named_rolled_back_once_and_never_saved(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, message: str,
    times: int,
) -> None:  # fmt: skip
    from retop.training import checkpoints, loop

    left = [times]
    backward, events = loop.backward, []

    def spoiled(module: nn.Module, batch: Any, *rest: Any) -> tuple[float, float]:
        loss, right = backward(module, batch, *rest)
        late = [parameter for name, parameter in module.named_parameters() if "suffix" in name and parameter.ndim > 1]
        late = [parameter for parameter in late if parameter.requires_grad]
        if late and left[0] > 0:
            left[0] -= 1
            if what == "loss":
                loss = math.inf
            elif what == "gradient":
                late[0].grad[0, 0] = math.nan
            else:
                late[0].data[0, 0] = math.inf
        return loss, right

    monkeypatch.setattr(loop, "backward", spoiled)
    # A save after every step, and none is deleted.
    monkeypatch.setattr(checkpoints, "SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "LARGEST_OVERHEAD", math.inf)
    monkeypatch.setattr(checkpoints, "KEPT", 1_000)
    arguments: dict[str, Any] = {"weights": small_weights, "store": ActivationStore(), "listener": events.append}
    # One step in an epoch: the next would tell of weights by the loss.
    arguments["settings"] = {"stage2.batch_size": 64}
    if times == 1:
        record = run_small(tmp_path / "run", shapes, **arguments)
        assert record.stages[1].learning_rate == pytest.approx(0.0005)
        said = [
            event.message for event in events if isinstance(event, Notice) and "Going on from epoch 0" in event.message
        ]
        assert len(said) == 1
        assert re.search(message, said[0])
        return
    with pytest.raises(DivergedError, match=r"not finite.*were tried"):
        run_small(tmp_path / "run", shapes, **arguments)
    saved = [load_file(path) for path in (tmp_path / "run" / "checkpoints").glob("*.safetensors")]
    numbers = [tensor for tensors in saved for tensor in tensors.values() if tensor.is_floating_point()]
    assert len(numbers) > 50
    assert all(bool(tensor.isfinite().all()) for tensor in numbers)
    assert not (tmp_path / "run" / "model").exists()
