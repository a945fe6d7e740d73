"""The page's figures as PNG and SVG: the same specification, drawn by matplotlib in the light colours."""

import io
import re
from html import unescape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from retop.report.confusion import SHADES
from retop.report.page_figure import EPOCH, POINTS, PageFigure, Trace
from retop.report.style import FAINT, new_figure, settings

COLOURS = {
    "@ink": "#1c2024", "@quiet": "#5d6670", "@grid": FAINT, "@train": "#0072b2", "@validation": "#c24a00",
    "@running": "#77808a", "@band": "#f9e7dc", "@series0": "#0072b2", "@series1": "#d55e00", "@series2": "#009e73",
    "@series3": "#a8457f", "@series4": "#8a6d00", "@series5": "#3f8fc0",
    "@series6": "#6b4fa3", "@series7": "#4a7c1f",
}  # fmt: skip
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
MOST_COUNTED = 12
"""Classes of a confusion matrix whose cells have room for their numbers."""

MARKERS = {"circle": "o", "circle-open": "o", "diamond": "D", "square": "s", "line-ns-open": "|"}


def picture(figure: PageFigure, form: str) -> bytes:
    """Draw one figure.

    Args:
        figure: of the page.
        form: ``png`` or ``svg``.

    Returns:
        The file; the same figure gives the same bytes.
    """
    content = io.BytesIO()
    with settings():
        drawn = _draw(figure)
        if form == "png":
            drawn.savefig(content, format="png", dpi=144, metadata={"Software": None})
        else:
            drawn.savefig(content, format="svg", metadata={"Date": None, "Creator": "retop"})
    return content.getvalue()


def _draw(figure: PageFigure) -> Figure:
    drawn = new_figure(8.0, figure.height / 80)
    traces, layout = figure.spec["data"], figure.spec["layout"]
    second = "yaxis2" in layout
    if second:
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(3.5, 1))
    else:
        upper = lower = drawn.add_subplot()
    rows = _categories(traces, layout)
    bases: dict[str, np.ndarray] = {}
    for trace in traces:
        _draw_trace(lower if trace.get("yaxis") == "y2" else upper, trace, rows, bases)
    for shape in layout.get("shapes", ()):
        _draw_shape(upper, shape)
    _finish(upper, layout, "yaxis", rows)
    if second:
        _finish(lower, layout, "yaxis2", [])
    _label_axis(lower, "x", layout.get("xaxis", {}))
    upper.set_title(unescape(figure.title))
    handles, labels = upper.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if len(unique) > 1:
        drawn.legend(list(unique.values()), list(unique), loc="outside lower left", ncols=4, fontsize=8)
    return drawn


def _categories(traces: list[Trace], layout: dict[str, Any]) -> list[str]:
    """Names along the upright axis, from below; empty where it holds numbers."""
    named = [y for trace in traces if trace["type"] != "heatmap" for y in trace["y"] if isinstance(y, str)]
    listed = layout["yaxis"].get("categoryarray") or list(dict.fromkeys(named))
    return listed[::-1] if layout["yaxis"].get("autorange") == "reversed" else listed


def _draw_trace(axes: Axes, trace: Trace, rows: list[str], bases: dict[str, np.ndarray]) -> None:
    colour = _colour(trace)
    label = unescape(trace.get("name", "")) if trace.get("showlegend", True) else "_"
    if trace["type"] == "heatmap":
        z = np.array([[np.nan if value is None else value for value in row] for row in trace["z"]], dtype=float)
        axes.imshow(z, cmap=SHADES, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        step = max(1, len(z) // 40 + 1)
        names = [unescape(name) for name in trace["y"]]
        axes.set_xticks(range(0, len(z), step), names[::step], rotation=90, fontsize=7)
        axes.set_yticks(range(0, len(z), step), names[::step], fontsize=7)
        if step == 1 and len(z) <= MOST_COUNTED:
            _write_counts(axes, trace["customdata"], z)
    elif trace["type"] == "bar" and trace.get("orientation") == "h":
        places = np.array([rows.index(name) for name in trace["y"]])
        base = bases.setdefault("h", np.zeros(len(rows)))
        axes.barh(places, trace["x"], left=base[places], color=colour, label=label, height=0.7)
        base[places] += np.array(trace["x"], dtype=float)
    elif trace["type"] == "bar":
        axes.bar(trace["x"], trace["y"], width=trace["width"], color=colour, label=label)
    else:
        _draw_scatter(axes, trace, rows, colour, label)


def _write_counts(axes: Axes, counts: list[list[int]], z: np.ndarray) -> None:
    for row, own in enumerate(counts):
        for column, number in enumerate(own):
            colour = "white" if z[row, column] > 0.6 else COLOURS["@ink"]
            axes.text(column, row, f"{number:,}", ha="center", va="center", fontsize=8, color=colour)


def _draw_scatter(axes: Axes, trace: Trace, rows: list[str], colour: str, label: str) -> None:
    y = [rows.index(value) if isinstance(value, str) else np.nan if value is None else value for value in trace["y"]]
    mode, marker, line = trace["mode"], trace.get("marker", {}), trace.get("line", {})
    symbol = marker.get("symbol", "circle")
    style = LINES[line.get("dash", "solid")] if "lines" in mode else "none"
    bars: dict[str, Any] = {
        f"{axis}err": [trace[f"error_{axis}"]["arrayminus"], trace[f"error_{axis}"]["array"]]
        for axis in ("x", "y")
        if f"error_{axis}" in trace
    }
    axes.errorbar(
        trace["x"], y, **bars, color=colour, label=label, linestyle=style, linewidth=line.get("width", 1.6),
        marker=MARKERS[symbol] if "markers" in mode else None, markersize=0.75 * marker.get("size", 6),
        markerfacecolor="none" if symbol.endswith("open") else colour, alpha=trace.get("opacity", 1), capsize=3,
    )  # fmt: skip


def _draw_shape(axes: Axes, shape: dict[str, Any]) -> None:
    if shape["type"] == "rect":
        axes.axhspan(shape["y0"], shape["y1"], color=COLOURS[shape["fillcolor"]], zorder=0, linewidth=0)
    else:
        axes.axvline(shape["x0"], color=COLOURS["@quiet"], linestyle="--", linewidth=1)


def _finish(axes: Axes, layout: dict[str, Any], key: str, rows: list[str]) -> None:
    _label_axis(axes, "y", layout.get(key, {}))
    if rows:
        axes.set_yticks(range(len(rows)), [unescape(name.replace("<br>", "\n")) for name in rows], fontsize=8)
    if layout.get(key, {}).get("showgrid", True):
        axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _label_axis(axes: Axes, which: str, axis: dict[str, Any]) -> None:
    if "title" in axis:
        axes.set(**{f"{which}label": axis["title"]["text"]})
        if axis["title"]["text"] == EPOCH:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if "range" in axis:
        axes.set(**{f"{which}lim": axis["range"]})
    if axis.get("tickformat") == POINTS:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.3g}"))
    if re.fullmatch(r"\+?\.0%", axis.get("tickformat", "")):
        sign = "+" if axis["tickformat"].startswith("+") else ""
        (axes.xaxis if which == "x" else axes.yaxis).set_major_formatter(
            FuncFormatter(lambda fraction, _: f"{100 * fraction:{sign}.3g} %")
        )


def _colour(trace: Trace) -> str:
    colour = trace.get("line", {}).get("color") or trace.get("marker", {}).get("color") or "@series0"
    return COLOURS.get(colour) or mpl.colors.to_hex(colour)
