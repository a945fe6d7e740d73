"""Facts computed from records, and figures drawn from facts."""

from retop.report.facts import (
    ConfusionFacts,
    CurveFacts,
    RankedFacts,
    RankingFacts,
    StageCurve,
    confusion_facts,
    curve_facts,
    ranking_facts,
)
from retop.report.figures import write_comparison_figures, write_run_figures
from retop.report.notebook import comparison_html

__all__ = [
    "ConfusionFacts",
    "CurveFacts",
    "RankedFacts",
    "RankingFacts",
    "StageCurve",
    "comparison_html",
    "confusion_facts",
    "curve_facts",
    "ranking_facts",
    "write_comparison_figures",
    "write_run_figures",
]
