"""Write docs/records.md and docs/recipes.md from the docstrings under the fields of records and recipes.

python docs/generate_records.py            writes both
python docs/generate_records.py --check    exits with 1 where one of them is stale
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "src" / "retop"
SOURCES = (*sorted((PACKAGE / "records").glob("*.py")), PACKAGE / "recipe" / "recipe.py")

FRACTION, COUNT, NATS, SECONDS, PIXELS, BYTES, NONE = "0 to 1", "count", "nats", "seconds", "pixels", "bytes", "none"
UNITS = {
    **dict.fromkeys(("accuracy", "accuracies", "balanced_accuracy", "macro_f1", "validation_accuracy"), FRACTION),
    **dict.fromkeys(("train_accuracy", "train_eval_accuracy", "stage1_accuracy", "stage2_accuracy"), FRACTION),
    **dict.fromkeys(("ClassMetrics.precision", "recall", "f1", "confidence", "calibration_error"), FRACTION),
    **dict.fromkeys(("calibration_error_before", "calibration_error_after", "threshold", "gap"), FRACTION),
    **dict.fromkeys(("reject_below", "target_accuracy", "isolating_share"), FRACTION),
    **dict.fromkeys(("p", "p_holm", "split", "dropout", "warmup_fraction", "label_smoothing", "momentum"), FRACTION),
    "sides": FRACTION,
    **dict.fromkeys(("mean", "std"), "of pixel values scaled to 0 to 1"),
    **dict.fromkeys(
        (
            "n",
            "num_right",
            "num_changed",
            "num_wrong",
            "expected_wrong",
            "num_accepted",
            "num_train",
            "num_without_leaks",
            "only_here",
            "only_last",
            "parameters",
            "parameters_trained",
            "head_features",
        ),
        COUNT,
    ),
    **dict.fromkeys(
        ("per_class", "confusion", "cores", "threads", "epochs_run", "batch_size", "min_steps", "hidden"), COUNT
    ),
    **dict.fromkeys(("images", "excluded", "folds"), COUNT),
    "fold": NONE,
    **dict.fromkeys(("class_weights", "weight"), NONE),
    "drawn": "times an epoch",
    **dict.fromkeys(("only_first_right", "only_second_right", "images_per_class", "count", "rank"), COUNT),
    **dict.fromkeys(("epochs", "patience"), "epochs"),
    **dict.fromkeys(("log_loss_before", "log_loss_after"), NATS),
    **dict.fromkeys(("log_loss", "train_loss", "train_eval_loss", "validation_loss"), NATS),
    **dict.fromkeys(("seconds", "planned_seconds"), SECONDS),
    **dict.fromkeys(("height", "width", "input_size", "image_size"), PIXELS),
    **dict.fromkeys(("memory_bytes", "disk_bytes", "disk_free_bytes", "stored_bytes", "stored_bytes_per_view"), BYTES),
    **dict.fromkeys(("seed", "seeds", "split_seed", "version", "stage", "epoch", "best_epoch", "crop_fraction"), NONE),
    **dict.fromkeys(("learning_rate", "weight_decay", "gradient_norm", "clip_norm", "mixup", "temperature"), NONE),
    **dict.fromkeys(("value", "low", "high", "standard_deviation"), "as what it measures"),
    "difference": "fraction, -1 to 1",
    "SeedSummary.mean": FRACTION,
    "without_leaks": FRACTION,
    "flops": "operations",
}
"""Unit of every field that holds a number, by its name, or by record and name where records differ."""

FLAGS = {
    "thaw": "`--thaw`",
    "precision": "`--precision`",
    "imbalance.class_weights": "`--class-weights`",
    "data.split": "`--split`",
    "data.folds": "`--folds`",
    "data.split_file": "`--split-file`",
    "data.group_pattern": "`--group-pattern`",
    "data.exclude": "`--exclude`",
    "data.columns": "`--columns`",
    "views.count": "`--views`",
    "stage1.epochs": "`--epochs HEAD,LATE`",
    "stage2.epochs": "`--epochs HEAD,LATE`",
}
"""Recipe keys that have an option of their own; every other has ``--set``."""

TIMM_KEYS = (
    ("architecture", "text", "timm's name of the architecture, without tag."),
    ("num_classes", "whole number", "K with the linear head; 0 with the mlp head, which timm does not know."),
    ("num_features", "whole number", "F, values of the pooled features."),
    (
        "model_args",
        "mapping",
        "Keyword arguments that timm's `create_model` needs to build the same network; "
        "those of `backbones/arguments.py` alone.",
    ),
    ("label_names", "list of text", "Class names, as in `retop.classes`."),
    ("pretrained_cfg", "mapping", "timm's description of the pretrained weights, its own form."),
    ("retop", "[TrainedRecord](#trainedrecord)", "Everything else that prediction needs."),
)


RECIPE_HEADER = ("key", "type", "unit", "default", "option", "meaning")


@dataclass(frozen=True)
class Field:
    """One field of a record."""

    name: str
    annotation: ast.expr
    default: ast.expr | None
    about: str


@dataclass(frozen=True)
class Record:
    """One dataclass."""

    name: str
    about: str
    fields: tuple[Field, ...]


def read_records(sources: Sequence[Path] = SOURCES) -> dict[str, Record]:
    """Every dataclass of the given files, by name."""
    classes = [
        node
        for path in sources
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(mark) for mark in node.decorator_list)
    ]
    return {node.name: Record(node.name, ast.get_docstring(node) or "", tuple(_fields(node))) for node in classes}


def _fields(node: ast.ClassDef) -> Iterator[Field]:
    following = [*node.body[1:], None]
    for item, after in zip(node.body, following, strict=True):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield Field(item.target.id, item.annotation, item.value, _text(after))


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def read_version(name: str) -> str:
    """A version constant of the records, such as ``RUN_VERSION``."""
    for path in SOURCES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return str(int(ast.literal_eval(node.value)))
    raise KeyError(name)


def read_columns(module: str) -> list[tuple[str, str, str]]:
    """Name, type and meaning of the columns of a table of the records; the meaning is the comment beside each."""
    text = (PACKAGE / "records" / f"{module}.py").read_text("utf-8")
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    schema = next(
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"{module.upper()}_SCHEMA"
    )
    return [
        (ast.literal_eval(call.args[0]), _column_type(call.args[1]), comments.get(call.lineno, ""))
        for call in ast.walk(schema)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pa.field"
    ]


def _column_type(call: ast.expr) -> str:
    """``pa.list_(pa.float32())`` as ``list of float32``."""
    return ast.unparse(call).replace("pa.", "").replace("list_(", "list of ").replace("()", "").rstrip(")")


def describe_type(annotation: ast.expr) -> str:
    """A field's type as JSON holds it, in words; records are links."""
    match annotation:
        case ast.BinOp(left=left, right=right):
            return f"{describe_type(left)} or {describe_type(right)}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            values = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            return ", ".join(f"`{_shown(value)}`" for value in values)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=end)])) if (
            end is Ellipsis
        ):
            return f"list of {describe_type(item)}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=items)):
            return f"list of {len(items)} x {describe_type(items[0])}"
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, item])):
            return f"mapping of text to {describe_type(item)}"
    name = "null" if ast.unparse(annotation) == "None" else ast.unparse(annotation)
    words = {
        "str": "text",
        "Any": "anything",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "null": "null",
    }
    return words.get(name) or f"[{name}](#{name.lower()})"


