"""The script beside an exported file: our decoding in one file that does not need our package."""

import ast
import importlib.util
from pathlib import Path

_MODULES = ("retop.data.colour", "retop.data.orientation")
_PROGRAM = "retop.export.standalone"


def write_script(file: Path) -> None:
    """Write `standalone` with the source of what it imports from our package in place of the imports.

    Args:
        file: where to.
    """
    file.write_text(compose_script(), encoding="utf-8")


def compose_script() -> str:
    """The text of the script.

    Returns:
        Python source: docstring, all imports once, our decoding, the program.
    """
    program = _parse(_PROGRAM)
    parts = [*(_parse(name) for name in _MODULES), program]
    imports = {ast.unparse(node) for tree in parts for node in tree.body if _is_import(node) and not _is_ours(node)}
    bodies = [ast.unparse(node) for tree in parts for node in tree.body[1:] if not _is_import(node)]
    return "\n\n".join([f'"""{ast.get_docstring(program)}"""', "\n".join(sorted(imports)), *bodies]) + "\n"


def _parse(module: str) -> ast.Module:
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise ImportError(module)
    return ast.parse(Path(found.origin).read_text(encoding="utf-8"))


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_ours(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith("retop")
