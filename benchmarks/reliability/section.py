"""The file that one section leaves."""

import json
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hardware import describe_hardware

RESULTS = Path(__file__).resolve().parents[1] / "results"


def write_section(name: str, found: dict[str, Any], seconds: float) -> None:
    """Write and print what a section found, with the day, the state of the repository and the machine.

    Args:
        name: of the file: ``<name>.json``.
        found: figures, as plain data.
        seconds: how long it took.
    """
    found |= {"seconds": round(seconds), "date": time.strftime("%Y-%m-%d"), "commit": commit()}
    found["hardware"] = asdict(describe_hardware())
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: found}, indent=1), flush=True)


def commit() -> str:
    """The state of the repository that was run; with a plus where files differ from it."""
    asked = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    return subprocess.run(asked, cwd=RESULTS, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