def holds_number(annotation: ast.expr) -> bool:
    """Whether a field's value is, or is made of, numbers."""
    return any(isinstance(node, ast.Name) and node.id in ("int", "float") for node in ast.walk(annotation))


def find_unit(record: str, field: Field) -> str:
    """The unit of a field; empty for what holds no number.

    Raises:
        KeyError: a number without a unit in `UNITS`.
    """
    measures = holds_number(field.annotation) or ast.unparse(field.annotation) in ("Interval", "Interval | None")
    if not measures:
        return ""
    return UNITS[f"{record}.{field.name}"] if f"{record}.{field.name}" in UNITS else UNITS[field.name]


def _shown(value: ast.expr) -> str:
    return "null" if ast.unparse(value) == "None" else str(ast.literal_eval(value))


def _markdown(text: str, known: dict[str, Record]) -> str:
    text = text.replace("``", "`").replace("|", "\\|").replace("None", "null")
    return re.sub(r"`(\w+)`", lambda m: f"[{m[1]}](#{m[1].lower()})" if m[1] in known else m[0], text)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def nested_records(record: Record, known: dict[str, Record]) -> list[str]:
    """Names of the records inside a record, each once, in the order in which they are met."""
    found: list[str] = []
    for field in record.fields:
        for node in ast.walk(field.annotation):
            if isinstance(node, ast.Name) and node.id in known:
                found += [node.id, *nested_records(known[node.id], known)]
    return list(dict.fromkeys(found))


