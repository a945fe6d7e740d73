"""Figures of the page: large confusion matrices, reliability, and accuracy against coverage."""

from collections.abc import Sequence

from retop.evaluation.numerals import count, percent_range
from retop.report.confidence import ConfidenceFacts
from retop.report.facts import ConfusionFacts
from retop.report.page_figure import PageFigure, error_bars, layout_of, line_of, plain


def heatmap_figure(facts: ConfusionFacts, name: str) -> PageFigure:
    """A confusion matrix as a picture.

    Args:
        facts: of the model on one split.
        name: of the figure.
    """
    data = [
        {
            "type": "heatmap",
            "x": [plain(label) for label in facts.classes],
            "y": [plain(label) for label in facts.classes],
            "z": [[None if share is None else round(share, 4) for share in row] for row in facts.shares],
            "customdata": [list(row) for row in facts.counts],
            "colorscale": "@shades",
            "zmin": 0,
            "zmax": 1,
            "hovertemplate": "true %{y}, predicted %{x}: %{customdata} images, %{z:.1%} of the class<extra></extra>",
            "colorbar": {"title": {"text": "share of the true class"}, "tickformat": ".0%", "thickness": 12},
        }
    ]
    layout = layout_of(
        xaxis={"title": {"text": "predicted class"}, "type": "category", "showgrid": False, "tickangle": -90},
        yaxis={"title": {"text": "true class"}, "type": "category", "autorange": "reversed", "showgrid": False},
    )
    return PageFigure(
        name,
        f"{facts.name}: {facts.num_right:,} of {facts.n:,} {facts.split} images right",
        "Shade: share of the true class. Choose a cell to see its images.",
        ("true class", "predicted class", "images", "share of the true class"),
        tuple(
            (true, predicted, number, share)
            for true, counts, shares in zip(facts.classes, facts.counts, facts.shares, strict=True)
            for predicted, number, share in zip(facts.classes, counts, shares, strict=True)
            if number
        ),
        min(900, 220 + 14 * len(facts.classes)),
        {"data": data, "layout": layout},
    )


def reliability_figure(facts: ConfidenceFacts, name: str) -> PageFigure:
    """Accuracy of answers of equal confidence.

    Args:
        facts: of one model.
        name: of the figure.
    """
    bins = facts.bins
    text = [f"{one.n} answers, {percent_range(one.accuracy, one.n)}" for one in bins]
    data = [
        {
            "type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip", "name": "as confident",
            "line": {"dash": "dot", "color": "@quiet", "width": 1},
        },
        {
            "type": "scatter", "mode": "lines+markers", "x": [one.confidence for one in bins],
            "y": [one.accuracy.value for one in bins], "error_y": error_bars([one.accuracy for one in bins]),
            "text": text, "name": "answers", "marker": {"size": 8, "color": "@series0"},
            "line": {"color": "@series0", "width": 1.5},
            "hovertemplate": "said %{x:.1%}, right %{y:.1%} (%{text})<extra></extra>",
        },
        {
            "type": "bar", "x": [(one.low + one.high) / 2 for one in bins], "y": [one.n for one in bins],
            "width": 0.09, "yaxis": "y2", "name": "number of answers", "marker": {"color": "@quiet"},
            "hovertemplate": "%{y} answers<extra></extra>",
        },
    ]  # fmt: skip
    layout = layout_of(
        xaxis={"title": {"text": "confidence"}, "tickformat": ".0%", "range": [0, 1.02], "anchor": "y2"},
        yaxis={"title": {"text": "right"}, "tickformat": ".0%", "range": [0, 1.03], "domain": [0.3, 1]},
        yaxis2={"title": {"text": "answers"}, "domain": [0, 0.2], "nticks": 3},
    )
    return PageFigure(
        name,
        f"{facts.name}: reliability",
        f"Above the dotted line the model is better than it says, below it is overconfident; bars are 95 % intervals. "
        f"{count(facts.n, f'{facts.split} image')}.",
        ("confidence above", "up to", "answers", "mean confidence", "right", "low", "high"),
        tuple(
            (o.low, o.high, o.n, o.confidence, o.accuracy.value, o.accuracy.low, o.accuracy.high) for o in bins
        ),
        360,
        {"data": data, "layout": layout},
    )  # fmt: skip


def coverage_figure(many: Sequence[ConfidenceFacts], name: str) -> PageFigure:
    """Accuracy against the share of images that are answered, the most confident first.

    Args:
        many: facts of the contenders; at least one.
        name: of the figure.
    """
    data = [
        {
            "type": "scatter", "mode": "lines", "name": plain(facts.name), "x": list(facts.coverage),
            "y": list(facts.accuracy_at_coverage), "customdata": list(facts.threshold),
            "line": line_of(place),
            "hovertemplate": f"{plain(facts.name)}: %{{y:.1%}} right of the %{{x:.0%}} above confidence "
            "%{customdata:.3f}<extra></extra>",
        }
        for place, facts in enumerate(many)
    ]  # fmt: skip
    layout = layout_of(
        xaxis={"title": {"text": "share of images answered"}, "tickformat": ".0%", "range": [0, 1.01]},
        yaxis={"title": {"text": "right among them"}, "tickformat": ".0%"},
    )
    return PageFigure(
        name,
        "Accuracy against coverage",
        "What a model would get right if it answered only where it is most confident and left the rest to people. "
        f"{count(many[0].n, f'{many[0].split} image')}; at small coverage a single image moves the line.",
        ("name", "coverage", "accuracy", "confidence at least"),
        tuple(
            (facts.name, *point)
            for facts in many
            for point in zip(facts.coverage, facts.accuracy_at_coverage, facts.threshold, strict=True)
        ),
        340,
        {"data": data, "layout": layout},
    )
