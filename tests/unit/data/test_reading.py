"""The pass over many files: threads and processes say the same, and no file ends the run."""

import os
import signal
import sys

import psutil
import pytest

from retop.api import plan
from retop.data import open_source, reading
from retop.data.inspector import inspect_contents, pack, unpack
from retop.data.reading import (
    COMMAND,
    CRASHED,
    DECODING,
    READING,
    Inspectors,
    available_cores,
    processes_for,
    read_files,
)
from retop.errors import RetopError
from retop.events import Notice, PartAdvanced, PartStarted, ignore

from .pictures import encoded, picture, write_classes


@pytest.fixture
def odd_folder(tmp_path):
    write_classes(tmp_path, {"a": 40, "b": 40})
    photo = encoded(picture(1, 300, 200), "JPEG")
    (tmp_path / "a/cut.jpg").write_bytes(photo[: len(photo) // 2])
    (tmp_path / "a/text.jpg").write_bytes(b"hello")
    (tmp_path / "b/empty.png").write_bytes(b"")
    (tmp_path / "b/photo.jpg").write_bytes(photo)
    return tmp_path


@pytest.mark.parametrize("decode", [False, True])
def test_processes_say_what_threads_say_in_the_order_that_was_asked(odd_folder, decode):
    source = open_source(odd_folder)
    paths = source.scan(ignore).table["path"]
    (odd_folder / "a/0.png").unlink()
    events = []
    ours = read_files(source, paths, decode, events.append, processes=0)
    theirs = read_files(source, paths, decode, ignore, processes=2)
    assert ours.equals(theirs) and len(ours) == 84
    assert sum(event.steps for event in events if isinstance(event, PartAdvanced)) == 84
    problems = dict(zip(paths.to_pylist(), ours["problem"].to_pylist(), strict=True))
    named = {"a/0.png", "a/text.jpg", "b/empty.png"} | ({"a/cut.jpg"} if decode else set())
    assert {path for path, problem in problems.items() if problem} == named
    assert ours["hash"].null_count == (len(named) if decode else 84)


def test_frames_carry_contents_as_they_are():
    contents = [b"", b"x", bytes(70_000), b"last"]
    for decode in (False, True):
        assert unpack(b"".join(pack(contents, decode))) == (contents, decode)


def test_a_file_that_ends_the_decoder_is_named_and_the_others_are_read():
    dying = "import os, retop.data.inspector as i; real = i._inspect\n"
    dying += "i._inspect = lambda content, decode: os._exit(9) if content == b'deadly' else real(content, decode)\n"
    contents = [encoded(picture(1)), b"deadly", encoded(picture(2))]
    inspectors = Inspectors(1, (sys.executable, "-c", dying + "i.main()"))
    try:
        found = inspectors.inspect(contents, True)
        assert found["problem"].to_pylist() == [None, CRASHED, None]
        expected = inspect_contents(contents, True)
        assert found["content"].equals(expected["content"])
        assert found.slice(2).equals(expected.slice(2))
    finally:
        inspectors.close()


def test_a_process_that_is_killed_is_replaced():
    inspectors = Inspectors(1, COMMAND)
    try:
        process = inspectors._idle.get()
        os.kill(process.pid, signal.SIGKILL)
        inspectors._idle.put(process)
        contents = [encoded(picture(seed)) for seed in range(3)]
        assert inspectors.inspect(contents, True).equals(inspect_contents(contents, True))
    finally:
        inspectors.close()


def test_from_5000_files_on_there_is_a_process_for_each_core(odd_folder, monkeypatch):
    assert [processes_for(number) for number in (1, 4_999)] == [0, 0]
    assert processes_for(5_000) == min(available_cores(), 16) > 0
    source, counts = open_source(odd_folder), []
    paths = source.scan(ignore).table["path"]

    class Counted(reading.Inspectors):
        def __init__(self, count, command):
            counts.append(count)
            super().__init__(count, command)

    monkeypatch.setattr(reading, "Inspectors", Counted)
    for limit, started in ((len(paths) + 1, []), (len(paths), [available_cores()])):
        monkeypatch.setattr(reading, "MANY", limit)
        read_files(source, paths, False, ignore)
        assert counts == started


def test_no_process_is_left(odd_folder):
    source = open_source(odd_folder)
    paths = source.scan(ignore).table["path"]
    before = set(psutil.Process().children())

    def stop(event):
        if isinstance(event, PartAdvanced):
            raise RetopError("stopped")

    with pytest.raises(RetopError, match="stopped"):
        read_files(source, paths, True, stop, processes=2)
    assert set(psutil.Process().children()) == before


def test_where_no_process_can_be_started_threads_read(odd_folder, monkeypatch):
    source = open_source(odd_folder)
    paths = source.scan(ignore).table["path"]
    expected = read_files(source, paths, True, ignore, processes=0)
    monkeypatch.setattr("retop.data.reading.COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    with pytest.raises(ChildProcessError):
        Inspectors(1, (sys.executable, "-c", "raise SystemExit(1)"))
    assert read_files(source, paths, True, ignore, processes=2).equals(expected)


def test_a_plan_reads_headers_and_decodes_all_where_it_comes_upon_damage(tmp_path):
    write_classes(tmp_path, {"a": 20, "b": 20})
    events = []
    plan(tmp_path, ["pocket_resnet"], cache=False, listener=events.append)
    parts = [event.part for event in events if isinstance(event, PartStarted)]
    assert READING in parts and DECODING not in parts
    photo = encoded(picture(1, 300, 200), "JPEG")
    for number in range(12):
        (tmp_path / f"a/cut{number}.jpg").write_bytes(photo[: len(photo) // 2 + number])
    plan(tmp_path, ["pocket_resnet"], cache=False, listener=events.append)
    assert any("12 of 52 images cannot be read" in event.message for event in events if isinstance(event, Notice))
