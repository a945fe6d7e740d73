"""What a run shall do: frozen dataclasses, read from YAML, changed with ``--set``."""

from retop.recipe.reading import MAPPINGS, apply_settings, load_recipe, preset_names
from retop.recipe.recipe import (
    DataRecipe,
    HeadRecipe,
    ImbalanceRecipe,
    Recipe,
    StageRecipe,
    ViewsRecipe,
)

__all__ = [
    "MAPPINGS",
    "DataRecipe",
    "HeadRecipe",
    "ImbalanceRecipe",
    "Recipe",
    "StageRecipe",
    "ViewsRecipe",
    "apply_settings",
    "load_recipe",
    "preset_names",
]
