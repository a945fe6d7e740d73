"""`retop check`: what it returns."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from images import write_shapes, write_split_shapes


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The command in this process."""
    from retop.cli import main

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["retop", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            main()
        return int(ending.value.code or 0), capsys.readouterr().out

    return call


@pytest.mark.parametrize("as_json", [False, True])
def test_the_exit_code_is_3_for_errors_alone(
    check: Callable[..., tuple[int, str]], tmp_path: Path, as_json: bool
) -> None:
    options = ("--json",) if as_json else ()
    photos = write_split_shapes(tmp_path / "photos", train=12, validation=3, test=3)
    code, said = check(photos, *options)
    assert code == 0 and "D09" not in said.partition("nothing found by")[0].partition('"checked"')[0]
    train, test = (next(path for path in (photos / side).rglob("*.*") if path.is_file()) for side in ("train", "test"))
    shutil.copy(train, test.with_name("again.png"))
    code, said = check(photos, *options)
    assert code == 3 and "D04" in said


def test_a_terminal_without_the_letters_of_a_name_gets_their_numbers(tmp_path: Path) -> None:
    photos = write_split_shapes(tmp_path / "photos", train=12, validation=3, test=3)
    train, test = (next(path for path in (photos / side).rglob("*.*") if path.is_file()) for side in ("train", "test"))
    shutil.copy(train, test.with_name("b\u00e4r.png"))
    command = [sys.executable, "-c", "from retop.cli import main; main()", "check", str(photos)]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert ended.returncode == 3, ended.stderr
    assert r"b\xe4r.png" in ended.stdout


def test_folds_are_audited(check: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    photos = write_shapes(tmp_path / "photos", per_class=12)
    # Four images can be split in three, but do not fill five folds.
    write_shapes(tmp_path / "others", per_class=4, first_seed=100)
    shutil.move(next((tmp_path / "others").iterdir()), photos / "few")
    for options, split in (((), True), (("--folds", "4"), True), (("--folds", "5"), False)):
        code, said = check(photos, *options, "--json")
        assert code == 0 and ("D08" in json.loads(said)["checked"]) == split, options


def test_groups_of_the_training_may_be_named_in_an_evaluation(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from retop.cli import main

    photos = write_shapes(tmp_path / "photos", per_class=2)
    for option, value, said in (("--group-pattern", "(", "--group-pattern"), ("--group", "patient", "group")):
        monkeypatch.setattr(sys, "argv", ["retop", "evaluate", str(trained_run), str(photos), option, value])
        with pytest.raises(SystemExit) as ending:
            main()
        told = capsys.readouterr().err
        assert ending.value.code == 2 and said in told and "No such option" not in told
