"""Seconds and disk by part of a run."""

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
        self._open: dict[str, float] = {}
        self._disk: dict[str, int] = {}
        self._latest = "other"
        self._began = time.perf_counter()

    def add(self, earlier: dict[str, float], disk: dict[str, int]) -> None:
        """Count what an earlier process has spent on the run.

        Args:
            earlier: as `so_far` gave it there.
            disk: as `disk_so_far` gave it there.
        """
        self._disk = disk | self._disk
        for name, seconds in earlier.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
            self._began -= seconds

    def so_far(self) -> dict[str, float]:
        """Seconds by part, the part at work and what lay between the parts included."""
        now = time.perf_counter()
        seconds = dict(self._seconds)
        for name, started in self._open.items():
            seconds[name] = seconds.get(name, 0.0) + now - started
        other = seconds.pop("other", 0.0)
        return {**seconds, "other": max(other, now - self._began - sum(seconds.values()))}

    def disk_so_far(self) -> dict[str, int]:
        """Bytes by part."""
        return dict(self._disk)

    def stored(self, name: str, num_bytes: int) -> None:
        """Note bytes that a part wrote and that stay.

        Args:
            name: of the part.
            num_bytes: besides those noted before.
        """
        self._disk[name] = self._disk.get(name, 0) + num_bytes

    def held(self, num_bytes: int) -> None:
        """Note how much lies on the disk for the part at work, or the last one; the largest counts.

        Args:
            num_bytes: at this moment.
        """
        self._disk[self._latest] = max(self._disk.get(self._latest, 0), num_bytes)

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
        self._open[name] = time.perf_counter()
        self._latest = name
        try:
            yield shown
        finally:
            seconds = time.perf_counter() - self._open.pop(name)
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
            self._listener(PartFinished(shown, seconds))

    def records(self) -> tuple[TimingRecord, ...]:
        """All parts so far, and what lay between them as ``other``."""
        return tuple(
            TimingRecord(name, seconds, self._planned.get(name), self._disk.get(name, 0))
            for name, seconds in self.so_far().items()
        )
