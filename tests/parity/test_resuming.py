"""A run that was interrupted gives, bit for bit, what it would have given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retop.activations import ActivationStore
from retop.data import Dataset
from retop.errors import RunExistsError, StoppedError
from retop.events import Event, Notice
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
    for pieces in range(1, 60):
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
    from retop.training import loop, step_size

    monkeypatch.setattr(loop, "ROLL_BACK_FACTOR", 1e-32)
    # A range test that is stopped begins anew, and so do an epoch's judging, the evaluation and the isolating tests,
    # of which those on stored features ask most: each must fit into a piece.
    monkeypatch.setattr(step_size, "NUM_STEPS", 3)
    arguments: dict[str, Any] = {"weights": small_weights, "settings": SETTINGS | VARIANTS[variant]}
    stores = [ActivationStore(tmp_path / f"store {name}") if cached else None for name in "ab"]
    whole = run_small(tmp_path / "a" / "run", shapes, store=stores[0], **arguments)
    resumed, pieces = run_in_pieces(26 if cached else 9, tmp_path / "b" / "run", shapes, store=stores[1], **arguments)
    assert pieces > 3
    assert outcome(resumed) == outcome(whole)
    assert model_bytes(tmp_path / "b" / "run") == model_bytes(tmp_path / "a" / "run")
    histories = [[without_clock(epoch) for epoch in saved_epochs(tmp_path / name / "run")] for name in "ab"]
    assert histories[0] == histories[1]
    theirs = logits(tmp_path / "b" / "run")
    assert all(np.array_equal(row, theirs[key]) for key, row in logits(tmp_path / "a" / "run").items())
    assert not (tmp_path / "b" / "run" / "checkpoints").exists()


def test_less_memory_on_the_day_of_the_resume_changes_nothing(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retop.pipeline import prepared

    arguments: dict[str, Any] = {"weights": small_weights, "settings": {"stage1.weight_decay": "auto"}}
    whole = run_small(tmp_path / "a" / "run", shapes, **arguments)
    with pytest.raises(StoppedError):
        run_small(tmp_path / "b" / "run", shapes, stop=StopAfter(1), **arguments)
    monkeypatch.setattr(prepared, "MEMORY_FRACTION", 0.0)
    assert outcome(run_small(tmp_path / "b" / "run", shapes, **arguments)) == outcome(whole)
    assert model_bytes(tmp_path / "b" / "run") == model_bytes(tmp_path / "a" / "run")
    assert outcome(run_small(tmp_path / "c" / "run", shapes, **arguments)) != outcome(whole)


@pytest.mark.parametrize(("settings", "questions"), [({}, 9), ({"stage1.min_steps": 9, "stage2.min_steps": 15}, 3)])
@pytest.mark.parametrize("first", [True, False], ids=["less disk", "more disk"])
def test_other_room_on_disk_on_the_day_of_the_resume_changes_nothing(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object], questions: int, first: bool,
) -> None:  # fmt: skip
    from retop.activations import store

    def have_room(plenty: bool) -> None:
        monkeypatch.setattr(store, "FREE_DISK_FRACTION", 0.5 if plenty else 1e-12)

    arguments: dict[str, Any] = {"weights": small_weights, "settings": settings}
    have_room(first)
    whole = run_small(tmp_path / "a" / "run", shapes, store=ActivationStore(tmp_path / "a store"), **arguments)
    with pytest.raises(StoppedError):
        run_small(
            tmp_path / "b" / "run", shapes, store=ActivationStore(tmp_path / "b store"), stop=StopAfter(questions),
            **arguments,
        )  # fmt: skip
    have_room(not first)
    heard: list[Event] = []
    again = ActivationStore(tmp_path / "b store")
    resumed = run_small(tmp_path / "b" / "run", shapes, store=again, listener=heard.append, **arguments)
    assert outcome(resumed) == outcome(whole)
    assert model_bytes(tmp_path / "b" / "run") == model_bytes(tmp_path / "a" / "run")
    changed = "was begun with activations as inputs and would now take images (the features would take"
    said = [
        event.message for event in heard if isinstance(event, Notice) and "it goes on as it was begun" in event.message
    ]
    assert len(said) == 1
    assert changed in said[0] or not first


def test_another_limit_of_the_store_is_refused_where_it_asks_for_another_run(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    with pytest.raises(StoppedError):
        run_small(
            tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(folder), stop=StopAfter(9)
        )  # fmt: skip
    with pytest.raises(RunExistsError, match=r"begun with activations.*now take images.*--cache-limit.*--out"):
        run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(folder, 1))
    with pytest.raises(RunExistsError, match="cache was on and is off"):
        run_small(tmp_path / "run", shapes, weights=small_weights)
    run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(folder, 2**40))
