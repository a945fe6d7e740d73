"""The installed command, interrupted: by signals, by another process, by a limit of the system; and gone on with."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from images import write_split_shapes
from small_runs import model_bytes

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals for another process")

COMMAND = Path(sys.executable).with_name("retop")
TIMEOUT_SECONDS = 300
LONG = (
    "--epochs", "2,120", "--views", "2", "--set", "stage1.weight_decay=0.001", "--set", "stage2.patience=null",
    "--set", "stage2.batch_size=8", "--set", "isolating_tests=false",
)  # fmt: skip
CLOCKS = ("seconds", "timings", "environment", "prefix_seconds", "stage1_seconds", "stage2_seconds")


class Retop:
    """Starts the command in a folder and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"RETOP_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}

    def start(self, *words: object, before: Callable[[], object] = list) -> subprocess.Popen[str]:
        def prepare() -> None:
            # A shell that runs the tests in the background has them ignore this signal, and their children with them.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            before()

        return subprocess.Popen(
            [COMMAND, *map(str, words)], cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=prepare,
        )  # fmt: skip

    def __call__(self, *words: object, before: Callable[[], object] = list) -> tuple[int, str]:
        """Exit code, and what was said on stderr."""
        process = self.start(*words, before=before)
        messages = process.communicate(timeout=TIMEOUT_SECONDS)[1]
        return process.returncode, messages


@pytest.fixture
def retop(tmp_path: Path) -> Retop:
    return Retop(tmp_path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split_shapes(tmp_path_factory.mktemp("data") / "photos", train=10, validation=4, test=4)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def at_work(run: Path) -> str:
    """What the newest checkpoint of a run was saved in the middle of."""
    try:
        newest = max(run.glob("checkpoints/0*.safetensors"))
        with safe_open(newest, "pt") as file:
            return str((json.loads(file.metadata()["retop"])["at_work"] or [""])[0])
    except (ValueError, OSError):
        return ""


def without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_clocks(item) for key, item in value.items() if key not in CLOCKS}
    return [without_clocks(item) for item in value] if isinstance(value, list) else value


def outcome(comparison: Path) -> dict[str, Any]:
    """Weights and predictions bit for bit; every record without what a clock measured."""
    run = comparison / "test_resnet-0"
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return {
        "weights": model_bytes(run),
        "predictions": (run / "predictions.parquet").read_bytes(),
        "history": [without_clocks(json.loads(line)) for line in lines],
        "run": without_clocks(json.loads((run / "run.json").read_text())),
        "table": without_clocks(json.loads((comparison / "comparison.json").read_text())),
    }


def test_a_run_stopped_in_stage_2_and_resumed_equals_the_uninterrupted_one(
    retop: Retop, photos: Path, small_weights: Path
) -> None:
    words = ("compare", photos, "--backbones", "test_resnet", "--weights", small_weights, *LONG, "--out")
    code, messages = retop(*words, "whole/photos")
    assert code == 0, messages
    stopped = retop.folder / "stopped" / "photos"
    process = retop.start(*words, "stopped/photos")
    wait_until(lambda: process.poll() is not None or at_work(stopped / "test_resnet-0").startswith("stage 2"))
    process.send_signal(signal.SIGTERM)
    messages = process.communicate(timeout=60)[1]
    assert process.returncode == 130, messages
    assert "stopped by SIGTERM; everything is saved. 'retop resume stopped/photos' goes on" in " ".join(
        messages.split()
    )
    assert at_work(stopped / "test_resnet-0").startswith("stage 2")
    code, messages = retop("resume", "stopped/photos")
    assert code == 0, messages
    whole = outcome(retop.folder / "whole" / "photos")
    assert outcome(stopped) == whole
    first, second = whole["run"]["stages"]
    assert second["parameters_trained"] > first["parameters_trained"]
    before = load_file(small_weights / "test_resnet" / "model.safetensors")
    after = load_file(stopped / "test_resnet-0" / "model" / "model.safetensors")
    changed = sum(tensor.numel() for name, tensor in before.items() if (tensor != after[name]).any())
    assert changed == second["parameters_trained"] - first["parameters_trained"]


