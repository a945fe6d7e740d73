"""The comparison that is killed, damaged and starved: small, but with every part of a large one.

Two backbones and a probe on drawn shapes of 32 pixels: augmentation, dropout, range tests, the penalty grid, early
stopping. Its parts of the store are small and its checkpoints follow every step, so that there is much to interrupt.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from images import write_split_shapes
from retop import api
from retop.activations import store
from retop.api import comparing
from retop.events import Event, Listener
from retop.pipeline import rates
from retop.report import drawing
from retop.training import checkpoints
from small_runs import write_weights

BACKBONES = ("test_resnet", "test_efficientnet")
SIDE = 32
SETTINGS: dict[str, Any] = {
    "precision": "fp32", "views.count": 3, "head.dropout": 0.3,
    "stage1.epochs": 3, "stage1.min_steps": 0, "stage1.patience": 2, "stage1.batch_size": 16,
    "stage2.epochs": 4, "stage2.patience": 2, "stage2.batch_size": 16, "stage2.learning_rate": 0.02,
}  # fmt: skip


def prepare(folder: Path) -> None:
    """Images and weights."""
    write_split_shapes(folder / "images", train=16, validation=6, test=5, side=SIDE)
    for backbone in BACKBONES:
        write_weights(folder / "weights", backbone, SIDE)


def keep_often() -> None:
    """Small parts, a checkpoint after every step, no calibration, one process: only when something is saved changes."""
    store.PART_BYTES = 2**14
    checkpoints.LARGEST_OVERHEAD = float("inf")
    checkpoints.SAVE_EVERY_SECONDS = 0.0
    rates.CALIBRATION_SECONDS = 0.0
    rates.LARGEST_CALIBRATION = 64
    drawing.WORTH_A_PROCESS = sys.maxsize


def compare(
    folder: Path,
    out: Path,
    cache: Path,
    listener: Listener,
    draw: bool = True,
    before_report: Callable[[], None] = list,
) -> None:
    """Run the comparison, or go on with it."""
    os.environ["RETOP_CACHE"] = str(cache)
    whole = comparing.write_all_figures

    def report(*arguments: Any) -> Any:
        before_report()
        return whole(*arguments) if draw else ()

    comparing.write_all_figures = report
    try:
        api.compare(
            folder / "images", BACKBONES, weights=folder / "weights", settings=SETTINGS, baselines=["probe"], out=out,
            device="cpu", listener=listener, cache_limit_bytes=2**30,
        )  # fmt: skip
    finally:
        comparing.write_all_figures = whole


def outcome(out: Path) -> dict[str, object]:
    """Everything a comparison left that no clock measures: bytes of weights and predictions, records, table."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.suffix in (".safetensors", ".parquet"):
            found[name] = path.read_bytes()
        elif path.suffix == ".jsonl":
            found[name] = [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.suffix == ".json" and path.name != "plan.json":
            found[name] = _timeless(json.loads(path.read_text()))
        elif path.is_file() and "figures" in path.parts:
            found[name] = "drawn"
    return found


def part_of(event: Event) -> str:
    """The part that an event belongs to, or nothing."""
    return str(getattr(event, "part", "")).rpartition(": ")[2]


def _timeless(value: Any) -> Any:
    clocks = ("seconds", "timings", "environment", "prefix_seconds", "stage1_seconds", "stage2_seconds")
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in clocks}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
