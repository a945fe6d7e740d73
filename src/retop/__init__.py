"""retop: replace the top of a pretrained image network, thaw what lies beneath, and compare the results honestly."""

import importlib
from typing import TYPE_CHECKING, Any

from retop.memory import keep_memory
from retop.version import __version__

if TYPE_CHECKING:
    from retop.api import (
        Comparison,
        check,
        compare,
        diagnose,
        evaluate,
        explain,
        export,
        load,
        plan,
        pretrain,
        push,
        resume,
        serve,
        train,
        write_report,
    )
    from retop.errors import RetopError
    from retop.predictor import Prediction, Predictor
    from retop.recipe import Recipe, load_recipe

_HOMES = {
    "Comparison": "retop.api",
    "Prediction": "retop.predictor",
    "Predictor": "retop.predictor",
    "Recipe": "retop.recipe",
    "RetopError": "retop.errors",
    "check": "retop.api",
    "compare": "retop.api",
    "diagnose": "retop.api",
    "evaluate": "retop.api",
    "explain": "retop.api",
    "export": "retop.api",
    "load": "retop.api",
    "load_recipe": "retop.recipe",
    "plan": "retop.api",
    "push": "retop.api",
    "serve": "retop.api",
    "pretrain": "retop.api",
    "resume": "retop.api",
    "train": "retop.api",
    "write_report": "retop.api",
}

__all__ = [
    "Comparison",
    "Prediction",
    "Predictor",
    "Recipe",
    "RetopError",
    "__version__",
    "check",
    "compare",
    "diagnose",
    "evaluate",
    "explain",
    "export",
    "load",
    "load_recipe",
    "plan",
    "pretrain",
    "push",
    "resume",
    "serve",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    # Names are loaded on first use: importing retop must not load torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'retop' has no attribute {name!r}")
    keep_memory()
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
