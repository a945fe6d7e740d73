"""Figures of the page: accuracy and loss over epochs."""

from collections.abc import Iterator, Sequence
from typing import Any

from retop.evaluation.numerals import count
from retop.report.facts import CurveFacts
from retop.report.page_figure import EPOCH, PageFigure, Trace, layout_of, line_of, plain

FEW_EPOCHS = 8
BEYOND = " (some points lie beyond)"


def curve_figures(seeds: Sequence[CurveFacts], name: str) -> tuple[PageFigure, PageFigure]:
    """Accuracy and loss of one contender over its epochs: the first seed in full, the others' validation thin.

    Args:
        seeds: facts of its runs, the first seed first; at least one.
        name: beginning of the figures' names.
    """
    return tuple(_curve_figure(seeds, quantity, f"{name}-{quantity}") for quantity in ("accuracy", "loss"))  # type: ignore[return-value]


def overlay_figures(firsts: Sequence[CurveFacts], name: str) -> tuple[PageFigure, PageFigure]:
    """Accuracy and loss of all contenders in one pair of axes, on validation and on training images.

    Args:
        firsts: facts of the first seed of each.
        name: beginning of the figures' names.
    """
    return tuple(_overlay_figure(firsts, quantity, f"{name}-{quantity}") for quantity in ("accuracy", "loss"))  # type: ignore[return-value]


def _curve_figure(seeds: Sequence[CurveFacts], quantity: str, name: str) -> PageFigure:
    first = seeds[0]
    data: list[Trace] = []
    for other in seeds[1:]:
        data += [
            {
                "type": "scatter", "mode": "lines", "x": list(stage.places),
                "y": list(getattr(stage, f"validation_{quantity}")), "name": "validation, other seeds",
                "legendgroup": "others", "showlegend": other is seeds[1] and stage is other.stages[0],
                "line": {"color": "@validation", "width": 0.8}, "opacity": 0.5,
                "hovertemplate": f"seed {other.seed}, epoch %{{x}}: {_hover(quantity)}<extra></extra>",
            }
            for stage in other.stages
        ]  # fmt: skip
    for stage in first.stages:
        for label, values, colour, dash in (
            ("train, as trained", getattr(stage, f"running_{quantity}"), "@running", "dot"),
            ("train, evaluation conditions", getattr(stage, f"train_{quantity}"), "@train", "dash"),
            ("validation", getattr(stage, f"validation_{quantity}"), "@validation", "solid"),
        ):
            if all(value is None for value in values):
                continue
            data.append(
                {
                    "type": "scatter", "mode": "lines+markers" if label == "validation" else "lines", "name": label,
                    "x": list(stage.places), "y": list(values), "legendgroup": label,
                    "showlegend": stage is first.stages[0], "line": {"color": colour, "dash": dash, "width": 2},
                    "marker": {"size": 5}, "connectgaps": False,
                    "hovertemplate": f"epoch %{{x}}, {label}: {_hover(quantity)}<extra></extra>",
                }
            )  # fmt: skip
    chosen = first.chosen_accuracy if quantity == "accuracy" else first.chosen_loss
    data.append(
        {
            "type": "scatter", "mode": "markers", "name": "chosen epoch", "x": [first.chosen_place], "y": [chosen],
            "marker": {"symbol": "circle-open", "size": 14, "color": "@ink", "line": {"width": 2}},
            "hovertemplate": f"chosen: epoch %{{x}}, {_hover(quantity)}<extra></extra>",
        }
    )  # fmt: skip
    shapes, annotations = [], []
    if quantity == "accuracy":
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": "validation's noise (95 %)",
                "x": [None], "y": [None], "hoverinfo": "skip",
                "marker": {"symbol": "square", "size": 14, "color": "@band"},
            }
        )  # fmt: skip
        shapes.append(
            {
                "type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": first.noise.low, "y1": first.noise.high,
                "fillcolor": "@band", "line": {"width": 0}, "layer": "below",
            }
        )  # fmt: skip
    if first.change_place is not None:
        shapes.append(
            {
                "type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": first.change_place, "x1": first.change_place,
                "line": {"dash": "dash", "width": 1, "color": "@quiet"},
            }
        )  # fmt: skip
        # Where the curves are not: accuracy is high at the end, loss low.
        edge = 0 if quantity == "accuracy" else 1
        for text, anchor in (("head ", "right"), (" + late layers", "left")):
            annotations.append(
                {
                    "x": first.change_place, "y": edge, "yref": "paper", "text": text, "showarrow": False,
                    "xanchor": anchor, "yanchor": "top" if edge else "bottom",
                    "font": {"size": 11, "color": "@quiet"},
                }
            )  # fmt: skip
    axis = _quantity_axis(seeds, quantity)
    band = (
        f" The band is where validation accuracy would lie 95 % of the time from the choice of these "
        f"{count(first.num_validation, 'validation image')} alone, at the chosen epoch's quality."
        if quantity == "accuracy"
        else ""
    )
    layout = layout_of(xaxis=_epoch_axis(seeds), yaxis=axis, shapes=shapes, annotations=annotations)
    return PageFigure(
        name,
        f"{first.name}: {quantity}, seed {first.seed}",
        f"The ring marks the epoch whose weights the model has.{band}",
        ("seed", "stage", "epoch since start", f"validation {quantity}", f"train {quantity}, evaluation conditions",
         f"train {quantity}, as trained"),
        tuple(
            (one.seed, stage.stage, *point)
            for one in seeds
            for stage in one.stages
            for point in zip(
                stage.places, getattr(stage, f"validation_{quantity}"), getattr(stage, f"train_{quantity}"),
                getattr(stage, f"running_{quantity}"), strict=True,
            )
        ),
        340,
        {"data": data, "layout": layout},
    )  # fmt: skip


