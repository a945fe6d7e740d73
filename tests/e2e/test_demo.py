"""The demo, with the network cut."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from retop.backbones import embedded_backbones

# Whatever would leave this process by a socket fails the run.
CUT = """
import socket, sys
def refuse(*arguments, **options):
    raise AssertionError(f"the demo reached for the network: {arguments}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
sys.argv[0] = "retop"
from retop.cli import main
main()
"""

needs_weights = pytest.mark.skipif(not embedded_backbones(), reason="this checkout has no embedded weights")


def run_without_network(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"RETOP_CACHE": str(folder / "cache"), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-c", CUT, *arguments],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )


@needs_weights
@pytest.mark.slow
def test_the_demo_runs_without_a_network(tmp_path: Path) -> None:
    ended = run_without_network(tmp_path, "demo", "--out", "out")
    assert ended.returncode == 0, ended.stderr
    for name in embedded_backbones():
        assert re.search(rf"^ *\d* *{name} ", ended.stdout, re.MULTILINE), ended.stdout
        assert (tmp_path / "out" / f"{name}-0" / "figures" / "confusion.png").is_file()
    assert "scratch" in ended.stdout
    assert f"retop compare PHOTOS --backbones {','.join(embedded_backbones())}" in ended.stdout


@needs_weights
def test_the_embedded_weights_are_fine_tuned_without_a_network(tmp_path: Path) -> None:
    """The same with one network and few images."""
    from retop.api import demo_data

    ended = run_without_network(
        tmp_path, "compare", str(demo_data()), "--backbones", embedded_backbones()[0], "--baseline", "probe",
        "--set", "data.images_per_class=5", "--epochs", "3,2", "--views", "2", "--out", "out",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert f"probe-{embedded_backbones()[0]}" in ended.stdout
