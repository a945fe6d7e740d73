"""Records as small self-contained HTML tables, for notebooks."""

from collections.abc import Iterable, Sequence
from html import escape

# Inherits the notebook's colours, so that it is legible in light and dark.
CELL = "padding:2px 10px;text-align:right;white-space:nowrap"
NAME = "padding:2px 10px;text-align:left"


def html_table(caption: str, headers: Sequence[str], rows: Iterable[Sequence[str]], num_names: int = 1) -> str:
    """A table without script, style sheet or link.

    Args:
        caption: what stands above it.
        headers: of the columns.
        rows: as many texts each.
        num_names: columns from the left that hold names, not numbers.

    Returns:
        A ``<table>``; every text is escaped.
    """
    styles = [NAME if place < num_names else CELL for place in range(len(headers))]
    header = _cells("th", styles, headers)
    body = "".join(f"<tr>{_cells('td', styles, row)}</tr>" for row in rows)
    return (
        f'<table style="border-collapse:collapse"><caption style="text-align:left;caption-side:top">{escape(caption)}'
        f"</caption><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(tag: str, styles: Sequence[str], texts: Sequence[str]) -> str:
    return "".join(f'<{tag} style="{style}">{escape(text)}</{tag}>' for style, text in zip(styles, texts, strict=True))
