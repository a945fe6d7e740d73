"""The server's log keeps the first messages of a kind and the count of the rest."""

import json
import logging

from retop.serving.journal import LOG, MOST_ALIKE, PERIOD_SECONDS, Sparing


def message(text: str, seconds: float, name: str = "asyncio") -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, __file__, 1, text, None, None)
    record.created = seconds
    return record


def test_repetitions_are_counted_and_other_kinds_written() -> None:
    sparing = Sparing()
    alike = [message(f"no descriptor\nsocket {n}", n / 1000) for n in range(5000)]
    assert [sparing.filter(one) for one in alike] == [True] * MOST_ALIKE + [False] * (5000 - MOST_ALIKE)
    assert sparing.filter(message("something else", 5.0))
    later = message("no descriptor\nsocket 1", PERIOD_SECONDS + 1)
    assert sparing.filter(later)
    assert f"{5000 - MOST_ALIKE} times that was not written" in later.getMessage()
    again = message("no descriptor\nsocket 1", PERIOD_SECONDS + 2)
    assert sparing.filter(again)
    assert "not written" not in again.getMessage()


def test_what_was_left_out_is_told_at_the_end_and_when_there_are_too_many_kinds() -> None:
    written: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    level = LOG.level
    LOG.setLevel(logging.INFO)
    LOG.addHandler(handler)
    try:
        sparing = Sparing()
        for n in range(30):
            sparing.filter(message("no descriptor", n / 1000))
        for n in range(2000):
            sparing.filter(message(f"kind {n}", 1.0))
        assert [json.loads(line)["event"] for line in written] == ["no descriptor (and 20 times that was not written)"]
        for n in range(15):
            sparing.filter(message("late", n / 1000))
        sparing.flush()
        sparing.flush()
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(level)
    assert len(written) == 2
    assert "late (and 5 times" in written[1]


def test_every_request_has_its_line() -> None:
    sparing = Sparing()
    assert all(sparing.filter(message("{}", 0.0, LOG.name)) for _ in range(5 * MOST_ALIKE))
