"""Does a test fail when its rule is taken away? Each rule of docs/data.md is, in a copy of the source, one at a time.

python benchmarks/mutations.py                       writes docs/data_rules.md; 1 if a rule could go unnoticed
python benchmarks/mutations.py --only D06            those whose text has it; nothing is written
"""

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from data_rules import RULES, Rule

CHECKOUT = Path(__file__).resolve().parents[1]
DOCUMENT = CHECKOUT / "docs/data_rules.md"
FAILED, PASSED = 1, 0
"""Exit codes of pytest: tests failed; all passed. Others say that none ran."""


def source_of(rule: Rule, root: Path) -> Path:
    """The file that a rule stands in, below a folder like src."""
    package = root / "retop"
    inside = package / "data" / rule.file
    return inside if inside.exists() else package / rule.file


def test_of(rule: Rule) -> str:
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


def run_tests(tests: list[str], source: Path) -> int:
    """Exit code of pytest with the package of a folder."""
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    asked = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(asked, cwd=CHECKOUT, env=environment, capture_output=True, check=False).returncode


def is_noticed(rule: Rule, source: Path) -> bool:
    """Whether a rule's test fails without it; the folder is left as it was."""
    file = source_of(rule, source)
    whole = file.read_text("utf-8")
    try:
        file.write_text(taken_away(rule, whole), encoding="utf-8")
        return run_tests([test_of(rule)], source) == FAILED
    finally:
        file.write_text(whole, encoding="utf-8")


def document(noticed: int, today: datetime.date) -> str:
    """The table of all rules."""
    text = (
        "<!-- Written by benchmarks/mutations.py; edit benchmarks/data_rules.py. -->\n\n# Rules of data and their tests\n\n"
        f"Each rule of [docs/data.md](data.md) was taken away from a copy of the source, alone, and its test run: {noticed:,} of "
        f"{sum(map(len, RULES.values())):,} failed then, as they must; with the whole source all of them pass "
        f"({today}, `python benchmarks/mutations.py`).\n"
    )
    for section, rules in RULES.items():
        rows = "".join(f"| {rule.says} | `{rule.file}` | `{rule.test}` |\n" for rule in rules)
        text += f"\n## {section}\n\n| rule | stands in | test that fails without it |\n|---|---|---|\n{rows}"
    return text


def main() -> int:
    """Take all rules away, one at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="text of the rules to try")
    given = parser.parse_args()
    rules = [rule for group in RULES.values() for rule in group if given.only.casefold() in rule.says.casefold()]
    unnoticed = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "src")
        shutil.copytree(CHECKOUT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        if run_tests(sorted({test_of(rule) for rule in rules}), source) != PASSED:
            sys.stderr.write("with the whole source the tests do not all pass\n")
            return 1
        for rule in rules:
            try:
                noticed = is_noticed(rule, source)
            except (SyntaxError, ValueError) as error:
                sys.stderr.write(f"{error}\n")
                noticed = False
            print("noticed  " if noticed else "UNNOTICED", rule.says, flush=True)
            unnoticed += [] if noticed else [rule]
    print(f"{len(rules) - len(unnoticed)} of {len(rules)} are noticed")
    if not given.only and not unnoticed:
        DOCUMENT.write_text(document(len(rules), datetime.datetime.now(datetime.UTC).date()), encoding="utf-8")
    return bool(unnoticed)


if __name__ == "__main__":
    sys.exit(main())
