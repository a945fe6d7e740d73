"""Figures of the page: ranking, differences, classes and cost."""

from collections.abc import Sequence

from retop.evaluation.numerals import count, percent, percent_range, points
from retop.records import ClassShare, DataRecord, Metrics, PairedComparison
from retop.report.cost import CostFacts
from retop.report.facts import RankingFacts
from retop.report.page_figure import POINTS, SERIES, PageFigure, Trace, error_bars, layout_of, plain

KIND_SYMBOLS = {"fine-tuned": "circle", "probe": "diamond", "scratch": "square"}
SCORES = (("precision", "precision", "circle"), ("recall", "recall", "diamond"), ("f1", "F1", "square"))
LONG_PAIR = 32
MOST_PAIRS = 15


def ranking_figure(facts: RankingFacts, name: str) -> PageFigure:
    """Accuracy of every contender with its interval.

    Args:
        facts: of the ranking.
        name: of the figure.
    """
    rows = facts.rows[::-1]
    kinds = [kind for kind in KIND_SYMBOLS if any(row.kind == kind for row in rows)]
    data = []
    for kind in kinds:
        own = [row for row in rows if row.kind == kind]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": kind,
                "x": [row.accuracy.value for row in own],
                "y": [_row_name(row.name, row.rank, row.tied) for row in own],
                "error_x": error_bars([row.accuracy for row in own]),
                "marker": {"symbol": KIND_SYMBOLS[kind], "size": 10, "color": SERIES[kinds.index(kind)]},
                "text": [
                    f"{percent(row.accuracy.value, facts.n)} ({percent_range(row.accuracy, facts.n)})" for row in own
                ],
                "hovertemplate": "%{y}: %{text}<extra></extra>",
            }
        )
    if any(len(row.seed_accuracies) > 1 for row in rows):
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "each seed",
                "x": [value for row in rows for value in row.seed_accuracies],
                "y": [_row_name(row.name, row.rank, row.tied) for row in rows for _ in row.seed_accuracies],
                "marker": {"symbol": "line-ns-open", "size": 9, "color": "@ink"},
                "hovertemplate": "%{x:.1%}<extra>one seed</extra>",
            }
        )
    layout = layout_of(
        xaxis={"title": {"text": f"accuracy on {count(facts.n, f'{facts.split} image')}"}, "tickformat": ".0%"},
        yaxis={"categoryorder": "array", "categoryarray": [_row_name(r.name, r.rank, r.tied) for r in rows]},
    )
    touched = " Selection has touched validation, so these figures flatter." if facts.split == "validation" else ""
    table = [
        (row.name, row.kind, row.rank, row.accuracy.value, row.accuracy.low, row.accuracy.high, facts.n)
        for row in facts.rows
    ]
    return PageFigure(
        name,
        "Accuracy with 95 % intervals",
        f"Each mark is one contender on the same {count(facts.n, f'{facts.split} image')}; the bar is where its "
        f"accuracy on very many images of the same kind may lie.{touched}",
        ("name", "kind", "rank", "accuracy", "low", "high", "n"),
        tuple(table),
        130 + 44 * len(rows),
        {"data": data, "layout": layout},
    )


def difference_figure(pairs: Sequence[PairedComparison], name: str, focus: str) -> PageFigure:
    """Paired differences with their intervals; of very many, those of one contender.

    Args:
        pairs: at least one.
        name: of the figure.
        focus: the contender whose pairs are shown where all are too many to look at.
    """
    shown = [p for p in pairs if focus in (p.first, p.second)] if len(pairs) > MOST_PAIRS else list(pairs)
    others = f" Shown are the differences from {focus}; the numbers of all {len(pairs)} pairs are below."
    ordered = sorted(shown, key=lambda pair: -abs(pair.difference.value))[:MOST_PAIRS][::-1]
    data = []
    for established, colour, symbol in ((True, "@series1", "circle"), (False, "@quiet", "circle-open")):
        own = [pair for pair in ordered if pair.established is established]
        if own:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": "established" if established else "not established",
                    "x": [100 * pair.difference.value for pair in own],
                    "y": [_pair_name(pair) for pair in own],
                    "error_x": error_bars([pair.difference for pair in own], 100),
                    "marker": {"color": colour, "size": 9, "symbol": symbol},
                    "text": [f"{points(p.difference.value, p.n)} points, p = {p.p_holm:.3g}" for p in own],
                    "hovertemplate": "%{y}: %{text}<extra></extra>",
                }
            )
    layout = layout_of(
        xaxis={"title": {"text": "difference of accuracy in points"}, "tickformat": POINTS, "zeroline": True},
        yaxis={"categoryorder": "array", "categoryarray": [_pair_name(pair) for pair in ordered]},
    )
    return PageFigure(
        name,
        "Paired differences with 95 % intervals",
        "Both answered the same images. A difference counts as established when its p-value after Holm's correction "
        f"is below 0.05; the interval alone is not corrected.{others if len(shown) < len(pairs) else ''}",
        ("first", "second", "n", "only first right", "only second right", "difference, points", "low, points",
         "high, points", "p", "p Holm", "established"),
        tuple(
            (p.first, p.second, p.n, p.only_first_right, p.only_second_right,
             *(100 * value for value in (p.difference.value, p.difference.low, p.difference.high)),
             p.p, p.p_holm, "yes" if p.established else "no")
            for p in pairs
        ),
        130 + 40 * len(ordered),
        {"data": data, "layout": layout},
    )  # fmt: skip


