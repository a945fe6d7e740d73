"""Stopping on request: the first Ctrl-C or SIGTERM is noted, and honoured where everything can be saved."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from retop.errors import StoppedError

PATIENCE_SECONDS = 25.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """Whether somebody has asked this work to end.

    Attributes:
        requested: name of the signal, or None.
    """

    requested: str | None = None

    def check(self) -> None:
        """Leave if it was asked for.

        Raises:
            StoppedError: it was.
        """
        if self.requested is not None:
            raise StoppedError(f"stopped by {self.requested}")


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Note Ctrl-C and SIGTERM for as long as the work lasts; a second one does what it always did.

    If the first is not honoured within `PATIENCE_SECONDS`, it is followed by a second one. Outside of the main
    thread, where Python takes no signals, nothing is noted.

    Yields:
        What the work asks from time to time.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    impatient: list[threading.Timer] = []

    def note(number: int, frame: FrameType | None) -> None:
        stop.requested = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        _put_back(before)
        timer = threading.Timer(PATIENCE_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
        impatient.append(timer)

    for number, handler in before.items():
        # A shell that starts something in the background has it ignore Ctrl-C; so it stays.
        if handler is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield stop
    finally:
        for timer in impatient:
            timer.cancel()
        _put_back(before)


def _put_back(handlers: Mapping[signal.Signals, object]) -> None:
    for number, handler in handlers.items():
        # None stands for a handler that was not set from Python, which Python cannot put back.
        if handler is not None:
            signal.signal(number, handler)  # type: ignore[arg-type]
