"""What a killed save leaves is removed by the next process, and what a living one is writing is not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from retop import schema
from retop.activations import ActivationStore
from retop.data import Dataset
from retop.events import Event
from retop.report.style import save_figure
from retop.schema import remove_partial_files, write_bytes
from small_runs import run_small

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is open")

# Half of a file is written and the process waits to be killed.
WRITER = """
import os, sys, time
from pathlib import Path
from retop.schema import write_bytes

def stand_still(descriptor):
    print("half", flush=True)
    time.sleep(60)

os.fsync = stand_still
write_bytes(Path(sys.argv[1]), b"half")
"""
OTHERS = (".partial", ".photo.partial", "photo.0a1b2c3d.partial", ".photo.0a1b2c3.partial", ".photo.0a1b2c3d.partial~")


def start_writing(path: Path) -> subprocess.Popen[str]:
    """A process in the middle of a save."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


def kill_a_save(path: Path) -> None:
    process = start_writing(path)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert partial(path.parent)


def partial(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*.partial") if path.name not in OTHERS]


def test_only_what_nobody_is_writing_goes_and_only_our_own_names(tmp_path: Path) -> None:
    for name in OTHERS:
        (tmp_path / name).touch()
    process = start_writing(tmp_path / "state")
    try:
        remove_partial_files(tmp_path, tmp_path / "missing")
        assert len(partial(tmp_path)) == 1
        # Writers do not wait for each other.
        write_bytes(tmp_path / "other", b"whole")
    finally:
        process.kill()
        process.communicate(timeout=60)
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*OTHERS, "other"])


def test_locks_of_others_on_the_folder_keep_nobody_waiting(tmp_path: Path) -> None:
    """As ``flock FOLDER retop ...`` has them."""
    import fcntl

    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        kill_a_save(tmp_path / "state")
        write_bytes(tmp_path / "other", b"whole")
        remove_partial_files(tmp_path)
    finally:
        os.close(descriptor)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_is_swept_before_it_is_locked_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, swept = schema._take, []

    def late(descriptor: int) -> bool | None:
        # The other process's own lock is not held up.
        if not swept:
            swept.extend(partial(tmp_path))
            remove_partial_files(tmp_path)
        return take(descriptor)

    monkeypatch.setattr(schema, "_take", late)
    write_bytes(tmp_path / "state", b"whole")
    assert len(swept) == 1
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("state", b"whole")]


def test_a_store_a_run_and_figures_are_swept_when_they_are_written_again(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ActivationStore(tmp_path / "store")
    run_small(tmp_path / "whole", shapes, weights=small_weights, store=store)
    entries = sorted({path.parent for path in (tmp_path / "store").rglob("part-*.bin")})
    for entry in entries:
        # The kill came between the part and the record that names it.
        (entry / "entry.json").unlink()
        kill_a_save(entry / "part-00000.bin")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    kill_a_save(run / "metrics.jsonl")
    kill_a_save(run / "checkpoints" / "000001-ab.safetensors")
    in_stage_1: list[list[Path]] = []

    def look(event: Event) -> None:
        if getattr(event, "part", "").endswith("stage 1"):
            in_stage_1.append(partial(run))

    run_small(run, shapes, weights=small_weights, store=ActivationStore(tmp_path / "store"), listener=look)
    # Room is made before anything is trained, not only when all checkpoints go.
    assert in_stage_1[0] == []
    assert entries
    assert partial(tmp_path) == []
    (run / "figures").mkdir()
    kill_a_save(run / "figures" / "curves.png")
    save_figure(Figure(), run / "figures", "curves")
    assert partial(tmp_path) == []


def test_without_locks_everybody_writes_and_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unknown(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    (tmp_path / ".state.0a1b2c3d.partial").touch()
    schema.write_bytes(tmp_path / "state", b"whole")
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".state.0a1b2c3d.partial", "state"]
