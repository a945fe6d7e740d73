"""Recipes from YAML files and from ``--set key=value``."""

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from retop.errors import RecipeError, SchemaError
from retop.recipe.recipe import Recipe
from retop.schema import from_plain, to_plain

# Values that are mappings themselves, not sections with keys of their own.
MAPPINGS = ("imbalance.class_weights", "data.columns")


def preset_names() -> tuple[str, ...]:
    """Names of the recipes that come with retop."""
    folder = resources.files("retop.recipe") / "presets"
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_recipe(name_or_path: str | Path = "default") -> Recipe:
    """Read a recipe by preset name or from a YAML file.

    Keys that the file leaves out keep the values of the `default` preset.

    Args:
        name_or_path: one of `preset_names()`, or the path of a ``.yaml`` file.

    Returns:
        The recipe.

    Raises:
        RecipeError: no such preset or file, one that cannot be read or is not YAML, an unknown key, a wrong type, or
            a contradiction.
    """
    text, origin = _read(str(name_or_path))
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"{origin} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise RecipeError(f"{origin} should hold a mapping, received {type(document).__name__}")
    return _build(_merged(to_plain(Recipe()), document, origin, ""), origin)


def apply_settings(recipe: Recipe, changes: Mapping[str, str], backbone: str | None = None) -> Recipe:
    """Change values of a recipe, as ``--set key=value`` does; all together, so that their order does not matter.

    Args:
        recipe: the recipe to start from; its own values are checked too, for Python does not check their types.
        changes: new values as YAML text by dotted path, e.g. ``{"stage2.learning_rate": "0.01"}``.
        backbone: the one that they are for, which errors name; None for all.

    Returns:
        The changed recipe.

    Raises:
        RecipeError: a key does not exist, a value is refused, or the changed recipe contradicts itself.
    """
    document = to_plain(recipe)
    above = f"{backbone}." if backbone else ""
    for key, value in sorted(changes.items(), key=lambda change: change[0].endswith("min_steps")):
        document = _merged(document, _nested(key, value), f"--set {above}{key}={value}", "")
    return _build(document, "the recipe", {key: f"--set {above}{key}={value}" for key, value in changes.items()})


def _nested(key: str, value: str) -> dict[str, Any]:
    try:
        change: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {key}={value}: the value is not valid YAML: {error}") from error
    for part in reversed(key.split(".")):
        change = {part: change}
    return change  # type: ignore[no-any-return]


def _number_or_text(text: str) -> float | str:
    """YAML 1.1 reads 1e-4 as text; people mean the number."""
    try:
        return float(text)
    except ValueError:
        return text


def _read(name_or_path: str) -> tuple[str, str]:
    if name_or_path in preset_names():
        return (resources.files("retop.recipe") / "presets" / f"{name_or_path}.yaml").read_text("utf-8"), name_or_path
    path = Path(name_or_path)
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8"), str(path)
    except UnicodeDecodeError as error:
        raise RecipeError(f"the recipe {path} is not UTF-8 text: {error}; save it as UTF-8") from error
    except OSError as error:
        raise RecipeError(
            f"the recipe {path} cannot be read: {error.strerror or error}; check its permissions, or choose a preset: "
            f"{', '.join(preset_names())}"
        ) from error
    raise RecipeError(
        f"no recipe {name_or_path!r}: it is neither a file nor one of the presets {', '.join(preset_names())}"
    )


def _merged(base: dict[str, Any], change: dict[str, Any], origin: str, where: str) -> dict[str, Any]:
    merged = dict(base)
    if "min_steps" in base and "epochs" in change:
        merged["min_steps"] = 0
    for key, value in change.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in base:
            raise RecipeError(f"{origin}: unknown key {path}; known here: {', '.join(sorted(base))}")
        if isinstance(base[key], dict) and path not in MAPPINGS:
            if not isinstance(value, dict):
                raise RecipeError(f"{origin}: {path} holds several values ({', '.join(base[key])}); received {value!r}")
            merged[key] = _merged(base[key], value, origin, path)
        elif path == "data.split" and isinstance(value, str):
            merged[key] = _shares(value, origin)
        else:
            merged[key] = _number_or_text(value) if isinstance(value, str) and key != "name" else value
    return merged


def _shares(text: str, origin: str) -> list[Any]:
    parts = re.split("[/,]", text)
    if len(parts) != 3:
        raise RecipeError(
            f"{origin}: data.split takes the shares of train, validation and test, such as 70/15/15 (80/20/0 is "
            f"without test); received {text}"
        )
    return [_number_or_text(part) for part in parts]


def _build(document: dict[str, Any], origin: str, settings: Mapping[str, str] = MappingProxyType({})) -> Recipe:
    thaw = document.get("thaw")
    if isinstance(thaw, int | float) and not isinstance(thaw, bool):
        document = document | {"thaw": f"{thaw:.15g}"}
    try:
        return from_plain(Recipe, document)
    except (SchemaError, RecipeError) as error:
        # Of many settings only those that the error speaks of; of none that it names, all.
        blamed = [text for key, text in settings.items() if key in str(error)] or settings.values()
        raise RecipeError(f"{' '.join(blamed) or origin}: {error}") from error