def _epoch_axis(many: Sequence[CurveFacts]) -> dict[str, Any]:
    """Few epochs are marked one by one: there is none between two."""
    axis: dict[str, Any] = {"title": {"text": EPOCH}, "rangemode": "tozero"}
    last = max((place for facts in many for stage in facts.stages for place in stage.places), default=0)
    return {**axis, "dtick": 1} if last <= FEW_EPOCHS else axis


def _quantity_axis(many: Sequence[CurveFacts], quantity: str) -> dict[str, Any]:
    """It says so where points lie beyond it."""
    low, high = shown = _range(many, quantity)
    drawn = (
        value
        for facts in many
        for stage in facts.stages
        for field in ("validation", "train", "running")
        for value in getattr(stage, f"{field}_{quantity}")
    )
    beyond = any(value is not None and not low <= value <= high for value in drawn)
    axis = {"title": {"text": f"{quantity}{BEYOND if beyond else ''}"}, "range": shown}
    return axis | {"tickformat": ".0%"} if quantity == "accuracy" else axis


def _range(many: Sequence[CurveFacts], quantity: str) -> list[float]:
    """From what is measured under equal conditions; the first point of all is chance and would squeeze the rest."""
    values: list[float] = []
    for facts in many:
        for stage in facts.stages:
            for field in ("validation", "train"):
                series = getattr(stage, f"{field}_{quantity}")
                skip = 1 if stage.places[0] == 0 and len(series) > 2 else 0
                values += [value for value in series[skip:] if value is not None]
        if quantity == "accuracy":
            values += [facts.noise.low, facts.noise.high]
    if not values:
        return [0.0, 1.0]
    margin = max(0.06 * (max(values) - min(values)), 0.004)
    low, high = min(values) - margin, max(values) + margin
    return [
        max(low, 0.0) if quantity == "loss" else max(low, -0.01),
        min(high, 1.01) if quantity == "accuracy" else high,
    ]


def _overlay_figure(firsts: Sequence[CurveFacts], quantity: str, name: str) -> PageFigure:
    axis = _quantity_axis(firsts, quantity)
    return PageFigure(
        name,
        f"All together: {quantity}",
        "Thick: validation. Thin dots of the same colour: training images under the same conditions. First seed of "
        "each; epochs since the run's start.",
        ("name", "stage", "epoch since start", f"validation {quantity}", f"train {quantity}, evaluation conditions"),
        tuple(
            (facts.name, stage.stage, *point)
            for facts in firsts
            for stage in facts.stages
            for point in zip(
                stage.places, getattr(stage, f"validation_{quantity}"), getattr(stage, f"train_{quantity}"),
                strict=True,
            )
        ),
        380,
        {
            "data": [line for place, facts in enumerate(firsts) for line in _overlaid(facts, quantity, place)],
            "layout": layout_of(xaxis=_epoch_axis(firsts), yaxis=axis),
        },
    )  # fmt: skip


def _overlaid(facts: CurveFacts, quantity: str, place: int) -> Iterator[Trace]:
    thick = line_of(place)
    for split, line in (("train", {**thick, "dash": "dot", "width": 1}), ("validation", thick)):
        for stage in facts.stages:
            values = getattr(stage, f"{split}_{quantity}")
            if any(value is not None for value in values):
                yield {
                    "type": "scatter", "mode": "lines", "name": plain(facts.name), "legendgroup": facts.name,
                    "showlegend": split == "validation" and stage is facts.stages[0], "x": list(stage.places),
                    "y": list(values), "line": line, "connectgaps": False,
                    "hovertemplate": f"{plain(facts.name)}, {split}, epoch %{{x}}: {_hover(quantity)}<extra></extra>",
                }  # fmt: skip


def _hover(quantity: str) -> str:
    return "%{y:.1%}" if quantity == "accuracy" else "%{y:.3f}"
