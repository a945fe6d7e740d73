"""What the server writes to standard error: lines of JSON, and of those that repeat themselves only some."""

import json
import logging
import sys

LOG = logging.getLogger("retop.serving")
MOST_ALIKE = 10
"""Messages of one kind within `PERIOD_SECONDS`; those after them are counted."""

PERIOD_SECONDS = 60.0
_MOST_KINDS = 1000


class Sparing(logging.Filter):
    """Leaves repetitions out, so that no trouble fills the disk. Requests have one line each in any case."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is written; one that follows after others were left out says how many."""
        if record.name == LOG.name:
            return True
        kind = (record.name, str(record.msg).partition("\n")[0])
        began, count = self._seen.pop(kind, (record.created, 0))
        if record.created - began >= PERIOD_SECONDS:
            if count > MOST_ALIKE:
                record.msg = f"{record.msg} (and {count - MOST_ALIKE} times that was not written)"
            began, count = record.created, 0
        if len(self._seen) >= _MOST_KINDS:
            self.flush()
        self._seen[kind] = (began, count + 1)
        return count < MOST_ALIKE

    def flush(self) -> None:
        """Write how many were left out of each kind, and forget the kinds."""
        seen, self._seen = self._seen, {}
        for (_, text), (began, count) in seen.items():
            if count > MOST_ALIKE:
                event = f"{text} (and {count - MOST_ALIKE} times that was not written)"
                LOG.info(json.dumps({"event": event, "level": "warning", "time": began}))


class _JsonFormatter(logging.Formatter):
    """One line of JSON for what uvicorn and others report; our own lines are JSON already."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == LOG.name:
            return record.getMessage()
        line = {"event": record.getMessage(), "level": record.levelname.lower(), "time": record.created}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr() -> Sparing:
    """Write the lines of the server, of uvicorn, and of the event loop, which has no other place to complain.

    Returns:
        What leaves repetitions out, to be flushed at the end.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    sparing = Sparing()
    handler.addFilter(sparing)
    levels = {LOG.name: logging.INFO, "uvicorn.error": logging.WARNING, "asyncio": logging.WARNING}
    for name, level in levels.items():
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(level)
        log.propagate = False
    return sparing
