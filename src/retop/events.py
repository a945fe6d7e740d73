"""Progress as plain events: every part reports, only the command line draws.

A part takes a `Listener` and calls it; what becomes of the event is none of its business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PartStarted:
    """A part of the work begins.

    Attributes:
        part: what is being done, e.g. ``"vgg16-0: prefix"``; the same text closes it.
        total: number of steps to come, or None where it is not known.
        unit: what a step is, in the plural: ``"images"``, ``"epochs"``, ``"files"``.
    """

    part: str
    total: int | None
    unit: str


@dataclass(frozen=True)
class PartAdvanced:
    """Steps of a part are done.

    Attributes:
        part: as in `PartStarted`.
        steps: how many more are done since the last event.
        detail: a few words about the newest state, e.g. ``"validation 97.2 %"``.
    """

    part: str
    steps: int
    detail: str = ""


@dataclass(frozen=True)
class PartFinished:
    """A part is over.

    Attributes:
        part: as in `PartStarted`.
        seconds: how long it took.
    """

    part: str
    seconds: float


@dataclass(frozen=True)
class Notice:
    """Something the user should read.

    Attributes:
        level: ``"note"`` or ``"warning"``.
        message: one or two sentences, with the way out where there is one.
    """

    level: Literal["note", "warning"]
    message: str


Event = PartStarted | PartAdvanced | PartFinished | Notice
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that draws nothing."""
