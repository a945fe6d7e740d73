"""The command that records keep: it can be given to a shell again."""

import shlex
import sys

import pytest

from retop.api.arguments import build_setting
from retop.events import ignore
from retop.recipe import Recipe


@pytest.mark.parametrize(
    ("script", "begins"),
    [("/usr/bin/retop", ["retop"]), ("/lib/retop/__main__.py", ["python", "-m", "retop"])],
    ids=["script", "module"],
)
def test_the_recorded_command_gives_a_shell_the_same_arguments(tmp_path, monkeypatch, script, begins):
    arguments = ["compare", "my photos", "--out", "it's $HOME; *"]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    command = build_setting(Recipe(), "cpu", tmp_path / "store", None, ignore).command
    assert shlex.split(command) == [*begins, *arguments]
