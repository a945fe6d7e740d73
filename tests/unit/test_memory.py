"""Freed memory stays with the process until it is given back."""

import os
import subprocess
import sys

import pytest

# Not zeros: Linux may take back large pages that hold hardly anything else.
RESIDENT = """
import resource, sys
from retop.memory import give_back, keep_memory
if sys.argv[1] == "kept":
    keep_memory()
import torch
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20
before = resident()
held = [torch.ones(24 * 2**20, dtype=torch.uint8) for _ in range(3)]
print(resident() - before)
del held
print(resident() - before)
give_back()
print(resident() - before)
"""
HELD = 72


def resident(how: str) -> list[int]:
    """MiB of 72 that the process has while it holds them, after it freed them, and after it gave them back."""
    # These tests may have set it in their own process already.
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    command = [sys.executable, "-c", RESIDENT, how]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return list(map(int, run.stdout.split()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of the GNU C library")
def test_kept_memory_stays_until_it_is_given_back() -> None:
    held, freed, given = resident("kept")
    assert min(held, freed) >= HELD > 2 * given


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of the GNU C library")
def test_memory_is_not_kept_by_default() -> None:
    held, freed, _ = resident("default")
    assert held >= HELD > 2 * freed
