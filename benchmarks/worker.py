"""One measurement in a process of its own: ``python worker.py MODULE SPEC.json RESULT.json``."""

import importlib
import sys
from dataclasses import asdict
from pathlib import Path

from spec import read_spec, write_json

# Sides that are retop: its command does this before torch is loaded.
OURS = ("ours", "prefix")


def main() -> None:
    module, spec_file, result_file = sys.argv[1:]
    if module in OURS:
        # Keras' environment has no retop.
        importlib.import_module("retop.memory").keep_memory()
    spec = read_spec(Path(spec_file))
    result = asdict(importlib.import_module(module).run(spec))
    write_json(Path(result_file), {**result, "peak_memory_bytes": _peak_memory_bytes()})


def _peak_memory_bytes() -> int | None:
    """Of this process; the loaders' worker processes are not in it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    main()
