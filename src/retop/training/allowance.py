"""How much work the isolating tests of a run may take, counted and not timed: a clock would make runs differ."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from retop.device import is_out_of_memory
from retop.errors import StoppedError
from retop.records import GroupRecord, SkippedTest, StageRecord
from retop.stopping import Stop

T = TypeVar("T")

FREE_FLOPS = 2.5e11
"""What tests may take in any run: some five seconds of two cores."""
BACKWARD = 3
"""A training step costs as much as three passes forward."""
FIT_ITERATIONS = 55
"""Of a logistic regression; each passes the features forward and back."""


@dataclass
class Allowance:
    """What is left for tests, and which did not fit into it.

    Attributes:
        flops: floating-point operations that may be spent.
        skipped: tests that would have taken more than was left, or could not be made.
        stop: whether somebody asked to stop; asked before each test.
    """

    flops: float
    skipped: list[SkippedTest] = field(default_factory=list)
    stop: Stop = field(default_factory=Stop)

    def covers(self, test: str, flops: float) -> bool:
        """Spend the operations of a test if they are left; write it down if they are not."""
        if flops > self.flops:
            left = max(0.0, self.flops)
            self.leave_out(test, f"takes {flops:.1e} operations of {left:.1e} left; raise isolating_share")
            return False
        self.flops -= flops
        return True

    def leave_out(self, test: str, reason: str) -> None:
        """Write down a test that is not made."""
        self.skipped.append(SkippedTest(test, reason))

    def make(self, flops: float, give: Callable[[], T], *tests: str) -> T | None:
        """Make a test, or what several need.

        Why it failed is written down: hours of training must not be lost to what is only a look at them.

        Args:
            flops: operations that are spent, if they are left; for what several tests need, none.
            give: the test.
            tests: its name, or those of the tests that need what is given.

        Returns:
            What it gives, None where it takes too much or failed.

        Raises:
            StoppedError: somebody asked to stop; a resumed run makes its tests.
        """
        self.stop.check()
        if not self.covers(" and ".join(tests), flops):
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


def fit_flops(num_fits: int, num_images: int, num_features: int, num_classes: int) -> float:
    """Operations of logistic regressions on so many images each."""
    return 4.0 * FIT_ITERATIONS * num_fits * num_images * num_features * num_classes


def run_flops(
    groups: Sequence[GroupRecord], num_frozen: int, stages: Sequence[StageRecord], num_passes: int, sizes: Sequence[int]
) -> float:
    """Operations of a run without its tests, as if its store had been empty.

    Args:
        groups: of the network, from stem to last stage.
        num_frozen: how many of them were not trained.
        stages: of the run.
        num_passes: images, and views of them, that passed the whole network.
        sizes: number of training images, and of images that an epoch is judged by.
    """
    whole, late = (sum(group.flops for group in part) for part in (groups, groups[num_frozen:]))
    epochs = sum(stage.epochs_run for stage in stages if stage.stage == 2)
    return float(num_passes * whole + epochs * (BACKWARD * sizes[0] + sizes[1]) * late)
