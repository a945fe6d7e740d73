"""A comparison as a small self-contained HTML table, for notebooks."""

from html import escape

from retop.evaluation.numerals import percent, percent_range, seconds, short
from retop.records import ComparisonRecord, ComparisonRow

# Inherits the notebook's colours, so that it is legible in light and dark.
CELL = "padding:2px 10px;text-align:right;white-space:nowrap"
NAME = "padding:2px 10px;text-align:left"
HEADERS = (
    "rank", "backbone", "input", "trained", "accuracy", "stage 1, validation", "stage 2, validation", "prefix, time",
    "stage 1, time", "stage 2, time",
)  # fmt: skip


def comparison_html(record: ComparisonRecord) -> str:
    """The ranking and its statements as HTML without script, style sheet or link.

    Args:
        record: of the comparison.

    Returns:
        A ``<div>``; every text from the record is escaped.
    """
    header = "".join(f'<th scope="col" style="{NAME if text == "backbone" else CELL}">{text}</th>' for text in HEADERS)
    num_validation = sum(sum(split.per_class) for split in record.data.splits if split.name == "validation")
    body = "".join(_row(row, row.name == record.recommended, num_validation) for row in record.rows)
    statements = "".join(f"<li>{escape(statement)}</li>" for statement in record.statements)
    n = f" of {record.rows[0].metrics.n:,} images" if record.rows else ""
    caption = (
        f"{escape(record.name)}: accuracy on {escape(record.ranked_on)}{n}, in brackets the 95 % interval; "
        f"recipe {escape(record.recipe.name)}; * recommended, chosen on validation"
    )
    return (
        f'<div><table style="border-collapse:collapse"><caption style="text-align:left;caption-side:top">{caption}'
        f"</caption><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table><ul>{statements}</ul></div>"
    )


def _row(row: ComparisonRow, recommended: bool, num_validation: int) -> str:
    height, width = row.input_size
    mean, n = row.seeds.mean, row.metrics.n
    cells = (
        f"{row.rank}{' tied' if row.tied_with else ''}",
        f"{row.name}{' *' if recommended else ''}{' (other recipe)' if row.recipe_differs else ''}",
        f"{height}" if height == width else f"{height}x{width}",
        short(row.parameters_trained),
        f"{percent(mean.value, n)} ({percent_range(mean, n)})",
        *("" if v is None else percent(v, num_validation) for v in (row.stage1_accuracy, row.stage2_accuracy)),
        *(_time(row.seconds.get(part, 0.0)) for part in ("prefix", "stage 1", "stage 2")),
    )
    weight = ' style="font-weight:bold"' if recommended else ""
    inner = "".join(
        f'<td style="{NAME if place == 1 else CELL}">{escape(cell)}</td>' for place, cell in enumerate(cells)
    )
    return f"<tr{weight}>{inner}</tr>"


def _time(value: float) -> str:
    return seconds(value) if value else ""
