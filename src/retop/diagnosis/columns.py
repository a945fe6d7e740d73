"""Tables and JSON of other tools as columns of numbers, whatever separates values and however headers are written."""

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retop.errors import RunError

Columns = dict[str, list[float | None]]
SEPARATORS = (",", ";", "\t", "|")
NAMED = ("name", "metric", "key", "tag", "quantity", "variable")
"""What the column of names is called in tables that have a row for each value."""
_PERCENT = re.compile(r"%|[ _]*percent(age)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Columns of a file.

    Attributes:
        columns: by `header_name`; None stands where a value is no number.
        headers: as the file has them.
    """

    columns: Columns
    headers: tuple[str, ...]


def header_name(text: str) -> str:
    """A header without what is written differently: ``"Val Accuracy (%)"`` and ``"valAccuracy"`` are ``val_accuracy``.

    Args:
        text: as a file has it.
    """
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", _PERCENT.sub(" ", text))
    return re.sub(r"[^0-9a-z]+", "_", plain.lower()).strip("_")


def read_table(path: Path) -> Table:
    """Read a history.

    Args:
        path: a JSON object of lists, or a table with a header: commas, semicolons, tabs, bars or spaces between values.

    Returns:
        Its columns, one value per epoch.

    Raises:
        RunError: it cannot be read, has no rows, or values without a header.
    """
    text = read_text(path)
    if text.lstrip().startswith("{"):
        return _read_json(path, text)
    rows = read_rows(path, text)
    if not rows:
        raise RunError(f"{path} has no rows; give a table with a header and one row per epoch")
    rows = _spread(rows)
    table: list[dict[str, float | None]] = []
    for row in rows:
        numbers: dict[str, float | None] = {}
        for header, value in row.items():
            name = header_name(header)
            if name and numbers.get(name) is None:
                numbers[name] = number(value, percent=_in_percent(header))
        table.append(numbers)
    merged = _merge_by_epoch(table)
    names = {name: None for row in merged for name in row}
    return Table({name: [row.get(name) for row in merged] for name in names}, tuple(rows[0]))


def read_text(path: Path) -> str:
    """Text of a file, UTF-8 or what spreadsheets call Unicode text (UTF-16 with its mark).

    Args:
        path: of the file.

    Raises:
        RunError: it cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read as text: {error}") from error


def read_rows(path: Path, text: str) -> list[dict[str, str]]:
    """Rows of a table by header; what a row lacks is empty.

    Args:
        path: of the file, for messages.
        text: what it holds.

    Raises:
        RunError: a row has more values than the header has names, or a quote is never closed.
    """
    lines = _without_comments(io.StringIO(text, newline="").readlines())
    if not lines:
        return []
    try:
        separator = max(SEPARATORS, key=lambda one: len(next(csv.reader(lines[:1], delimiter=one))))
        rows, blanks = list(csv.reader(lines, delimiter=separator)), [line.split() for line in lines]
        # Names may hold blanks; where blanks separate, every row has as many values as there are names.
        if len(rows[0]) == 1 < len(blanks[0]) and {len(row) for row in blanks if row} == {len(blanks[0])}:
            separator, rows = " ", blanks
    except csv.Error as error:
        raise RunError(
            f"{path} cannot be read as a table: {error}; look for a quotation mark that is opened and never closed"
        ) from error
    headers = [header.strip() for header in rows[0]]
    found = []
    for row in rows[1:]:
        if any(value.strip() for value in row[len(headers) :]):
            raise RunError(
                f"{path} has a row of {len(row)} values ({separator.join(row):.60}) under {len(headers)} headers "
                f"({', '.join(headers):.200}); where numbers have decimal commas, separate values by semicolons or "
                f"tabs, or quote them"
            )
        if any(value.strip() for value in row):
            found.append({header: row[at].strip() if at < len(row) else "" for at, header in enumerate(headers)})
    return found


def _spread(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """One column per quantity where every value has a row of its own, beside its name and its epoch."""
    headers = {header_name(header): header for header in rows[0]}
    name = next((headers[one] for one in NAMED if one in headers), None)
    if name is None or not {"epoch", "value"} <= headers.keys():
        return rows
    kept = [headers[one] for one in ("epoch", "stage") if one in headers]
    return [{header: row[header] for header in kept} | {row[name]: row[headers["value"]]} for row in rows]


def _without_comments(lines: list[str]) -> list[str]:
    """From the header on, which numpy.savetxt writes as a comment."""
    comment = ""
    # Spreadsheets are told by "sep=" which separator a file has.
    while lines and (not lines[0].strip() or lines[0].startswith("#") or lines[0].lower().startswith("sep=")):
        comment = lines.pop(0) if lines[0].startswith("#") else lines.pop(0) and comment
    header = comment.lstrip("# ")
    values = re.split(r"[\s,;|]+", lines[0].strip()) if lines else []
    return [header, *lines] if header.strip() and all(number(one) is not None for one in values) else lines


def number(value: object, *, percent: bool = False) -> float | None:
    """A number as people write it: ``0.85``, ``0,85``, ``85 %``; None where it is none.

    Args:
        value: text or number; of a list the first.
        percent: whether it is in percent even where no sign stands behind it.
    """
    if isinstance(value, list):
        value = value[0] if value else None
    text = str(value).strip()
    if _DECIMAL_COMMA.fullmatch(text.removesuffix("%").strip()):
        text = text.replace(",", ".")
    try:
        return float(text.removesuffix("%")) / (100 if percent or text.endswith("%") else 1)
    except ValueError:
        return None


def _read_json(path: Path, text: str) -> Table:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}") from error
    except RecursionError as error:
        raise RunError(f"{path} is JSON nested too deeply; give lists in one object, one per quantity") from error
    value = value.get("history", value)
    if not isinstance(value, dict):
        raise RunError(f"{path} holds {value!r:.40} under 'history'; give what Keras' History.history holds: lists")
    lists = {str(name): items for name, items in value.items() if isinstance(items, list)}
    if not lists:
        raise RunError(f"{path} holds no lists; give what Keras' History.history holds: a list per quantity")
    columns = {
        header_name(name): [number(item, percent=_in_percent(name)) for item in items] for name, items in lists.items()
    }
    return Table(columns, tuple(lists))


def _in_percent(header: str) -> bool:
    return _PERCENT.search(header) is not None


def _merge_by_epoch(table: Sequence[Mapping[str, float | None]]) -> list[dict[str, float | None]]:
    """One row per epoch, in the order of the file.

    Lightning writes training and validation of one epoch on rows of their own. Keras, told to append, writes the epochs
    of a second fit below those of the first, from 0 again: these are others.
    """
    epochs = {row.get("epoch") for row in table}
    if epochs == {None} or len(epochs) == len(table) or any(row.get("stage") is not None for row in table):
        return [dict(row) for row in table]
    width = len({name for row in table for name in _measured(row)})
    merged: list[dict[str, float | None]] = []
    latest: dict[float, dict[str, float | None]] = {}
    for row in table:
        epoch = row.get("epoch")
        if epoch is None:
            continue
        own = latest.get(epoch)
        if own is None or not _belongs(row, own, own is merged[-1], width):
            own = latest[epoch] = {}
            merged.append(own)
        # Some programs write NaN where a row of theirs has no value.
        own.update({key: one for key, one in row.items() if one is not None and not (key in own and math.isnan(one))})
    return merged


def _belongs(row: Mapping[str, float | None], own: Mapping[str, float | None], neighbours: bool, width: int) -> bool:
    """Whether a row goes on with what rows of the same epoch began; one that has a value in every column does not."""
    if neighbours:
        return len(_measured(row)) < width
    return _measured(row) & _measured(own) <= {"epoch", "step"}


def _measured(row: Mapping[str, float | None]) -> set[str]:
    return {name for name, value in row.items() if value is not None and not math.isnan(value)}
