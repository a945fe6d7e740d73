"""All rules on one run, and what follows from several runs together."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from retop.diagnosis.answering import ClassesPermuted, Collapse
from retop.diagnosis.classes import ImbalanceHidden, TwinClasses
from retop.diagnosis.comparing import DifferenceOpen
from retop.diagnosis.evidence import Evidence
from retop.diagnosis.features import (
    BoundaryTooDeep,
    BoundaryTooShallow,
    FeaturesDestroyed,
    LostWhenSaved,
    WrongStatistics,
)
from retop.diagnosis.fitting import NotConverged, Overfitting, TooManyEpochs, Underfitting
from retop.diagnosis.labels import LabelNoise, UnrelatedLabels
from retop.diagnosis.rule import Rule
from retop.diagnosis.splits import GiveAway, Leak, OtherPreprocessing, Shift, SmallTest
from retop.diagnosis.steps import NotANumber, OnlyNoise, StepsTooLarge, StepsTooSmall, ValidationAboveTraining
from retop.diagnosis.untested import NotTested
from retop.records import ComparisonRecord, Finding

RULES: tuple[type[Rule], ...] = (
    Overfitting, Underfitting, NotConverged, TooManyEpochs, StepsTooLarge, StepsTooSmall, OnlyNoise,
    ValidationAboveTraining, FeaturesDestroyed, WrongStatistics, Collapse, ClassesPermuted, TwinClasses,
    ImbalanceHidden, LabelNoise, OtherPreprocessing, Shift, Leak, UnrelatedLabels, GiveAway, SmallTest, DifferenceOpen,
    BoundaryTooDeep, BoundaryTooShallow, NotANumber, NotTested, LostWhenSaved,
)  # fmt: skip
"""By code."""

EXPLAINS: dict[str, tuple[str, ...]] = {
    "R05": ("R01", "R02"),
    "R06": ("R02", "R03", "R13"),
    "R10": ("R01", "R08", "R11", "R17", "R27"),
    "R11": ("R02", "R13", "R17"),
    "R14": ("R13", "R15", "R19"),
    "R15": ("R02", "R08", "R13"),
    "R12": ("R16", "R17", "R11", "R13", "R19"),
    "R13": ("R19",),
    "R16": ("R17", "R11"),
    "R19": ("R02", "R06", "R15"),
    "R23": ("R13", "R19"),
    "R03": ("R02",),
    "R25": ("R01", "R02", "R03", "R04", "R05", "R06", "R07", "R08", "R09", "R10", "R11"),
    "R27": ("R11", "R17"),
}
"""A cause, and the findings that are only its consequences and would lead astray beside it."""

ORDER = ("error", "warning", "note")


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """What the evidence of one run supports.

    Args:
        evidence: of the run.

    Returns:
        Findings, the gravest first; consequences of another finding are left out.
    """
    found = [
        replace(finding, fix=rule.elsewhere) if evidence.record is None and rule.elsewhere else finding
        for rule in RULES
        if (finding := rule().apply(evidence))
    ]
    return sort_findings(_without_consequences(found))


def diagnose_comparison(record: ComparisonRecord) -> tuple[Finding, ...]:
    """What a comparison's pairs leave open.

    Args:
        record: of the comparison.

    Returns:
        One note where backbones could not be told apart.
    """
    seen = DifferenceOpen().compare(record)
    return (seen,) if seen else ()


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, then by code."""
    return tuple(sorted(findings, key=lambda one: (ORDER.index(one.severity), one.code)))


def merge_findings(by_run: Sequence[tuple[str, Sequence[Finding]]]) -> tuple[Finding, ...]:
    """Findings of several runs, each naming the run that it is about where there is more than one.

    Args:
        by_run: name and findings of every run.
    """
    several = len(by_run) > 1
    return sort_findings(
        replace(one, seen=f"{name}: {one.seen}") if several else one for name, found in by_run for one in found
    )


def _without_consequences(found: Sequence[Finding]) -> list[Finding]:
    return [one for one in found if not any(_explains(cause, one) for cause in found)]


def _explains(cause: Finding, other: Finding) -> bool:
    """Whether a finding is the consequence of another; of one stage for what happened in the other it is not."""
    stages = {finding.evidence["stage"] for finding in (cause, other) if "stage" in finding.evidence}
    return other.code in EXPLAINS.get(cause.code, ()) and len(stages) < 2
