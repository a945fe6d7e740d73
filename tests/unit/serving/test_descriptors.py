"""Connections are as many as are wanted, where the system lets us open as many files."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from retop.serving.descriptors import USED_DESCRIPTORS, open_files

WANTED = 60
CODE = f"""
from retop.serving.descriptors import most_connections
from retop.serving.limits import Limits
print(most_connections(Limits(waiting_images={WANTED // 2}, images=1, idle_connections={WANTED // 2})))
"""


@pytest.mark.parametrize(("hard", "most"), [(400, range(WANTED, WANTED + 1)), (100, range(8, WANTED))])
def test_a_soft_limit_is_raised_as_far_as_the_hard_one_allows(hard: int, most: range) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (90, hard))

    done = subprocess.run(
        [sys.executable, "-c", CODE], preexec_fn=limit, capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) in most


def test_where_open_files_are_not_listed_a_number_is_assumed(tmp_path: Path) -> None:
    assert 3 <= open_files() < 1000
    assert open_files(tmp_path / "missing") == USED_DESCRIPTORS
