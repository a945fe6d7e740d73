"""Two processes draw what one would, whatever becomes of the second."""

import sys
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from example_records import contender, write_comparison
from retop.events import Event, PartAdvanced
from retop.report import drawing, write_all_figures, write_comparison_figures, write_run_figures


def write_probes(folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_comparison(folder, [contender(f"probe-net{k}", "probe", n=20) for k in range(number)])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process draws of three runs."""
    folder = tmp_path_factory.mktemp("alone")
    write_probes(folder, 3)
    write_comparison_figures(folder)
    for k in range(3):
        write_run_figures(folder / f"probe-net{k}-0")
    return pictures(folder)


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("figures/*.*")}


@pytest.mark.parametrize(
    "command",
    [
        drawing.COMMAND,
        (sys.executable, "-c", ""),
        (sys.executable, "-c", "input(); print('drawn', flush=True); input()"),
        (sys.executable, "-c", "input(); print('no', flush=True); input()"),
    ],
    ids=["as it is", "dies at once", "dies at its second run", "says something else"],
)
def test_every_figure_is_drawn_once_with_and_without_the_second_process(
    alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    write_probes(tmp_path, 3)
    monkeypatch.setattr(drawing, "COMMAND", command)
    monkeypatch.setattr(drawing, "available_cores", lambda: 2)
    seen: list[Event] = []
    write_all_figures(tmp_path, seen.append)
    assert sum(event.steps for event in seen if isinstance(event, PartAdvanced)) == 3
    together = pictures(tmp_path)
    missing = set(alone) - set(together)
    # One that only says that it has drawn is believed, once.
    assert len(missing) == (2 if "print('drawn'" in command[-1] else 0)
    assert together == {name: content for name, content in alone.items() if name not in missing}


def test_a_second_process_that_is_gone_before_it_is_asked_costs_no_figure(
    alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Thread):
        """A feeder that starts when the process is over: its first line finds a broken pipe."""

        def __init__(self, args: tuple[Any, ...], **keywords: Any) -> None:
            args[0].wait()
            super().__init__(args=args, **keywords)

    write_probes(tmp_path, 3)
    monkeypatch.setattr(drawing, "COMMAND", (sys.executable, "-c", ""))
    monkeypatch.setattr(drawing, "Thread", Late)
    monkeypatch.setattr(drawing, "available_cores", lambda: 2)
    write_all_figures(tmp_path)
    assert pictures(tmp_path) == alone


def test_an_error_here_ends_the_second_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_probes(tmp_path, 3)
    monkeypatch.setattr(drawing, "available_cores", lambda: 2)
    monkeypatch.setattr(drawing, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drawing, "write_comparison_figures", full)
    with pytest.raises(OSError, match="No space"):
        write_all_figures(tmp_path)
