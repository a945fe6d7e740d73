"""`make reliability` in processes of its own, for tests."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
BENCHMARKS = TESTS.parent / "benchmarks" / "reliability"


def reliability(section: str, share: float) -> dict[str, Any]:
    """A section, cut short."""
    said = _python(str(BENCHMARKS), "--sections", section, "--share", str(share))
    (found,) = json.loads(said[said.index('{\n "') :]).values()
    return found  # type: ignore[no-any-return]


def run_beside(program: str) -> str:
    """What a program says that can import the parts of `make reliability`."""
    return _python("-W", "ignore", "-c", program)


def _python(*arguments: str) -> str:
    paths = (str(BENCHMARKS), str(TESTS), os.environ.get("PYTHONPATH", ""))
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=280,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
