"""What a run says of its disk, beside the sizes of its files."""

from pathlib import Path

import pytest

from retop.activations import ActivationStore
from retop.data import Dataset
from retop.errors import StoppedError
from retop.events import Event, PartStarted
from retop.records import TimingRecord
from retop.schema import from_plain, write_bytes
from retop.stopping import Stop
from small_runs import run_small


@pytest.mark.parametrize("settings", [{}, {"thaw": "none"}, {"head.kind": "mlp", "head.hidden": 8}])
def test_the_disk_of_a_run_is_the_size_of_its_files(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    from retop.training import checkpoints

    largest: dict[str, int] = {}

    def weighed(path: Path, content: bytes) -> None:
        write_bytes(path, content)
        if path.parent.name == "checkpoints":
            sizes = sum(one.stat().st_size for one in path.parent.iterdir())
            largest["all"] = max(largest.get("all", 0), sizes)

    monkeypatch.setattr(checkpoints, "LARGEST_OVERHEAD", 1e9)
    monkeypatch.setattr(checkpoints, "write_bytes", weighed)
    store, run = ActivationStore(tmp_path / "store"), tmp_path / "run"
    record = run_small(run, shapes, weights=small_weights, store=store, settings=settings)
    disk = {timing.part: timing.disk_bytes or 0 for timing in record.timings}
    assert disk["prefix"] + disk.get("features", 0) == sum(
        path.stat().st_size for path in (tmp_path / "store").rglob("part-*.bin")
    )
    kept = [path for path in run.rglob("*") if path.is_file() and path.name != "run.json"]
    assert disk["other"] == sum(path.stat().st_size for path in kept)
    assert disk["other"] > (run / "model" / "model.safetensors").stat().st_size
    assert max(disk["stage 1"], disk.get("stage 2", 0)) == largest["all"] > 0
    assert disk["evaluation"] == 0


def test_what_lies_in_the_store_costs_no_disk_again(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    store = ActivationStore()
    first, second = (
        run_small(tmp_path / str(seed), shapes, weights=small_weights, store=store, seed=seed) for seed in (0, 1)
    )
    prefix = [
        next(timing.disk_bytes for timing in record.timings if timing.part == "prefix") for record in (first, second)
    ]
    assert prefix[0] and prefix[1] == 0


def test_disk_of_an_interrupted_run_is_counted_with_what_came_before(
    small_weights: Path, shapes: Dataset, tmp_path: Path
) -> None:
    whole = run_small(tmp_path / "a", shapes, weights=small_weights, store=ActivationStore(tmp_path / "a store"))
    stop = Stop()

    def in_features(event: Event) -> None:
        if isinstance(event, PartStarted) and event.part.endswith("features"):
            stop.requested = "Ctrl-C"

    with pytest.raises(StoppedError):
        run_small(tmp_path / "b", shapes, weights=small_weights, store=ActivationStore(tmp_path / "b store"),
                  listener=in_features, stop=stop)  # fmt: skip
    resumed = run_small(tmp_path / "b", shapes, weights=small_weights, store=ActivationStore(tmp_path / "b store"))
    stored = [
        {timing.part: timing.disk_bytes for timing in record.timings if timing.part in ("prefix", "features")}
        for record in (whole, resumed)
    ]
    assert stored[0] == stored[1] and all(stored[0].values())


def test_records_of_before_do_not_say_their_disk() -> None:
    old = {"part": "prefix", "seconds": 1.5, "planned_seconds": None}
    assert from_plain(TimingRecord, old).disk_bytes is None
