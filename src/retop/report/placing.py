"""The ranking as dots with intervals, drawn from facts."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from retop.evaluation.numerals import count, percent, percent_range
from retop.report.facts import RankedFacts, RankingFacts
from retop.report.style import FAINT, INK, KIND_COLOURS, new_figure, percent_ticks

MARKERS = {"fine-tuned": "o", "probe": "D", "scratch": "s"}
KIND_WORDS = {
    "fine-tuned": "fine-tuned",
    "probe": "probe: logistic regression on frozen features",
    "scratch": "from scratch",
}


def draw_ranking(facts: RankingFacts) -> Figure:
    """Accuracy of every row with its interval, best first.

    Args:
        facts: of the ranking.

    Returns:
        The figure.
    """
    figure = new_figure(9.0, 1.6 + 0.5 * len(facts.rows))
    axes = figure.add_subplot()
    for place, row in enumerate(facts.rows):
        _draw_row(axes, place, row, facts.n)
    axes.set_yticks(range(len(facts.rows)), [_name(row) for row in facts.rows])
    axes.set_ylim(len(facts.rows) - 0.4, -0.6)
    low, high = min(row.accuracy.low for row in facts.rows), max(row.accuracy.high for row in facts.rows)
    margin = max(0.04 * (high - low), 0.003)
    axes.set_xlim(max(low - margin, -0.01), min(high + margin, 1.01))
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    touched = ", which selection has touched" if facts.split == "validation" else ""
    axes.set_title(f"Accuracy on {count(facts.n, f'{facts.split} image')}{touched}, with 95 % intervals")
    _add_legend(figure, facts)
    return figure


def _draw_row(axes: Axes, place: int, row: RankedFacts, n: int) -> None:
    colour = KIND_COLOURS[row.kind]
    axes.plot([row.accuracy.low, row.accuracy.high], [place, place], color=colour, linewidth=2.2, alpha=0.55)
    if len(row.seed_accuracies) > 1:
        axes.plot(row.seed_accuracies, [place] * len(row.seed_accuracies), "|", color=INK, markersize=9, alpha=0.7)
    axes.plot(row.accuracy.value, place, MARKERS[row.kind], color=colour, markersize=7.5, zorder=5)
    axes.annotate(
        f"{percent(row.accuracy.value, n)}  ({percent_range(row.accuracy, n)})", (1.01, place),
        xycoords=("axes fraction", "data"), va="center", fontsize=8.5, annotation_clip=False,
    )  # fmt: skip


def _name(row: RankedFacts) -> str:
    return f"{row.name}{' *' * row.recommended}\nrank {row.rank}{', tied' * row.tied}"


def _add_legend(figure: Figure, facts: RankingFacts) -> None:
    kinds = [kind for kind in MARKERS if any(row.kind == kind for row in facts.rows)]
    handles = [
        Line2D([], [], color=KIND_COLOURS[kind], marker=MARKERS[kind], linewidth=2, label=KIND_WORDS[kind])
        for kind in kinds
    ]
    if any(len(row.seed_accuracies) > 1 for row in facts.rows):
        handles.append(Line2D([], [], color=INK, marker="|", linestyle="none", markersize=9, label="each seed"))
    if any(row.recommended for row in facts.rows):
        handles.append(Line2D([], [], linestyle="none", label="* recommended, chosen on validation"))
    figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8.5)
