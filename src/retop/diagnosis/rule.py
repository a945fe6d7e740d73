"""What a rule is: a class that looks at evidence and says what it supports."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from retop.diagnosis.evidence import Evidence
from retop.records import Finding, SampleResult

Severity = Literal["error", "warning", "note"]
CERTAIN = 3.0
"""Standard errors beyond which a difference is not taken for noise: by chance alone one test in 740 exceeds them, and
most rules ask for a least size of the difference besides."""
LIKELY_CHOSEN = 1.0
"""Standard errors by which the best of many epochs is above what it would be on other images."""


class Rule(ABC):
    """One finding.

    Attributes:
        code: ``R`` and a number.
        name: in a few words.
        severity: as in `Finding`.
        why: why it matters.
        references: papers and pages behind it.
        looks_for: what must be seen, for its page in docs/findings.
        fixes: what to do, with the options of retop.
        elsewhere: what to do where another tool trained; None where `fixes` names no option of retop, or the rule needs
            what only a run of retop leaves.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    severity: ClassVar[Severity] = "warning"
    why: ClassVar[str]
    looks_for: ClassVar[str]
    fixes: ClassVar[str]
    elsewhere: ClassVar[str | None] = None
    references: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def apply(self, evidence: Evidence) -> Finding | None:
        """What the evidence supports; None where it supports nothing, or does not hold what the rule needs."""

    def found(
        self,
        seen: str,
        numbers: dict[str, Any],
        *,
        why: str | None = None,
        fix: str | None = None,
        suspected: bool = False,
        isolating_test: str | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """The finding.

        Args:
            seen: in words, with numbers and their n.
            numbers: the plain data behind them.
            why: why it matters; None for the rule's own words.
            fix: what to do; None for the rule's own words.
            suspected: whether the cause is not isolated.
            isolating_test: what would isolate it.
            severity: None for the rule's own.
        """
        return Finding(
            self.code, self.name, severity or self.severity, seen, why or self.why, fix or self.fixes, numbers,
            suspected, isolating_test, self.references,
        )  # fmt: skip


def standard_error(first: float, first_n: float, second: float, second_n: float) -> float:
    """Of the difference of two fractions measured on different images, under the hypothesis that they are equal.

    Half an image is added on either side, so that fractions of 0 and 1 do not claim certainty.
    """
    pooled = (first * first_n + second * second_n + 1) / (first_n + second_n + 2)
    return math.sqrt(pooled * (1 - pooled) * (1 / first_n + 1 / second_n))


def paired_error(first: float, second: float, n: int) -> float:
    """Of the difference of two fractions of the same images that exclude each other; half an image is added to both.

    Args:
        first: fraction.
        second: fraction of the others.
        n: images.
    """
    shares = (first * n + 0.5) / (n + 1), (second * n + 0.5) / (n + 1)
    return math.sqrt((sum(shares) - (shares[0] - shares[1]) ** 2) / n)


def accuracy(result: SampleResult) -> float:
    """Fraction right."""
    return result.num_right / result.n


def whole(fraction: float) -> str:
    """A fraction in percent, in findings: one decimal."""
    return f"{100 * fraction:.1f} %"
