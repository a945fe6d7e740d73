"""Freed memory stays with the process, and large tensors come in large pages."""

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
    for size in (2**22, 2**24, 2**26): torch.zeros(size, dtype=torch.uint8)
allocate()
before = faults()
for _ in range(10): allocate()
print(faults() - before)
"""


def page_faults(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of the GNU C library")
def test_kept_memory_is_not_asked_for_again() -> None:
    assert page_faults("kept") < page_faults("default") / 4
