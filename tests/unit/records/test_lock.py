"""The lock of an output folder: it is written nowhere else, and looking at it keeps nobody out."""

import os
import threading
from pathlib import Path

import pytest

from retop.errors import OutputError, RunBusyError
from retop.events import ignore
from retop.records.lock import is_held, only_process_at, only_process_in, refuse_if_held

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and pipes of this kind are unknown to Windows")


def test_what_a_link_in_its_place_leads_to_is_not_written(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".lock").symlink_to(precious)
    with pytest.raises(OutputError, match=r"\.lock is a link; remove it"), only_process_in(folder, "", ignore):
        pass
    (tmp_path / ".answers.csv.lock").symlink_to(precious)
    answers = tmp_path / "answers.csv"
    with pytest.raises(OutputError, match="is a link"), only_process_at(answers, "--out", "", ignore):
        pass
    assert precious.read_text() == "keep me"
    (folder / ".lock").unlink()
    os.mkfifo(folder / ".lock")
    with pytest.raises(OutputError, match="not a plain file"), only_process_in(folder, "", ignore):
        pass


def test_looking_whether_a_folder_is_held_keeps_nobody_out(tmp_path: Path) -> None:
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_held(tmp_path)

    (tmp_path / ".lock").touch()
    onlooker = threading.Thread(target=look)
    onlooker.start()
    try:
        for _ in range(300):
            with only_process_in(tmp_path, "", ignore):
                pass
            (tmp_path / ".lock").touch()
    finally:
        over.set()
        onlooker.join()


def test_who_holds_a_folder_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    refuse_if_held(tmp_path)
    with only_process_in(tmp_path, "retop compare photos", ignore), pytest.raises(RunBusyError, match="compare photos"):
        refuse_if_held(tmp_path)
    refuse_if_held(tmp_path)
