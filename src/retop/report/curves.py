"""Accuracy and loss over epochs, drawn from facts."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retop.evaluation.numerals import count, percent
from retop.report.facts import CurveFacts, StageCurve
from retop.report.style import BAND, INK, RUNNING, TRAIN, VALIDATION, add_grid, new_figure, percent_ticks

Quantity = Literal["accuracy", "loss"]
MOST_COLUMNS = 4
LEGEND_ORDER = (
    "validation",
    "train, evaluation conditions",
    "train, as trained",
    "chosen epoch",
    "validation's noise (95 %)",
)


def draw_curves(facts: CurveFacts) -> Figure:
    """One run: accuracy and loss beside each other.

    Args:
        facts: of the run.

    Returns:
        The figure.
    """
    figure = new_figure(10.5, 4.4)
    left, right = figure.subplots(1, 2)
    panels: tuple[tuple[Axes, Quantity], ...] = ((left, "accuracy"), (right, "loss"))
    for axes, quantity in panels:
        _draw_panel(axes, facts, quantity)
        axes.set_xlabel("epoch")
        axes.set_title(quantity.capitalize())
    _limit([left], [facts], "accuracy")
    _limit([right], [facts], "loss")
    figure.suptitle(_long_title(facts), x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    _add_legend(figure, left, 5)
    return figure


def draw_curves_side_by_side(many: Sequence[CurveFacts]) -> Figure:
    """Several runs: a column for each, accuracy above loss, the same scales for all.

    Args:
        many: facts of the runs, best first; at least one.

    Returns:
        The figure.
    """
    columns = min(len(many), MOST_COLUMNS)
    bands = math.ceil(len(many) / columns)
    figure = new_figure(max(3.1 * columns + 0.6, 7.4), 5.2 * bands + 0.9)
    grid = figure.subplots(2 * bands, columns, squeeze=False)
    panels: dict[Quantity, list[Axes]] = {"accuracy": [], "loss": []}
    for place, facts in enumerate(many):
        band, column = divmod(place, columns)
        for line, quantity in enumerate(panels):
            axes = grid[2 * band + line, column]
            _draw_panel(axes, facts, quantity, compact=True)
            axes.set_ylabel(quantity if column == 0 else "")
            panels[quantity].append(axes)
        grid[2 * band, column].set_title(_short_title(facts))
        grid[2 * band + 1, column].set_xlabel("epoch")
    for unused in range(len(many), bands * columns):
        for line in range(2):
            grid[2 * (unused // columns) + line, unused % columns].set_axis_off()
    for quantity, drawn in panels.items():
        _limit(drawn, many, quantity)
    head = f"{count(many[0].num_train, 'training image')}, {count(many[0].num_validation, 'validation image')}"
    figure.suptitle(f"Accuracy and loss over epochs ({head})", x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    _add_legend(figure, grid[0, 0], 5 if columns > 2 else 3)
    return figure


def _draw_panel(axes: Axes, facts: CurveFacts, quantity: Quantity, compact: bool = False) -> None:
    add_grid(axes)
    if quantity == "accuracy":
        axes.axhspan(
            facts.noise.low, facts.noise.high, color=BAND, zorder=0, linewidth=0,
            label="validation's noise (95 %)",
        )  # fmt: skip
        axes.yaxis.set_major_formatter(percent_ticks())
    for stage in facts.stages:
        _draw_stage(axes, stage, quantity, 2.6 if compact else 3.4)
    value = facts.chosen_accuracy if quantity == "accuracy" else facts.chosen_loss
    value = math.nan if value is None else value
    axes.plot(
        facts.chosen_place, value, marker="o", markersize=11 if not compact else 9, markerfacecolor="none",
        markeredgecolor=INK, markeredgewidth=1.6, linestyle="none", label="chosen epoch", zorder=6, clip_on=False,
    )  # fmt: skip
    if facts.change_place is not None:
        _mark_change(axes, facts.change_place, facts.stages[-1].places[-1], compact)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _draw_stage(axes: Axes, stage: StageCurve, quantity: Quantity, marker: float) -> None:
    accuracy = quantity == "accuracy"
    running = stage.running_accuracy if accuracy else stage.running_loss
    train = stage.train_accuracy if accuracy else stage.train_loss
    validation = stage.validation_accuracy if accuracy else stage.validation_loss
    axes.plot(
        stage.places, _gaps(running), color=RUNNING, linewidth=1.1, linestyle=(0, (1.5, 1.5)),
        label="train, as trained",
    )  # fmt: skip
    axes.plot(
        stage.places, _gaps(train), color=TRAIN, linewidth=1.6, linestyle=(0, (5, 2)),
        label="train, evaluation conditions",
    )  # fmt: skip
    axes.plot(
        stage.places, _gaps(validation), color=VALIDATION, linewidth=1.8, marker="o", markersize=marker,
        label="validation", zorder=4,
    )  # fmt: skip


def _mark_change(axes: Axes, place: int, last: int, compact: bool) -> None:
    axes.axvline(place, color="#555555", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for text, side, room in (("head", -1, place), ("+ late layers", 1, last - place)):
        if room > 0.18 * last:
            axes.annotate(
                text, (place, 0.015), xycoords=("data", "axes fraction"), xytext=(4 * side, 0),
                textcoords="offset points", ha="right" if side < 0 else "left", va="bottom",
                fontsize=7.5 if compact else 8.5, color="#555555",
            )  # fmt: skip


def _limit(panels: Sequence[Axes], many: Sequence[CurveFacts], quantity: Quantity) -> None:
    """One scale for all panels, from what is measured under equal conditions.

    Running values may run off the bottom: they are the least comparable and would squeeze the rest. The very first
    point of stage 1 is chance and is left out for the same reason where anything follows it.
    """
    values = [value for facts in many for stage in facts.stages for value in _shown(stage, quantity)]
    if not values:
        return
    margin = max(0.06 * (max(values) - min(values)), 0.004)
    low, high = min(values) - margin, max(values) + margin
    if quantity == "accuracy":
        low, high = max(min([low, *(facts.noise.low for facts in many)]), -0.01), min(high, 1.0) + 0.3 * margin
    for axes in panels:
        axes.set_ylim(low if quantity == "accuracy" else max(low, 0.0), high)
        _tell_of_points_beyond(axes)


def _tell_of_points_beyond(axes: Axes) -> None:
    low, high = axes.get_ylim()
    drawn = [
        np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines() if line.get_transform() == axes.transData
    ]
    if any(((values_n < low) | (values_n > high)).any() for values_n in drawn):
        axes.annotate(
            "some points lie beyond", (0.99, 0.985), xycoords="axes fraction", ha="right", va="top", fontsize=7.5,
            color="#555555",
        )  # fmt: skip


def _shown(stage: StageCurve, quantity: Quantity) -> list[float]:
    accuracy = quantity == "accuracy"
    validation = stage.validation_accuracy if accuracy else stage.validation_loss
    train = stage.train_accuracy if accuracy else stage.train_loss
    skip = 1 if stage.places[0] == 0 and len(validation) > 2 else 0
    return [value for value in (*validation[skip:], *train[skip:]) if value is not None and math.isfinite(value)]


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _add_legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = [label for label in LEGEND_ORDER if label in handles]
    figure.legend([handles[label] for label in order], order, loc="outside lower left", ncols=columns, fontsize=8.5)


def _long_title(facts: CurveFacts) -> str:
    return (
        f"{facts.name}, seed {facts.seed}: {percent(facts.chosen_accuracy, facts.num_validation)} of "
        f"{count(facts.num_validation, 'validation image')} at the chosen epoch "
        f"({count(facts.num_train, 'training image')})"
    )


def _short_title(facts: CurveFacts) -> str:
    return f"{facts.name}, seed {facts.seed}\n{percent(facts.chosen_accuracy, facts.num_validation)} on validation"
