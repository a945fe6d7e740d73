import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from retop.data import digits, open_dataset
from retop.data.digits import write_digits
from retop.errors import DataError
from retop.recipe import DataRecipe

# Waits until all others are ready too.
WRITER = """
import pathlib, sys
import sklearn.datasets
from retop.data.digits import write_digits

print("ready", flush=True)
sys.stdin.readline()
print(write_digits(pathlib.Path(sys.argv[1])))
"""
# Some images are written and the process waits to be killed.
STANDING = """
import pathlib, sys, time
from retop.data import digits

def stand_still(folder):
    (folder / "train").mkdir()
    print(folder, flush=True)
    time.sleep(60)

digits._write = stand_still
digits.write_digits(pathlib.Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("written") / "digits")


def test_every_digit_is_in_exactly_one_split_and_written_once(written: Path) -> None:
    counts = Counter(path.parent.parent.name for path in written.rglob("*.png"))
    assert counts == digits.NUM_IMAGES
    times = {path: path.stat().st_mtime_ns for path in written.rglob("*.png")}
    assert write_digits(written) == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*.png")} == times
    assert list(written.parent.iterdir()) == [written]
    dataset = open_dataset(written, DataRecipe(images_per_class=30))
    assert (len(dataset.train), len(dataset.classes)) == (300, 10)
    train, test = ({images.content(i) for i in range(len(images))} for images in (dataset.train, dataset.test))
    assert not train & test


def test_processes_that_write_at_once_all_get_the_same_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "demo" / "digits"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, folder], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=240) for process in processes]
    assert answers == [(f"{folder}\n", "")] * 3
    assert list(folder.parent.iterdir()) == [folder]
    assert write_digits(folder) == folder


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder that may be in use")
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    # An empty folder is no reason to refuse.
    (tmp_path / "digits").mkdir()
    (tmp_path / ".digits.mine.partial").mkdir()
    (tmp_path / ".other.0a1b2c3d.partial").mkdir()
    begun = []
    for ends in (True, False):
        process = subprocess.Popen(
            [sys.executable, "-c", STANDING, str(tmp_path / "digits")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        begun.append(Path(process.stdout.readline().strip()))
        if ends:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            assert begun[0].is_dir()
    try:
        folder = write_digits(tmp_path / "digits")
        kept = {folder, begun[1], tmp_path / ".digits.mine.partial", tmp_path / ".other.0a1b2c3d.partial"}
        assert set(tmp_path.iterdir()) == kept
    finally:
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize("damage", ["missing", "empty", "split"])
def test_a_folder_that_lacks_images_is_refused_and_left_as_it_is(written: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "digits"
    for image in written.rglob("*.png"):
        copy = folder / image.relative_to(written)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.hardlink_to(image)
    mine = folder / "train" / "digit-3" / "mine.png"
    mine.write_bytes(b"my own")
    assert write_digits(folder) == folder
    lost = list((folder / "test").rglob("*.png")) if damage == "split" else [next(folder.rglob("digit-7/*.png"))]
    for image in lost:
        image.unlink()
    if damage == "empty":
        lost[0].touch()
    left = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=rf"lacks {len(lost)} of the demo's 1,797 images.*Move it away.*RETOP_CACHE"):
        write_digits(folder)
    assert sorted(folder.rglob("*")) == left
    assert mine.read_bytes() == b"my own"


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "demo" / "digits", Path("/proc/retop/demo/digits")):
        with pytest.raises(DataError, match=rf"cannot be written to {place}: .*Set RETOP_CACHE to a folder that can"):
            write_digits(place)