def _record_table(record: Record, known: dict[str, Record]) -> list[str]:
    rows = [
        (f"`{f.name}`", describe_type(f.annotation), find_unit(record.name, f), _markdown(f.about, known))
        for f in record.fields
    ]
    return _table(("field", "type", "unit", "meaning"), rows)


def _nested_sections(roots: Sequence[str], known: dict[str, Record]) -> list[str]:
    names = dict.fromkeys(name for root in roots for name in nested_records(known[root], known))
    lines: list[str] = []
    for name in names:
        lines += [f"### {name}", "", _markdown(known[name].about, known), "", *_record_table(known[name], known), ""]
    return lines[:-1]


def recipe_rows(
    record: Record, known: dict[str, Record], prefix: str = "", given: dict[str, str] | None = None
) -> list[Sequence[str]]:
    """One row for every key of a recipe, sections within it included.

    Args:
        record: the recipe or a section of it.
        known: all records.
        prefix: of the section's keys.
        given: defaults that the section is given in place of its own.
    """
    rows: list[Sequence[str]] = []
    for field in record.fields:
        key = f"{prefix}{field.name}"
        if isinstance(field.annotation, ast.Name) and field.annotation.id in known:
            rows += recipe_rows(known[field.annotation.id], known, f"{key}.", _arguments(field.default))
            continue
        default = (given or {}).get(field.name) or ("" if field.default is None else _default(field.default))
        kind, unit = describe_type(field.annotation), find_unit(record.name, field)
        rows.append((f"`{key}`", kind, unit, f"`{default}`", FLAGS.get(key, "`--set`"), _markdown(field.about, known)))
    return rows


def _arguments(default: ast.expr | None) -> dict[str, str]:
    """What a default factory such as ``lambda: StageRecipe(epochs=30)`` sets, by name."""
    calls = [node for node in ast.walk(default) if isinstance(node, ast.Call)] if default else []
    return {k.arg: _default(k.value) for call in calls for k in call.keywords if k.arg and k.arg != "default_factory"}


def _default(value: ast.expr) -> str:
    """A default as YAML holds it."""
    if isinstance(value, ast.Call):
        return {"dict": "{}", "list": "[]"}[ast.unparse(value.keywords[0].value)]
    plain = ast.literal_eval(value)
    return "null" if plain is None else str(list(plain) if isinstance(plain, tuple) else plain)


def _presets() -> list[str]:
    lines: list[str] = []
    for path in sorted((PACKAGE / "recipe" / "presets").glob("*.yaml")):
        lines += [f"### {path.stem}", "", "```yaml", *path.read_text("utf-8").splitlines(), "```", ""]
    return lines[:-1]


def write_page(template: str) -> str:
    """Fill a page's template: a line ``<!-- fields NAME -->`` and the like becomes what it names.

    Raises:
        KeyError: the template names something unknown, or a number has no unit in `UNITS`.
    """
    known = read_records()
    writers: dict[str, Callable[[list[str]], list[str]]] = {
        "fields": lambda names: _record_table(known[names[0]], known),
        "nested": lambda names: _nested_sections(names, known),
        "columns": lambda names: _table(
            ("column", "type", "meaning"), [(f"`{n}`", t, a) for n, t, a in read_columns(names[0])]
        ),
        "timm": lambda _: _table(("key", "type", "meaning"), [(f"`{key}`", *rest) for key, *rest in TIMM_KEYS]),
        "recipe": lambda _: _table(RECIPE_HEADER, recipe_rows(known["Recipe"], known)),
        "presets": lambda _: _presets(),
    }
    lines: list[str] = []
    for line in re.sub(r"\{(\w+_VERSION)\}", lambda m: read_version(m[1]), template).splitlines():
        marker = re.fullmatch(r"<!-- ([a-z]+) ?(.*?) -->", line)
        lines += writers[marker[1]](marker[2].split()) if marker else [line]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str], folder: Path = DOCS) -> int:
    """Write the pages, or with ``--check`` compare them.

    Args:
        arguments: of the command line.
        folder: where the pages are.

    Returns:
        The exit code: 1 if a page is stale.
    """
    stale = []
    for name in ("records.md", "recipes.md"):
        text = write_page((DOCS / "templates" / name).read_text("utf-8"))
        if "--check" not in arguments:
            (folder / name).write_text(text, encoding="utf-8")
        elif not (folder / name).is_file() or (folder / name).read_text("utf-8") != text:
            stale.append(name)
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; write them with: python docs/generate_records.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
