"""Model folders changed at random, a few of them; and that what watches them would notice."""

import json
from pathlib import Path

from reliability_sections import reliability, run_beside


def test_changed_folders_are_refused_with_our_error_in_bounded_time_and_memory() -> None:
    # Whatever is run, opened elsewhere or raised beside our own error ends the process.
    found = reliability("folders", 0.003)
    ends = [found[end] for end in ("refused", "loaded, answered", "loaded, no answer")]
    assert found["folders"] == sum(ends) == 300
    assert 0 < found["loaded, answered"] < 60
    assert found["longest_seconds"] < 15
    assert found["memory_mib"] < 1024
    assert len(found["reasons"]) > 8


FORBIDDEN = {
    "pickle": "pickle.loads(pickle.dumps(1))",
    "a class that a pickle names": "from _pickle import loads; loads(b'cos\\nsystem\\n.')",
    "eval": "eval('1')",
    "exec": "exec('1')",
    "an import": "import turtle",
    "an import by name": "importlib.import_module('retop')",
    "a command": "os.system('true')",
    "a process": "subprocess.run(['true'])",
    "a fork": "os.fork()",
    "a connection": "socket.create_connection(('127.0.0.1', 9))",
    "a file elsewhere": "open('/etc/passwd')",
    "a file elsewhere, by its path": "Path('/etc/passwd').read_text()",
    "a file elsewhere, of the system's": "os.open('/etc/passwd', os.O_RDONLY)",
    "a file above": "open(folder / '..' / 'beside')",
    "a link to elsewhere": "open(folder / 'link')",
    "writing": "open(folder / 'new', 'w')",
    "writing, of the system's": "os.open(folder / 'new', os.O_CREAT | os.O_WRONLY)",
    "removing": "os.remove(folder / 'inside')",
    "no end": "while True: pass",
}
PROGRAM = """
import importlib, json, os, pickle, socket, subprocess, sys
from pathlib import Path
from fence import Harmed, bounded_time, nothing_may_run
folder, found = Path({folder!r}), {{}}
programs = {{name: compile(text, name, "exec") for name, text in {programs!r}.items()}}
run = exec
for name, program in programs.items():
    try:
        with bounded_time(0.2), nothing_may_run(folder):
            (folder / "inside").read_bytes()
            run(program)
    except Harmed:
        continue
    found[name] = "passed"
print(json.dumps(found))
"""


def test_whatever_may_not_happen_while_a_folder_is_loaded_raises(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inside").write_bytes(b"")
    (tmp_path / "beside").write_bytes(b"")
    (folder / "link").symlink_to("/etc/passwd")
    assert json.loads(run_beside(PROGRAM.format(folder=str(folder), programs=FORBIDDEN))) == {}


LOADED_WITH_LITTLE = """
from pathlib import Path
from fence import bounded_memory
from hostile_folders import small_model
from retop.artifact import load_model_folder
from retop.errors import ModelFolderError
folder = Path({folder!r})
small_model(folder / "small")
small_model(folder / "large", widths=[4, 4, 4, 4, 1024])
load_model_folder(folder / "small")
for more_mib in (4, 16, 48, 2048):
    try:
        with bounded_memory(more_mib * 2**20):
            load_model_folder(folder / "large")
        print("loaded")
    except ModelFolderError as error:
        print("refused:", str(error).splitlines()[0])
"""


def test_a_model_that_memory_does_not_hold_is_refused_with_our_error(tmp_path: Path) -> None:
    *refused, loaded = run_beside(LOADED_WITH_LITTLE.format(folder=str(tmp_path))).splitlines()
    assert loaded == "loaded"
    assert len(refused) == 3
    assert all(line.startswith("refused:") and "memory" in line for line in refused)
