"""Freed memory stays with the process."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
if sys.argv[1] == "kept":
    from retop.memory import keep_memory
    keep_memory()
import torch
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def allocate():
    # Not zeros: Linux may take back large pages that hold hardly anything else.
    for size in (2**22, 2**24): torch.ones(size, dtype=torch.uint8)
allocate()
for _ in range(11):
    before = faults()
    allocate()
    print(faults() - before)
"""


def page_faults(how: str) -> list[int]:
    """Of each round of 20 MiB."""
    # These tests may have set it in their own process already.
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    command = [sys.executable, "-c", FAULTS, how]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return list(map(int, run.stdout.split()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of the GNU C library")
def test_kept_memory_is_not_asked_for_again() -> None:
    kept, default = page_faults("kept"), page_faults("default")
    # Under pressure the system may take pages back once, whoever keeps them.
    assert sum(kept) - max(kept) < sum(default) / 4
    assert sum(default) - max(default) > sum(default) / 4
