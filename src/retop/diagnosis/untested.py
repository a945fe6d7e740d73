"""A rule about what was not looked at."""

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import Rule
from retop.records import Finding


class NotTested(Rule):
    """Isolating tests that were left out."""

    code, name, severity = "R26", "not tested", "note"
    why = "What these tests would have shown is unknown; silence of the rules that read them says nothing."
    looks_for = (
        "The run's record says which isolating tests were left out: they would have exceeded their share of the run's "
        "operations, or the features of the frozen network were not stored, or memory was too small for a batch, or "
        "they failed."
    )
    fixes = (
        "Train again with what each of them lacked: a larger share (--set isolating_share=0.2), the store (--cache "
        "DIR), or more memory; where one failed, mend what its reason says first."
    )

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        skipped = evidence.isolation.skipped if evidence.isolation else ()
        if not skipped:
            return None
        return self.found(
            f"Not tested: {'; '.join(f'{one.test} ({one.reason})' for one in skipped)}.",
            {"tests": [one.test for one in skipped]},
        )
