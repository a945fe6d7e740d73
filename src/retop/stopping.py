"""Stopping on request: the first Ctrl-C or SIGTERM is noted, and honoured where everything can be saved."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from retop.errors import StoppedError

PATIENCE_SECONDS = 25.0
INTERRUPTED = 130
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


Handler = Callable[[int, FrameType | None], Any]
# What a signal does after the first, where the process is nothing but a command.
_after_first: Handler | None = None


def leave_on_second_signal(line: str) -> None:
    """For a process that is a command of its own: once a signal came, the next ends it without unwinding.

    Everything on disk stands that, as it stands a kill. An exception that strikes while another one is honoured, or
    while Python shuts down, would print a trace.

    Args:
        line: last words. A later call replaces them.
    """
    global _after_first

    def leave(number: int, frame: FrameType | None) -> None:
        # The progress display hides the cursor.
        shown = "\x1b[?25h" if os.isatty(2) else ""
        os.write(2, f"{shown}\n{line}\n".encode())
        os._exit(INTERRUPTED)

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, leave)
        raise KeyboardInterrupt

    _after_first = leave
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


@contextmanager
def last_words() -> Iterator[None]:
    """While the last line is written signals are not heard; after it, one ends the process without another line."""
    main = threading.current_thread() is threading.main_thread()
    heard = [each for each in SIGNALS if main and signal.getsignal(each) is not signal.SIG_IGN]
    for each in heard:
        signal.signal(each, signal.SIG_IGN)
    try:
        yield
    finally:
        for each in heard:
            signal.signal(each, lambda *_: os._exit(INTERRUPTED))


@contextmanager
def ending_like_ctrl_c() -> Iterator[None]:
    """SIGTERM raises what Ctrl-C raises, for a command that has something to say when it is ended."""
    # What was set by somebody else, or is ignored, stays.
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS if _after_first is not None else ():
            signal.signal(each, _after_first)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        # Where the work was stopped, the next signal ends the command at once.
        if signal.getsignal(signal.SIGTERM) is interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Note Ctrl-C and SIGTERM for as long as the work lasts; a second one does what it always did, or ends a command.

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

    def put_back() -> None:
        for each, handler in before.items():
            if stop.requested is not None and _after_first is not None and handler is not signal.SIG_IGN:
                signal.signal(each, _after_first)
            # None stands for a handler that was not set from Python, which Python cannot put back.
            elif handler is not None:
                signal.signal(each, handler)

    def note(number: int, frame: FrameType | None) -> None:
        stop.requested = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        put_back()
        timer = threading.Timer(PATIENCE_SECONDS, os.kill, (os.getpid(), number))
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
        put_back()
