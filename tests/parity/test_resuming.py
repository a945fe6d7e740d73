"""A run that was interrupted gives, bit for bit, what it would have given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retop.activations import ActivationStore
from retop.data import Dataset
from retop.errors import StoppedError
from retop.records import RunRecord
from retop.schema import to_plain
from retop.stopping import Stop
from small_runs import logits, model_bytes, run_small, saved_epochs, without_clock

SETTINGS: dict[str, object] = {
    "views.preset": "standard", "views.count": 2, "head.dropout": 0.3, "stage1.mixup": 0.2, "stage2.mixup": 0.2,
    "stage2.epochs": 3, "stage2.patience": 2,
}  # fmt: skip
VARIANTS: dict[str, dict[str, object]] = {
    "sgd": {},
    "adamw, statistics, mlp": {"stage2.optimiser": "adamw", "batch_norm": "update", "head.kind": "mlp"},
    "penalties and step sizes": {"stage1.weight_decay": "auto", "stage1.learning_rate": "auto"},
    "diverging once": {"stage2.learning_rate": 1e30, "stage2.clip_norm": None, "stage2.warmup_fraction": 0.0},
}


class StopAfter(Stop):
    """Somebody who asks to stop after so many questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    @property
    def requested(self) -> str | None:  # type: ignore[override]
        self.left -= 1
        return "Ctrl-C" if self.left < 0 else None


def run_in_pieces(questions: int, folder: Path, dataset: Dataset, **arguments: Any) -> tuple[RunRecord, int]:
    """A run that is stopped and resumed until it is over, and how often it was."""
    for pieces in range(1, 1000):
        try:
            return run_small(folder, dataset, stop=StopAfter(questions), **arguments), pieces
        except StoppedError:
            continue
    raise AssertionError("it never ends")


def outcome(record: RunRecord) -> dict[str, object]:
    """All of a run's record that no clock measures."""
    plain = to_plain(record)
    return {key: value for key, value in plain.items() if key not in ("timings", "environment")}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cached", [True, False], ids=["store", "whole"])
def test_resuming_equals_not_stopping(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, cached: bool
) -> None:
    from retop.training import state

    monkeypatch.setattr(state, "ROLL_BACK_FACTOR", 1e-32)
    arguments: dict[str, Any] = {"weights": small_weights, "settings": SETTINGS | VARIANTS[variant]}
    stores = [ActivationStore(tmp_path / f"store {name}") if cached else None for name in "ab"]
    whole = run_small(tmp_path / "a" / "run", shapes, store=stores[0], **arguments)
    resumed, pieces = run_in_pieces(7, tmp_path / "b" / "run", shapes, store=stores[1], **arguments)
    assert pieces > 3
    assert outcome(resumed) == outcome(whole)
    assert model_bytes(tmp_path / "b" / "run") == model_bytes(tmp_path / "a" / "run")
    histories = [[without_clock(epoch) for epoch in saved_epochs(tmp_path / name / "run")] for name in "ab"]
    assert histories[0] == histories[1]
    theirs = logits(tmp_path / "b" / "run")
    assert all(np.array_equal(row, theirs[key]) for key, row in logits(tmp_path / "a" / "run").items())
    assert not (tmp_path / "b" / "run" / "checkpoints").exists()