def class_figure(data: DataRecord, shares: Sequence[ClassShare], name: str) -> PageFigure:
    """Images of every class in every split; in the numbers also what it counts in training.

    Args:
        data: of the comparison.
        shares: of all classes; none where nothing is corrected.
        name: of the figure.
    """
    traces = [
        {
            "type": "bar", "orientation": "h", "name": split.name, "x": list(split.per_class),
            "y": [plain(label) for label in data.classes],
            "marker": {"color": SERIES[place]}, "hovertemplate": f"%{{y}}, {split.name}: %{{x}}<extra></extra>",
        }
        for place, split in enumerate(data.splits)
    ]  # fmt: skip
    layout = layout_of(
        barmode="stack",
        xaxis={"title": {"text": "images"}},
        yaxis={"type": "category", "autorange": "reversed"},
    )
    return PageFigure(
        name,
        "Images per class and split",
        "One bar per class.",
        ("class", *(split.name for split in data.splits), *(("weight", "drawn an epoch") if shares else ())),
        tuple(
            (label, *(split.per_class[place] for split in data.splits), *_counted(shares[place : place + 1]))
            for place, label in enumerate(data.classes)
        ),
        min(1400, 130 + 22 * len(data.classes)),
        {"data": traces, "layout": layout},
    )


def _counted(shares: Sequence[ClassShare]) -> tuple[float, ...]:
    return tuple(number for share in shares for number in (share.weight, share.drawn))


def score_figure(metrics: Metrics, contender: str, name: str) -> PageFigure:
    """Precision, recall and F1 of every class.

    Args:
        metrics: of one model on one split.
        contender: its name.
        name: of the figure.
    """
    traces = [
        {
            "type": "scatter", "mode": "markers", "name": title,
            "x": [getattr(one, field) for one in own], "y": [plain(one.label) for one in own],
            "marker": {"symbol": symbol, "size": 9, "color": SERIES[place]},
            "hovertemplate": f"%{{y}}, {title}: %{{x:.3f}}<extra></extra>",
        }
        for place, (field, title, symbol) in enumerate(SCORES)
        if (own := [one for one in metrics.classes if getattr(one, field) is not None])
    ]  # fmt: skip
    labels = [plain(one.label) for one in metrics.classes]
    return PageFigure(
        name,
        f"{contender}: precision, recall and F1 per class",
        f"{count(metrics.n, f'{metrics.split} image')}; a class without answers has no precision.",
        ("class", "n", *(title for _, title, _ in SCORES)),
        tuple((one.label, one.n, *(getattr(one, field) for field, _, _ in SCORES)) for one in metrics.classes),
        min(1400, 130 + 22 * len(labels)),
        {
            "data": traces,
            "layout": layout_of(
                xaxis={"title": {"text": "score"}, "range": [-0.02, 1.02]},
                yaxis={"type": "category", "categoryorder": "array", "categoryarray": labels[::-1]},
            ),
        },
    )


def cost_figure(facts: CostFacts, name: str) -> PageFigure:
    """Seconds of every run by part, with what was planned.

    Args:
        facts: of the comparison.
        name: of the figure.
    """
    runs = list(dict.fromkeys(part.run for part in facts.parts))[::-1]
    labels = [plain(run) for run in runs]
    parts = list(dict.fromkeys(part.part for part in (*facts.totals, *facts.parts)))
    seconds = {(part.run, part.part): part.seconds for part in facts.parts}
    traces: list[Trace] = [
        {
            "type": "bar", "orientation": "h", "name": part, "y": labels,
            "x": [seconds.get((run, part), 0.0) for run in runs],
            "marker": {"color": SERIES[place % len(SERIES)] if part != "other" else "@quiet"},
            "hovertemplate": f"%{{y}}, {part}: %{{x:.1f}} s<extra></extra>",
        }
        for place, part in enumerate(parts)
    ]  # fmt: skip
    planned = [sum(p.planned_seconds or 0.0 for p in facts.parts if p.run == run) for run in runs]
    if any(planned):
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "planned", "y": labels, "x": planned,
                "marker": {"symbol": "line-ns-open", "size": 18, "color": "@ink"},
                "hovertemplate": "%{y} planned: %{x:.1f} s<extra></extra>",
            }
        )  # fmt: skip
    return PageFigure(
        name,
        "Seconds by run and part",
        "The upright mark is what the plan had said before the work began.",
        ("run", "part", "seconds", "planned seconds", "disk bytes", "store bytes by plan"),
        tuple((p.run, p.part, p.seconds, p.planned_seconds, p.disk_bytes, p.planned_disk_bytes) for p in facts.parts),
        130 + 34 * len(runs),
        {
            "data": traces,
            "layout": layout_of(barmode="stack", xaxis={"title": {"text": "seconds"}, "rangemode": "tozero"}),
        },
    )


def _row_name(name: str, rank: int, tied: bool) -> str:
    return f"{plain(name)} ({rank}{', tied' if tied else ''})"


def _pair_name(pair: PairedComparison) -> str:
    """Long names stand one below the other: beside each other they leave a phone no room for the marks."""
    broken = len(pair.first) + len(pair.second) > LONG_PAIR
    return f"{plain(pair.first)} −{'<br>' if broken else ' '}{plain(pair.second)}"
