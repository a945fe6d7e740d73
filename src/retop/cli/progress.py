"""Progress events drawn on the terminal, or written as lines where there is none."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.text import Text

from retop.events import Event, Notice, PartAdvanced, PartFinished, PartStarted
from retop.terminal import printable

if TYPE_CHECKING:
    from rich.progress import TaskID

SHOWN_SECONDS = 2.0


class ProgressDisplay:
    """A listener that draws bars with time left; use it as a context.

    Args:
        console: where to draw; standard error, so that standard output stays for results.
    """

    def __init__(self, console: Console) -> None:
        # Imported here, so that help is there at once.
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        if isinstance(event, PartStarted):
            task = self._progress.add_task(event.part, total=event.total, unit=event.unit, detail="")
            self._tasks[event.part] = task
        elif isinstance(event, PartAdvanced) and event.part in self._tasks:
            self._progress.update(self._tasks[event.part], advance=event.steps, detail=event.detail)
        elif isinstance(event, PartFinished):
            if event.part in self._tasks:
                self._progress.remove_task(self._tasks.pop(event.part))
            if event.seconds >= SHOWN_SECONDS:
                self._console.print(Text(f"{event.part}: {event.seconds:.0f} s", style="dim"))
        elif isinstance(event, Notice):
            style = "yellow" if event.level == "warning" else "cyan"
            self._console.print(Text.assemble((f"{event.level}: ", style), printable(event.message)))
