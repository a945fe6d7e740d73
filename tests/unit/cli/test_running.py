"""What is printed after a comparison, and while it runs."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from example_records import comparison_record, contender
from retop.api import Comparison
from retop.cli import running
from retop.cli.progress import ProgressDisplay
from retop.errors import OutputError
from retop.events import Notice, PartFinished


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A narrow terminal that keeps what it shows."""
    made = Console(width=60, file=io.StringIO(), color_system=None)
    monkeypatch.setattr(running, "Console", lambda: made)
    return made


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_the_printed_command_can_be_copied(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/a folder of somebody/with [x] and :dog: in its name/photos-20261124-101500")
    monkeypatch.setattr(Path, "is_file", lambda path: path.name == "report.html")
    running._show(Comparison(comparison_record([contender("a")]), folder))
    printed = lines(console)
    assert f"Use the recommended model: retop predict '{folder}/a-0/model' photo.jpg" in printed
    assert f"Report: {folder}/report.html" in printed


def test_every_fine_tuned_model_lists_its_misses(console: Console) -> None:
    contenders = [contender("a", accuracy=0.5), contender("b", accuracy=0.4), contender("probe-a", "probe")]
    running._show(Comparison(comparison_record(contenders), Path("out")))
    printed = "\n".join(lines(console))
    assert all(f"{name}-0: " in printed for name in ("a", "b"))
    assert "probe-a-0: " not in printed
    assert printed.count("test/") == running.MOST_MISSES + running.FEW_MISSES


def test_what_users_name_is_shown_as_it_is(console: Console) -> None:
    display = ProgressDisplay(console)
    display(Notice("warning", "[x]/:dog:.jpg is broken"))
    display(PartFinished("[x]: prefix", 12.0))
    assert lines(console) == ["warning: [x]/:dog:.jpg is broken", "[x]: prefix: 12 s"]


@pytest.mark.parametrize("is_there", [True, False])
def test_only_a_folder_that_is_there_is_said_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_there: bool
) -> None:
    monkeypatch.setattr(running, "_show_plan", lambda *_: None)
    if is_there:
        (tmp_path / "plan.json").touch()

    def call(on_plan: Callable[[object, Path], None], **_: object) -> Comparison:
        on_plan(None, tmp_path)
        raise OutputError("out of room")

    with pytest.raises(OutputError) as raised:
        running._run(call, as_json=False)
    assert ("goes on" in str(raised.value)) == is_there
