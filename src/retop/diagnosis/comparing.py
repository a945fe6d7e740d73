"""The rule about several runs together."""

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import Rule
from retop.evaluation.numerals import points
from retop.records import ComparisonRecord, Finding

MOST_SHOWN = 4


class DifferenceOpen(Rule):
    """Backbones that cannot be told apart."""

    code, name, severity = "R22", "difference between backbones not established", "note"
    why = "The higher number is no evidence that the backbone is the better one."
    looks_for = (
        "Pairs of fine-tuned backbones whose difference on the same images is not established: exact McNemar test, "
        "after Holm's correction over all pairs of the comparison."
    )
    fixes = "More test images (--split), folds (--folds 5) or seeds (--seeds 3); or choose the cheaper one."
    references = ("McNemar, Psychometrika 12, 1947; Holm, 1979",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """A single run has no differences: None."""
        return None

    def compare(self, record: ComparisonRecord) -> Finding | None:
        """What a comparison leaves open.

        Args:
            record: of the comparison.

        Returns:
            The finding; None where every pair of backbones is told apart.
        """
        backbones = {row.name for row in record.rows if row.kind == "fine-tuned"}
        pairs = [pair for pair in record.pairs if {pair.first, pair.second} <= backbones and not pair.established]
        if not pairs:
            return None
        shown = "; ".join(
            f"{pair.first} and {pair.second}: {points(pair.difference.value, pair.n)} points "
            f"({points(pair.difference.low, pair.n)} to {points(pair.difference.high, pair.n)}), n = {pair.n:,}"
            for pair in pairs[:MOST_SHOWN]
        )
        counted = "One pair" if len(pairs) == 1 else f"{len(pairs):,} pairs"
        more = f"; and {len(pairs) - MOST_SHOWN:,} more" if len(pairs) > MOST_SHOWN else ""
        return self.found(
            f"{counted} of backbones cannot be told apart. {shown}{more}.",
            {"pairs": [[pair.first, pair.second] for pair in pairs]},
            isolating_test="The same comparison on more images.",
        )