def test_ctrl_c_says_how_to_go_on_and_a_second_process_is_told_who_is_at_work(
    retop: Retop, photos: Path, small_weights: Path
) -> None:
    words = ["compare", photos, "--backbones", "test_resnet", "--weights", small_weights, "--out", "stopped"]
    process = retop.start(*words, "--epochs", "10000,0", "--set", "stage1.patience=null")
    wait_until(lambda: process.poll() is not None or at_work(retop.folder / "stopped" / "test_resnet-0") != "")
    written = {path: path.stat() for path in (retop.folder / "stopped").glob("*.*")}
    assert {path.name for path in written} >= {"plan.json", "audit.json", "split.parquet"}
    code, refusal = retop("resume", "stopped")
    assert code == 7
    assert f"is being worked on by process {process.pid}" in " ".join(refusal.split())
    # Refused before it wrote anything.
    for path, before in written.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    messages = process.communicate(timeout=60)[1]
    assert time.monotonic() - started < 30
    assert process.returncode == 130, messages
    assert messages.count("'retop resume stopped' goes on") == 1
    assert "Results go to stopped" in messages


@pytest.mark.parametrize(
    "gaps_seconds", [(0.5,), pytest.param((0.01, 0.03, 0.1, 0.2, 0.5, 1.0), marks=pytest.mark.slow)]
)
def test_a_second_ctrl_c_leaves_at_once_with_one_line_and_without_damage(
    retop: Retop, photos: Path, small_weights: Path, gaps_seconds: tuple[float, ...]
) -> None:
    """A second one that comes while the first is honoured, or shortly after."""
    words = ["compare", photos, "--backbones", "test_resnet", "--weights", small_weights, "--out", "stopped"]
    words += ["--thaw", "all", "--epochs", "0,20", "--set", "isolating_tests=false"]
    for gap_seconds in gaps_seconds:
        process = retop.start(*words)
        assert process.stderr is not None
        assert any("Results go to stopped" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGINT)
        time.sleep(gap_seconds)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        messages = process.communicate(timeout=60)[1]
        # Signals that come before Python looks at the first are one: then it is honoured as such.
        assert time.monotonic() - started < 30
        # In its last microseconds Python has taken its handlers away, and the system's own ends the process.
        assert process.returncode in (130, -signal.SIGINT), messages
        assert "Traceback" not in messages
        assert "Exception ignored" not in messages
        assert messages.count("'retop resume stopped' goes on") == 1
    code, messages = retop("resume", "stopped")
    assert code == 0, messages


def test_a_file_that_the_system_does_not_let_grow_is_one_error_and_loses_nothing(
    retop: Retop, photos: Path, small_weights: Path
) -> None:
    """What a quota does, on a kernel without quotas: RLIMIT_FSIZE."""
    words = ["compare", photos, "--backbones", "test_resnet", "--weights", small_weights, "--out", "limited"]
    words += ["--cache", "off", "--thaw", "all", "--epochs", "1,2", "--set", "isolating_tests=false"]
    code, messages = retop(*words, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18)))
    assert code == 7, messages
    said = " ".join(messages.split())
    assert "cannot be written" in said
    assert "File too large" in said
    assert said.count("'retop resume limited' goes on") == 1
    assert "Traceback" not in messages
    code, messages = retop("resume", "limited")
    assert code == 0, messages


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_plan_is_made_says_how_to_go_on(
    retop: Retop, photos: Path, small_weights: Path, number: signal.Signals
) -> None:
    words = ["compare", photos, "--backbones", "test_resnet", "--weights", small_weights, "--out", "never"]
    process = retop.start(*words)
    index = retop.folder / "cache"
    # The images are indexed when the cache has something; the plan takes seconds after that.
    wait_until(lambda: process.poll() is not None or (index.is_dir() and any(index.iterdir())))
    process.send_signal(number)
    messages = process.communicate(timeout=60)[1]
    assert process.returncode == 130, messages
    assert "interrupted before anything was trained" in " ".join(messages.split())
    assert "The same command begins again" in " ".join(messages.split())
    assert "Traceback" not in messages
    assert not (retop.folder / "never").exists()
