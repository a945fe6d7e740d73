"""What the package offers, and what importing it costs."""

import importlib
import subprocess
import sys

import pytest

import retop

NAMES = {
    "Comparison", "Prediction", "Predictor", "Recipe", "RetopError", "__version__", "check", "compare", "diagnose",
    "evaluate", "explain", "export", "load", "load_recipe", "plan", "pretrain", "push", "resume", "serve", "train",
    "write_report",
}  # fmt: skip


def test_the_public_names_are_exactly_these() -> None:
    assert set(retop.__all__) == NAMES
    assert set(dir(retop)) == NAMES
    assert all(getattr(retop, name) is not None for name in NAMES)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="'retop' has no attribute 'fine_tune'"):
        _ = retop.fine_tune


@pytest.mark.parametrize("part", ["activations", "artifact", "comparison", "pipeline", "predictor", "training"])
def test_every_listed_name_of_a_part_exists(part: str) -> None:
    module = importlib.import_module(f"retop.{part}")
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("module", ["retop", "retop.cli", "retop.recipe", "retop.records", "retop.evaluation"])
def test_importing_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_error_has_its_documented_exit_code() -> None:
    from retop import errors

    rows = [line.split() for line in (errors.__doc__ or "").splitlines() if "Error" in line]
    documented = {}
    for row in rows:
        name = next(word for word in row if word.endswith("Error"))
        number = next((word for word in row if word.isdecimal()), None)
        if number:
            documented[name] = int(number)
    raised = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert documented.keys() == raised - {"RetopError"}
    assert all(getattr(errors, name).exit_code == code for name, code in documented.items())
