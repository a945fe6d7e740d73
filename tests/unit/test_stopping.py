"""The first signal is noted and honoured where work asks; the second leaves at once."""

import os
import signal
import subprocess
import sys

import pytest

from retop import stopping
from retop.errors import StoppedError
from retop.stopping import SIGNALS, stop_on_signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals for its own process")


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_the_first_signal_is_honoured_where_work_asks(number: signal.Signals, name: str) -> None:
    # A shell that runs the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(StoppedError, match=f"stopped by {name}"), stop_on_signals() as stop:
            stop.check()
            os.kill(os.getpid(), number)
            stop.check()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_leaves_at_once_and_handlers_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_after_first", None)
    first = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested == "Ctrl-C"
            os.kill(os.getpid(), signal.SIGINT)
        assert [signal.getsignal(number) for number in SIGNALS] == before
    finally:
        signal.signal(signal.SIGINT, first)


COMMAND = """
import os, signal, sys, time
from retop.stopping import leave_on_second_signal, stop_on_signals
signal.signal(signal.SIGINT, signal.default_int_handler)
leave_on_second_signal("not said")
with stop_on_signals() as stop:
    leave_on_second_signal("last words")
    try:
        os.kill(os.getpid(), signal.Signals[sys.argv[1]])
        stop.check()
    finally:
        # What is done while the first is honoured may be cut short, here and in what Python does at its end.
        os.kill(os.getpid(), signal.Signals[sys.argv[2]])
        time.sleep(60)
"""


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_a_command_at_once_with_one_line(first: str, second: str) -> None:
    done = subprocess.run([sys.executable, "-c", COMMAND, first, second], capture_output=True, text=True, timeout=30)
    assert done.returncode == stopping.INTERRUPTED
    assert done.stderr.split("\n") == ["", "last words", ""]
    assert not done.stdout


def test_ctrl_c_outside_of_work_is_an_exception_and_the_next_ends_the_command() -> None:
    program = COMMAND[: COMMAND.index("with stop")] + "".join(
        f"try:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    print({number}, flush=True)\n"
        for number in (1, 2)
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (stopping.INTERRUPTED, "1\n", "\nnot said\n")
