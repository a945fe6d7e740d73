"""A rule about what was not looked at."""

from itertools import groupby
from operator import attrgetter

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import Rule
from retop.records import Finding


class NotTested(Rule):
    """What rules could not look at: isolating tests that were left out, numbers that nobody gave."""

    code, name, severity = "R26", "not tested", "note"
    why = "What these tests would have shown is unknown; silence of the rules that read them says nothing."
    looks_for = (
        "The run's record says which isolating tests were left out: they would have exceeded their share of the run's "
        "time, or the features of the frozen network were not stored, or memory was too small for a batch, or "
        "they failed. Of another tool's history: the number of validation images or of classes is unknown."
    )
    fixes = (
        "Train again with what each of them lacked: a larger share (--set isolating_share=0.2), the store (--cache "
        "DIR), or more memory; where one failed, mend what its reason says first."
    )
    elsewhere = "Say how many there are (--num-validation N, --num-classes K)."

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        if evidence.record is None:
            return self._unknown(evidence)
        skipped = evidence.isolation.skipped if evidence.isolation else ()
        if not skipped:
            return None
        together = groupby(skipped, key=attrgetter("reason"))
        listed = (f"{', '.join(one.test for one in tests)} ({reason})" for reason, tests in together)
        return self.found(
            f"Not tested: {'; '.join(listed)}.",
            {"tests": [one.test for one in skipped]},
        )

    def _unknown(self, evidence: Evidence) -> Finding | None:
        wanted = [
            (evidence.num_validation, "validation images", "nothing can be told from noise"),
            (evidence.num_classes, "classes", "nothing is known of guessing"),
        ]
        missing = [(name, without) for number, name, without in wanted if not number]
        if not missing:
            return None
        listed = "; ".join(f"the number of {name} is unknown, without which {without}" for name, without in missing)
        return self.found(
            f"{listed[0].upper()}{listed[1:]}.",
            {"unknown": [name for name, _ in missing]},
            why="Most rules were not applied; their silence says nothing.",
        )
