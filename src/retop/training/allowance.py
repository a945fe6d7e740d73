"""What the isolating tests of a run may take, in seconds that are counted (`costs`) and not measured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from retop.device import is_out_of_memory
from retop.errors import StoppedError
from retop.records import SkippedTest
from retop.stopping import Stop

T = TypeVar("T")


@dataclass
class Allowance:
    """What is left for tests, and which did not fit into it.

    Attributes:
        seconds: that may be spent.
        skipped: tests that would have taken more than was left, or could not be made.
        stop: whether somebody asked to stop; asked before each test.
    """

    seconds: float
    skipped: list[SkippedTest] = field(default_factory=list)
    stop: Stop = field(default_factory=Stop)

    def covers(self, test: str, seconds: float) -> bool:
        """Spend the seconds of a test if they are left; write it down if they are not."""
        if not self.affords(seconds, test):
            return False
        self.seconds -= seconds
        return True

    def affords(self, seconds: float, *tests: str) -> bool:
        """Whether these seconds are left; if they are not, write down the tests that need them."""
        if seconds <= self.seconds:
            return True
        for test in tests:
            left = f"{max(0.0, self.seconds):.2g} s"
            self.leave_out(test, f"takes about {seconds:.2g} s, and {left} are left; raise isolating_share")
        return False

    def leave_out(self, test: str, reason: str) -> None:
        """Write down a test that is not made."""
        self.skipped.append(SkippedTest(test, reason))

    def make(self, seconds: float, give: Callable[[], T], *tests: str) -> T | None:
        """Make a test, or what several need.

        Why it failed is written down: hours of training must not be lost to what is only a look at them.

        Args:
            seconds: that are spent, if they are left; for what several tests need, none.
            give: the test.
            tests: its name, or those of the tests that need what is given.

        Returns:
            What it gives, None where it takes too much or failed.

        Raises:
            StoppedError: somebody asked to stop; a resumed run makes its tests.
        """
        self.stop.check()
        if not self.covers(" and ".join(tests), seconds):
            return None
        try:
            return give()
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001
            what = "ran out of memory" if is_out_of_memory(error) else "failed"
            said = " ".join(f"{type(error).__name__}: {error}".split())
            for test in tests:
                self.leave_out(test, f"{what}: {said[:300]}")
            return None
