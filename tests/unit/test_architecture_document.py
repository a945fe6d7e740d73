"""ARCHITECTURE.md shows the parts that exist, in the order that import-linter holds."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "ARCHITECTURE.md").read_text("utf-8")
TREE = re.findall(r"^  ([a-z]+)(?:/|\.py)(?= |$)", PAGE.split("```")[1], re.MULTILINE)
NAMES = set(re.findall(r"`((?:[a-z_]+\.)+[A-Za-z_]\w*)`", PAGE))
NOT_NAMES = ("py", "json", "jsonl", "toml", "parquet", "md", "fx")


def test_the_tree_is_in_the_order_of_the_import_rules() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    assert [f"retop.{part}" for part in TREE] == layers


def test_every_part_is_in_the_tree() -> None:
    package = CHECKOUT / "src" / "retop"
    parts = {path.parent.name for path in package.glob("*/__init__.py")}
    parts |= {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}
    assert parts == set(TREE)


@pytest.mark.parametrize("name", sorted(name for name in NAMES if name.rsplit(".", 1)[1] not in NOT_NAMES))
def test_every_name_on_the_page_exists(name: str) -> None:
    first, *rest = name.split(".") if name.split(".")[0] in TREE else [*_home(name.split(".")[0]), *name.split(".")[1:]]
    target = importlib.import_module(f"retop.{first}")
    for part in rest:
        try:
            target = getattr(target, part)
        except AttributeError:
            target = importlib.import_module(f"{target.__name__}.{part}")


def _home(module: str) -> list[str]:
    """Part and file of a module that the page names without its part."""
    found = sorted((CHECKOUT / "src" / "retop").glob(f"*/{module}.py"))
    assert found, f"no file {module}.py"
    return [found[0].parent.name, module]


def test_every_target_of_the_makefile_is_in_the_table_of_contributing() -> None:
    phony = re.search(r"^\.PHONY: (.*?[^\\])$", (CHECKOUT / "Makefile").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert phony is not None
    table = (CHECKOUT / "CONTRIBUTING.md").read_text("utf-8")
    assert [name for name in phony[1].replace("\\\n", " ").split() if f"| `make {name}` |" not in table] == []


def test_links_lead_to_files() -> None:
    pages = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")]
    dead = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []
