"""What Python programs hear of the work where they bring no listener."""

import sys
import warnings
from types import FrameType

from retop.events import Event, Notice


def warn(event: Event) -> None:
    """The listener of Python programs: warnings become Python's own, the rest is not shown."""
    if isinstance(event, Notice) and event.level == "warning":
        warnings.warn(event.message, stacklevel=_levels_to_caller())


def _levels_to_caller() -> int:
    """How far above `warn` the call of retop stands: a warning names the user's line, not one of ours."""
    frame: FrameType | None = sys._getframe(1)
    level = outermost = 1
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "retop":
            outermost = level
        frame, level = frame.f_back, level + 1
    return outermost + 1
