"""Seconds by part of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from retop.events import Listener, PartFinished, PartStarted
from retop.records import TimingRecord


class Clock:
    """Measures parts and announces them.

    Args:
        run: name of the run, for the listener.
        listener: receives the start and the end of every part.
        planned: seconds the plan gave to each part.
    """

    def __init__(self, run: str, listener: Listener, planned: dict[str, float] | None = None) -> None:
        self._run = run
        self._listener = listener
        self._planned = planned or {}
        self._seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextmanager
    def part(self, name: str, total: int | None, unit: str) -> Iterator[str]:
        """Time one part; a part may be entered several times.

        Args:
            name: as in `TimingRecord`.
            total: steps to come.
            unit: what a step is.

        Yields:
            The text that names the part in progress events.
        """
        shown = f"{self._run}: {name}"
        self._listener(PartStarted(shown, total, unit))
        started = time.perf_counter()
        try:
            yield shown
        finally:
            seconds = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
            self._listener(PartFinished(shown, seconds))

    def records(self) -> tuple[TimingRecord, ...]:
        """All parts so far, and what lay between them as ``other``."""
        other = time.perf_counter() - self._began - sum(self._seconds.values())
        measured = {**self._seconds, "other": max(0.0, other)}
        return tuple(TimingRecord(name, seconds, self._planned.get(name)) for name, seconds in measured.items())
