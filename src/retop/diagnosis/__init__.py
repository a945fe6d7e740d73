"""What a run's records mean: rules that say what was seen, why it matters, what to do, and what would isolate it."""

from retop.diagnosis.diagnose import RULES, diagnose, diagnose_comparison, merge_findings, sort_findings
from retop.diagnosis.evidence import Evidence, evidence_of
from retop.diagnosis.importing import import_history, read_answers
from retop.diagnosis.rule import Rule

__all__ = [
    "RULES",
    "Evidence",
    "Rule",
    "diagnose",
    "diagnose_comparison",
    "evidence_of",
    "import_history",
    "merge_findings",
    "read_answers",
    "sort_findings",
]
