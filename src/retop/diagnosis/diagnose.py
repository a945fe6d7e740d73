"""All rules on one run, and what follows from several runs together."""

from collections.abc import Iterable, Sequence

from retop.diagnosis.answering import ClassesPermuted, Collapse, ImbalanceHidden, LabelNoise, TwinClasses
from retop.diagnosis.evidence import Evidence
from retop.diagnosis.features import FeaturesDestroyed, WrongStatistics
from retop.diagnosis.fitting import NotConverged, Overfitting, TooManyEpochs, Underfitting
from retop.diagnosis.rule import Rule
from retop.diagnosis.splits import GiveAway, Leak, OtherPreprocessing, Shift, ShuffledLearnt, SmallTest
from retop.diagnosis.steps import OnlyNoise, StepsTooLarge, StepsTooSmall, ValidationAboveTraining
from retop.evaluation.numerals import points
from retop.records import ComparisonRecord, Finding

RULES: tuple[type[Rule], ...] = (
    Overfitting, Underfitting, NotConverged, TooManyEpochs, StepsTooLarge, StepsTooSmall, OnlyNoise,
    ValidationAboveTraining, FeaturesDestroyed, WrongStatistics, Collapse, ClassesPermuted, TwinClasses,
    ImbalanceHidden, LabelNoise, OtherPreprocessing, Shift, Leak, ShuffledLearnt, GiveAway, SmallTest,
)  # fmt: skip
"""By code."""

EXPLAINS: dict[str, tuple[str, ...]] = {
    "R05": ("R01", "R02", "R11"),
    "R06": ("R02", "R03", "R11"),
    "R09": ("R01",),
    "R10": ("R01", "R08", "R17", "R11"),
    "R11": ("R02", "R14", "R17"),
    "R12": ("R17", "R11", "R13"),
    "R16": ("R17", "R11"),
    "R03": ("R02",),
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
    found = [finding for rule in RULES if (finding := rule().apply(evidence))]
    return sort_findings(_without_consequences(found))


def diagnose_comparison(record: ComparisonRecord) -> tuple[Finding, ...]:
    """What a comparison's pairs leave open.

    Args:
        record: of the comparison.

    Returns:
        One note where backbones could not be told apart.
    """
    backbones = {row.name for row in record.rows if row.kind == "fine-tuned"}
    pairs = [pair for pair in record.pairs if {pair.first, pair.second} <= backbones and not pair.established]
    if not pairs:
        return ()
    shown = "; ".join(
        f"{pair.first} and {pair.second}: {points(pair.difference.value, pair.n)} points "
        f"({points(pair.difference.low, pair.n)} to {points(pair.difference.high, pair.n)}), n = {pair.n:,}"
        for pair in pairs[:4]
    )
    return (
        Finding(
            "R22", "difference between backbones not established", "note",
            f"{len(pairs)} of the pairs of backbones cannot be told apart. {shown}.",
            "Choosing the higher number would be choosing by chance.",
            "More test images (--split), folds (--folds 5) or seeds (--seeds 3); or choose the cheaper one.",
            {"pairs": [[pair.first, pair.second] for pair in pairs]}, False,
            "The same comparison on more images.", ("McNemar, Psychometrika 12, 1947; Holm, 1979",),
        ),
    )  # fmt: skip


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, then by code."""
    return tuple(sorted(findings, key=lambda one: (ORDER.index(one.severity), one.code)))


def merge_findings(by_run: Sequence[tuple[str, Sequence[Finding]]]) -> tuple[Finding, ...]:
    """Findings of several runs, each naming the run that it is about where there is more than one.

    Args:
        by_run: name and findings of every run.
    """
    from dataclasses import replace

    several = len(by_run) > 1
    return sort_findings(
        replace(one, seen=f"{name}: {one.seen}") if several else one for name, found in by_run for one in found
    )


def _without_consequences(found: Sequence[Finding]) -> list[Finding]:
    explained = {code for finding in found for code in EXPLAINS.get(finding.code, ())}
    return [finding for finding in found if finding.code not in explained]
