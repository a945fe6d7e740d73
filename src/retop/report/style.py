"""How figures look: one palette that colour-blind eyes tell apart, one size of type, two file formats."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import FuncFormatter

from retop.schema import remove_partial_files, write_bytes

# Okabe and Ito's palette; lines differ in dash and marker too, for print without colour.
TRAIN, VALIDATION, RUNNING = "#0072B2", "#D55E00", "#8A8A8A"
KIND_COLOURS = {"fine-tuned": "#0072B2", "probe": "#009E73", "scratch": "#8A8A8A"}
INK, FAINT, BAND = "#222222", "#D8D8D8", "#F6E3D5"

FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Arabic",
)

SETTINGS: Any = {
    "text.parse_math": False,  # a class may be called "$5"
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.hashsalt": "retop",
}


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure that belongs to no window.

    Args:
        width: inches.
        height: inches.

    Returns:
        The figure, laid out so that nothing is cut off.
    """
    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def settings() -> Iterator[None]:
    """The context in which figures are drawn and saved.

    Class names may be in any script. Fonts for the larger ones are used where the machine has them; a name that no
    font can draw shows boxes, which is no reason to interrupt anybody.
    """
    installed = set(get_font_names())
    families = ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]
    with mpl.rc_context(SETTINGS | {"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def percent_ticks() -> FuncFormatter:
    """Labels of an axis of fractions: ``90 %``, ``97.5 %``."""
    return FuncFormatter(lambda fraction, _: f"{round(100 * fraction, 6):g} %")


def add_grid(axes: Axes) -> None:
    """Faint horizontal lines behind the data."""
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, folder: Path, name: str) -> tuple[Path, ...]:
    """Save as PNG and SVG; the same facts give the same bytes.

    Args:
        figure: to save.
        folder: made where it is missing.
        name: of the files, without ending.

    Returns:
        Both paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    # With a layout engine each save draws twice, to find the layout; once is enough for both.
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
    for path, metadata in ((png, {"Software": None}), (svg, {"Date": None, "Creator": "retop"})):
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:], dpi=144, metadata=metadata)
        write_bytes(path, content.getbuffer())
    return png, svg
