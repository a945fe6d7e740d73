"""Does a test fail when its rule is taken away? Each rule of docs/data.md is, in a copy of the source, one at a time.

python benchmarks/mutations.py                       writes docs/data_rules.md; 1 if a rule could go unnoticed
python benchmarks/mutations.py --only D06            those whose text has it; nothing is written
"""

import argparse
import compileall
import datetime
import multiprocessing
import os
import py_compile
import shutil
import sys
import tempfile
from pathlib import Path

from data_rules import RULES, Rule

CHECKOUT = Path(__file__).resolve().parents[1]
DOCUMENT = CHECKOUT / "docs/data_rules.md"
SHARED = os.environ.get("RETOP_SHARED", str(CHECKOUT.parent / "shared"))
FAILED, PASSED = 1, 0
"""Exit codes of pytest: tests failed; all passed. Others say that none ran."""

LOADED = "ignore::pytest.PytestAssertRewriteWarning"
PROCESSES = multiprocessing.get_context("forkserver")
LOADED_ONCE = [
    "_pytest.main",
    "numpy",
    "pyarrow.parquet",
    "PIL.ImageCms",
    "fsspec",
    "torch",
    "timm",
    "lightning_fabric",
]
LOADED_ONCE += ["torchvision", "pyarrow.compute", "jinja2", "hypothesis", "anyio"]


def source_of(rule: Rule, root: Path) -> Path:
    """The file that a rule stands in, below a folder like src."""
    package = root / "retop"
    inside = package / "data" / rule.file
    return inside if inside.exists() else package / rule.file


def named_test(rule: Rule) -> str:
    """A rule's test as pytest names it."""
    file = rule.test.partition("::")[0]
    return f"tests/unit/{rule.test if '/' in file else f'data/{rule.test}'}"


def taken_away(rule: Rule, text: str) -> str:
    """The source without a rule.

    Raises:
        ValueError: the rule is not there once, or what is left is not Python.
    """
    if text.count(rule.text) != 1:
        raise ValueError(f"{rule.says}: {rule.file} has its text {text.count(rule.text)} times")
    changed = text.replace(rule.text, rule.instead)
    compile(changed, rule.file, "exec")
    return changed


def run_pytest(tests: list[str], copy: Path) -> None:
    """Ends this process with the exit code of pytest, with the package and the tests of a folder."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    os.chdir(copy)
    sys.path.insert(0, str(copy / "src"))
    os.environ |= {"PYTHONPATH": str(copy / "src"), "RETOP_SHARED": SHARED}
    import pytest

    sys.exit(pytest.main(["-x", "-p", "no:cacheprovider", "-W", LOADED, *tests]))


def exit_code(tests: list[str], copy: Path) -> int | None:
    """Of pytest in a process of its own, whose server has loaded what does not change."""
    process = PROCESSES.Process(target=run_pytest, args=(tests, copy))
    process.start()
    process.join()
    return process.exitcode


def is_noticed(rule: Rule, copy: Path) -> bool:
    """Whether a rule's test fails without it; the folder is left as it was."""
    file = source_of(rule, copy / "src")
    whole = file.read_text("utf-8")
    try:
        file.write_text(taken_away(rule, whole), encoding="utf-8")
        return exit_code([named_test(rule)], copy) == FAILED
    finally:
        file.write_text(whole, encoding="utf-8")


def document(noticed: int, today: datetime.date) -> str:
    """The table of all rules."""
    text = (
        "<!-- Written by benchmarks/mutations.py; edit benchmarks/data_rules.py. -->\n\n"
        "# Rules of data and their tests\n\n"
        "Each rule of [docs/data.md](data.md) was taken away from a copy of the source, alone, and its test run: "
        f"{noticed:,} of {sum(map(len, RULES.values())):,} failed then, as they must; with the whole source all "
        f"of them pass ({today}, `python benchmarks/mutations.py`).\n"
    )
    for section, rules in RULES.items():
        rows = "".join(f"| {rule.says} | `{rule.file}` | `{rule.test}` |\n" for rule in rules)
        text += f"\n## {section}\n\n| rule | stands in | test that fails without it |\n|---|---|---|\n{rows}"
    return text


def main() -> int:
    """Take all rules away, one at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", help="text of the rules to try; may be given several times")
    parser.add_argument("--section", choices=RULES, action="append", help="a section; may be given several times")
    given = parser.parse_args()
    chosen = [rule for name, group in RULES.items() if name in (given.section or RULES) for rule in group]
    only = [text.casefold() for text in given.only or [""]]
    rules = [rule for rule in chosen if any(text in rule.says.casefold() for text in only)]
    unnoticed = []
    os.environ["OMP_NUM_THREADS"] = "1"
    PROCESSES.set_forkserver_preload(LOADED_ONCE)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("src", "tests", "docs", "benchmarks"):
            shutil.copytree(CHECKOUT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "pyproject.toml", copy)
        # By content: a file that is changed twice within a second, and keeps its size, is not taken for the same.
        compileall.compile_dir(copy / "src", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        if exit_code(sorted({named_test(rule) for rule in rules}), copy) != PASSED:
            sys.stderr.write("with the whole source the tests do not all pass\n")
            return 1
        for rule in rules:
            try:
                noticed = is_noticed(rule, copy)
            except (SyntaxError, ValueError) as error:
                sys.stderr.write(f"{error}\n")
                noticed = False
            print("noticed  " if noticed else "UNNOTICED", rule.says, flush=True)
            unnoticed += [] if noticed else [rule]
    print(f"{len(rules) - len(unnoticed)} of {len(rules)} are noticed")
    if len(rules) == sum(map(len, RULES.values())) and not unnoticed:
        DOCUMENT.write_text(document(len(rules), datetime.datetime.now(datetime.UTC).date()), encoding="utf-8")
    return bool(unnoticed)


if __name__ == "__main__":
    sys.exit(main())
