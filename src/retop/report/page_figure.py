"""Figures of the page, drawn from facts as plain data that Plotly's script reads.

Colours are names with an ``@`` in front, which the page replaces by those of its colour scheme. Every figure carries
its facts as a table too, which is what screen readers and ``--format csv`` get.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from retop.records import Interval

Trace = dict[str, Any]
Cell = str | int | float | None
SERIES = tuple(f"@series{place}" for place in range(8))
EPOCH = "epoch"
"""Title of an axis of whole numbers."""

POINTS = "+.3~g"
"""How Plotly writes percentage points on an axis."""

DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class PageFigure:
    """One figure of the page."""

    name: str
    """Unique on the page; name of its files."""

    title: str
    """What it shows."""

    caption: str
    """How to read it."""

    columns: tuple[str, ...]
    """Names of the columns of its facts."""

    rows: tuple[tuple[Cell, ...], ...]
    """Its facts."""

    height: int
    """In pixels."""

    spec: dict[str, Any]
    """``data`` and ``layout`` for Plotly."""


def plain(name: str) -> str:
    """A name as Plotly shows it unchanged: its labels understand some HTML."""
    return escape(name, quote=False)


def line_of(place: int) -> dict[str, Any]:
    """A line that differs from its neighbours in dash too, for eyes and paper without colour; 32 are unlike."""
    dash = DASHES[(place + place // len(SERIES)) % len(DASHES)]
    return {"color": SERIES[place % len(SERIES)], "dash": dash, "width": 2}


def error_bars(intervals: Sequence[Interval], scale: float = 1) -> dict[str, Any]:
    """Asymmetric bars from the values of `intervals` to their ends, `scale` times as long."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * (one.high - one.value) for one in intervals],
        "arrayminus": [scale * (one.value - one.low) for one in intervals],
        "thickness": 1.6,
        "width": 4,
    }


def layout_of(**changes: Any) -> dict[str, Any]:
    """A layout in the page's colours.

    Args:
        **changes: keys of Plotly's layout; those of axes are added to the usual ones.
    """
    axis = {"gridcolor": "@grid", "linecolor": "@grid", "zerolinecolor": "@grid", "automargin": True}
    layout: dict[str, Any] = {
        "margin": {"l": 8, "r": 20, "t": 24, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "@ink", "family": "system-ui, sans-serif", "size": 12.5},
        # All of it is seen; the page gives the figure the room.
        "legend": {
            "orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal",
            "maxheight": 4000,
        },
        "hovermode": "closest",
    }  # fmt: skip
    for key, value in changes.items():
        layout[key] = {**axis, **value} if key.startswith(("xaxis", "yaxis")) else value
        if "title" in layout[key] and key.startswith(("xaxis", "yaxis")):
            layout[key]["title"] = {**value["title"], "font": {"size": 12.5}, "standoff": 6}
    for key in ("xaxis", "yaxis"):
        layout.setdefault(key, dict(axis))
    return layout
