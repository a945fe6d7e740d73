"""What the texts of options mean."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retop.errors import UsageError


def read_epochs(epochs: str | None) -> tuple[int, int] | None:
    """Epochs of the head and of the late layers.

    Raises:
        UsageError: they are not two numbers.
    """
    if epochs is None:
        return None
    head, comma, late = epochs.partition(",")
    if not comma or not head.strip().isdecimal() or not late.strip().isdecimal():
        raise UsageError(f"--epochs takes two numbers, HEAD,LATE, e.g. 10,10; received {epochs!r}")
    return int(head), int(late)


def read_settings(assignments: list[str] | None) -> dict[str, str]:
    """Recipe changes from ``--set``.

    Raises:
        UsageError: one cannot be read.
    """
    settings: dict[str, str] = {}
    for assignment in assignments or []:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set takes KEY=VALUE, e.g. stage2.learning_rate=0.001; received {assignment!r}")
        settings[key.strip()] = value
    return settings


def read_data_settings(
    split: str | None = None,
    folds: int | None = None,
    split_file: Path | None = None,
    group: str | None = None,
    group_pattern: str | None = None,
    exclude: Path | None = None,
    columns: str | None = None,
    class_weights: str | None = None,
) -> dict[str, str]:
    """Recipe changes from the options about data.

    Raises:
        UsageError: an option cannot be read.
    """
    roles = _read_columns(columns)
    if group is not None:
        roles["group"] = group
    given: dict[str, Any] = {
        "data.split": split,
        "data.folds": folds,
        "data.split_file": split_file and str(split_file),
        "data.group_pattern": group_pattern,
        "data.exclude": exclude and str(exclude),
        "data.columns": roles or None,
        "imbalance.class_weights": class_weights and read_class_weights(class_weights),
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in given.items() if value is not None}


def read_class_weights(text: str) -> str | dict[str, float]:
    """``none``, ``balanced``, or the weights in a file.

    Raises:
        UsageError: there is no such file, or it holds no weights.
    """
    if text in ("none", "balanced"):
        return text
    if not Path(text).exists():
        raise UsageError(
            f"--class-weights takes none, balanced, or a file with a weight for each class; received {text!r}, and "
            f"there is no such file"
        )
    import yaml

    try:
        content = Path(text).read_text(encoding="utf-8-sig")
        # Class names stay text: yes, no and 007 too.
        match Path(text).suffix.lower():
            case ".csv":
                pairs = _weights_of_csv(content)
            case ".json":
                pairs = json.loads(content, object_pairs_hook=list)
            case _:
                pairs = list(yaml.load(content, yaml.BaseLoader).items())
        weights = {name: float(weight) for name, weight in pairs}
        if twice := [name for name in weights if [one for one, _ in pairs].count(name) > 1]:
            raise ValueError(f"the class {twice[0]!r} stands there twice")
    except (OSError, UnicodeDecodeError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise UsageError(
            f"--class-weights takes none, balanced, or a file with a weight for each class (CSV: class,weight; JSON or "
            f"YAML: a mapping); {text!r} is none of these: {error}"
        ) from error
    if wrong := [f"{name}: {weight:g}" for name, weight in weights.items() if not 0 < weight < math.inf]:
        raise UsageError(f"--class-weights {text}: weights are finite numbers above 0; received {', '.join(wrong)}")
    return weights


def _weights_of_csv(content: str) -> list[tuple[str, str]]:
    """Class and weight of each row, without the header that there may be.

    Raises:
        ValueError: a row has not just the two.
    """
    rows = []
    header = content.partition("\n")[0]
    # Spreadsheets write semicolons where the comma is that of the decimals.
    decimal = _is_number(header.rpartition(";")[2].replace(",", "."))
    apart = ";" if ";" in header and (decimal or "," not in header) else ","
    for number, row in enumerate(csv.reader(io.StringIO(content), delimiter=apart), 1):
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells and len(cells) != 2:
            raise ValueError(f"line {number} should be a class and its weight, it is {','.join(row)!r}")
        if cells:
            rows.append((cells[0], cells[1].replace(",", ".") if apart == ";" else cells[1]))
    return rows[1:] if rows and not _is_number(rows[0][1]) else rows


def _read_columns(text: str | None) -> dict[str, str]:
    pairs = [item.partition("=") for item in read_names([text] if text else None)]
    if any(not (role and equals and name) for role, equals, name in pairs):
        raise UsageError(f"--columns takes ROLE=NAME,..., e.g. path=file,label=species; received {text!r}")
    return {role.strip(): name.strip() for role, _, name in pairs}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_names(texts: Sequence[str] | None) -> list[str]:
    """Names separated by commas, of an option that may be given several times."""
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def read_seeds(texts: Sequence[str] | None) -> int | list[int]:
    """How many seeds, or which; one where the option is not given.

    Raises:
        UsageError: it is neither.
    """
    text = "1" if texts is None else ",".join(texts)
    parts = read_names([text])
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--seeds takes a number (how many) or a list such as 0,3,7; received {text!r}")
    return int(parts[0]) if len(parts) == 1 and "," not in text else [int(part) for part in parts]


def read_cache(text: str) -> bool | str:
    """The store: on, off, or a folder.

    Raises:
        UsageError: it is nothing.
    """
    if not text.strip():
        raise UsageError("--cache is empty; it takes on, off or a folder")
    return {"on": True, "off": False}.get(text, text)


def limit_bytes(gib: float | None) -> int | None:
    """GiB as bytes.

    Raises:
        UsageError: it is no size.
    """
    if gib is not None and not 0 < gib < math.inf:
        raise UsageError(f"--cache-limit takes a number of GiB above 0, e.g. 20; received {gib}")
    return None if gib is None else int(gib * 2**30)
