"""Confusion matrices, drawn from facts; readable from 2 to 200 classes."""

# K classes

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from retop.evaluation.numerals import percent, percent_range
from retop.report.facts import ConfusionFacts
from retop.report.style import INK, new_figure

MOST_WITH_PERCENT = 12
MOST_WITH_COUNTS = 30
MOST_TICKS = 40
LONGEST_LABEL = 22
MOST_COLUMNS = 3
LABEL_INCHES = 0.085

SHADES = LinearSegmentedColormap.from_list(
    "shades", ["#FFFFFF", "#CFE3F3", "#6FAED8", "#0072B2", "#00395C"]
).with_extremes(bad="#E9E9E9")


def draw_confusion(facts: ConfusionFacts) -> Figure:
    """One model's confusion matrix: counts, and shades by percent of the true class.

    Args:
        facts: of the model on one split.

    Returns:
        The figure.
    """
    side = _side(len(facts.classes))
    room = _label_room(facts.classes)
    figure = new_figure(side + 1.6 + room, side + 1.3 + room)
    image = _draw_matrix(figure.add_subplot(), facts, side, _long_title(facts))
    _add_bar(figure, image, list(figure.axes))
    return figure


def draw_confusion_side_by_side(many: Sequence[ConfusionFacts]) -> Figure:
    """Several models on the same images.

    Args:
        many: facts of the models, best first; at least one.

    Returns:
        The figure.
    """
    columns = min(len(many), MOST_COLUMNS if len(many[0].classes) <= MOST_WITH_PERCENT else 2)
    lines = math.ceil(len(many) / columns)
    side = min(_side(len(many[0].classes)), 5.2)
    room = _label_room(many[0].classes)
    figure = new_figure((side + 0.3 + room) * columns + 1.5, (side + 1.2 + room) * lines + 0.4)
    grid = figure.subplots(lines, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < len(many):
            image = _draw_matrix(axes, many[place], side, _short_title(many[place]))
            axes.set_ylabel("true class" if place % columns == 0 else "")
        else:
            axes.set_axis_off()
    _add_bar(figure, image, list(grid.flat))
    head = f"Confusion on {many[0].n:,} {many[0].split} images"
    figure.suptitle(head, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    return figure


def _side(num_classes: int) -> float:
    """Inches of the square: enough for the numbers, no larger than a page."""
    return min(max(2.7, 1.0 + 0.62 * num_classes), 9.5)


def _draw_matrix(axes: Axes, facts: ConfusionFacts, side: float, title: str) -> AxesImage:
    num_classes = len(facts.classes)
    shares_kk = np.array([[math.nan if share is None else share for share in row] for row in facts.shares])
    # With many classes the errors of interest are small shares; the root makes them visible.
    norm: Normalize = PowerNorm(0.5, 0, 1) if num_classes > MOST_WITH_PERCENT else Normalize(0, 1)
    image = axes.imshow(shares_kk, cmap=SHADES, norm=norm, interpolation="nearest", aspect="equal")
    axes.spines[:].set_visible(num_classes > MOST_WITH_COUNTS)
    axes.spines[:].set_color("#C8C8C8")
    if num_classes <= MOST_WITH_COUNTS:
        _write_numbers(axes, facts, side, norm)
        edges = np.arange(num_classes + 1) - 0.5
        axes.set_xticks(edges, minor=True)
        axes.set_yticks(edges, minor=True)
        axes.grid(which="minor", color="#C8C8C8", linewidth=0.6)
    _label(axes, facts.classes, side)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=9.0 if side < 3.2 else 10.5, pad=6)
    return image


def _long_title(facts: ConfusionFacts) -> str:
    return (
        f"{facts.name}: {facts.num_right:,} of {facts.n:,} {facts.split} images right\n"
        f"{percent(facts.accuracy.value, facts.n)} ({percent_range(facts.accuracy, facts.n)})"
    )


def _short_title(facts: ConfusionFacts) -> str:
    measured = f"{percent(facts.accuracy.value, facts.n)} ({percent_range(facts.accuracy, facts.n)})"
    return f"{_shortened(facts.name)}\n{facts.num_right:,} right, {measured}"


def _label_room(classes: tuple[str, ...]) -> float:
    """Inches that the longest class name takes beside or below the matrix."""
    return 0.3 + LABEL_INCHES * max(len(_shortened(name)) for name in classes)


def _write_numbers(axes: Axes, facts: ConfusionFacts, side: float, norm: Normalize) -> None:
    num_classes = len(facts.classes)
    with_percent = num_classes <= MOST_WITH_PERCENT and side / num_classes >= 0.42
    size = min(11.0, max(5.0, 72 * side / num_classes / (4.2 if with_percent else 3.0)))
    for row, (counts, shares) in enumerate(zip(facts.counts, facts.shares, strict=True)):
        for column, (number, share) in enumerate(zip(counts, shares, strict=True)):
            if share is None or (number == 0 and num_classes > 3):
                continue
            text = f"{number:,}\n{_whole_percent(share)}" if with_percent else f"{number:,}"
            colour = "white" if norm(share) > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def _whole_percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.01 else ">99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def _label(axes: Axes, classes: tuple[str, ...], side: float) -> None:
    """Name the classes, thinned where there is no room for all."""
    room = max(2, min(MOST_TICKS, int(side / 0.16)))
    step = math.ceil(len(classes) / room)
    shown = range(0, len(classes), step)
    names = [_shortened(classes[place]) for place in shown]
    size = 9.0 if len(names) <= 12 else 7.0
    upright = max(map(len, names)) * size / 72 * 0.62 > side / len(classes) * step
    axes.set_xticks(list(shown), names, fontsize=size, rotation=90 if upright else 0)
    axes.set_yticks(list(shown), names, fontsize=size)
    axes.tick_params(which="both", length=0)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"


def _add_bar(figure: Figure, image: AxesImage, axes: list[Axes]) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, aspect=22, ticks=[0, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels([f"{100 * tick:.0f} %" for tick in (0, 0.1, 0.25, 0.5, 0.75, 1)], fontsize=8)
    bar.set_label("share of the true class", fontsize=8.5)
    bar.outline.set_visible(False)
