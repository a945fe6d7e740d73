"""Facts computed from records, figures drawn from facts, and the page that shows them."""

from retop.report.contents import ReportFacts, comparison_facts, open_folder, report_facts
from retop.report.drawing import write_all_figures
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
from retop.report.writing import Format, write_report

__all__ = [
    "ConfusionFacts",
    "CurveFacts",
    "Format",
    "RankedFacts",
    "RankingFacts",
    "ReportFacts",
    "StageCurve",
    "comparison_facts",
    "comparison_html",
    "confusion_facts",
    "curve_facts",
    "open_folder",
    "ranking_facts",
    "report_facts",
    "write_all_figures",
    "write_comparison_figures",
    "write_report",
    "write_run_figures",
]
