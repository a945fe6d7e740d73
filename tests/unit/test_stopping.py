"""The first signal is noted and honoured where work asks; the second leaves at once."""

import os
import signal

import pytest

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


def test_a_second_ctrl_c_leaves_at_once_and_handlers_are_put_back() -> None:
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
