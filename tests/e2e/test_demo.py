"""The demo, with the network cut."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from images import write_split_shapes
from retop.backbones import embedded_backbones

MAIN = """
import sys
sys.argv[0] = "retop"
from retop.cli import main
main()
"""
# Whatever would leave this process by a socket fails the run, even if its refusal were taken for an answer.
CUT = (
    """
import socket
def refuse(*arguments, **options):
    raise AssertionError(f"the demo reached for the network: {arguments}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""
    + MAIN
)
# Says whether there is a way out of this machine; nothing is sent.
REACH = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
# Digits as the demo treats them, in seconds.
QUICK = (
    "--baseline", "probe,scratch", "--set", "data.images_per_class=10", "--views", "1", "--set", "views.preset=none",
    "--set", "image_size=32", "--thaw", "all", "--set", "stage2.optimiser=adamw", "--set", "stage2.learning_rate=0.001",
    "--epochs", "5,3", "--set", "scratch.stage2.epochs=3",
)  # fmt: skip

needs_weights = pytest.mark.skipif(not embedded_backbones(), reason="this checkout has no embedded weights")


@cache
def isolated() -> tuple[str, ...]:
    """What a command starts with whose process, and every process that it starts, has no network interface."""
    for words in (("unshare", "-n"), ("unshare", "-r", "-n")):
        if shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return ()


def run_without_network(
    folder: Path, *arguments: str, program: str = CUT, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"RETOP_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hub"), "COLUMNS": "120"}
    return subprocess.run(
        [*isolated(), sys.executable, "-c", program, *arguments], cwd=folder, env=environment | variables, text=True,
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip


def test_no_process_of_these_tests_has_a_way_out(tmp_path: Path) -> None:
    if not isolated():
        pytest.skip("`unshare -n` is not allowed here: these tests cut Python's own sockets only")
    ended = run_without_network(tmp_path, program=REACH)
    assert "Network is unreachable" in ended.stderr


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
def test_without_a_network_the_embedded_weights_teach_what_few_images_cannot(tmp_path: Path) -> None:
    """10 images of each digit: about 73 % right after fine-tuning, and 30 % where the weights are random."""
    from retop.api import demo_data

    ended = run_without_network(
        tmp_path, "compare", str(demo_data()), "--backbones", "pocket_resnet", *QUICK, "--json", "--out", "out"
    )
    assert ended.returncode == 0, ended.stderr
    rows = {row["name"]: row["metrics"]["accuracy"]["value"] for row in json.loads(ended.stdout)["rows"]}
    assert rows["pocket_resnet"] > 0.6
    assert rows["pocket_resnet"] > rows["scratch"] + 0.1
    assert rows["probe-pocket_resnet"] > rows["scratch"]


@needs_weights
def test_a_network_that_cannot_be_had_is_not_replaced(tmp_path: Path) -> None:
    """The command asks the hub in vain, offers the pocket backbones by name, and makes nothing with another network."""
    write_split_shapes(tmp_path / "photos", 4, 2, 2)
    nowhere = {} if isolated() else {"HF_ENDPOINT": "http://127.0.0.1:9"}
    words = ("compare", "photos", "--backbones", "vgg16", "--out", "out")
    ended = run_without_network(tmp_path, *words, program=MAIN, **nowhere)
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "timm/vgg16.tv_in1k" in ended.stderr
    assert "--weights" in ended.stderr
    assert f"--backbones {','.join(embedded_backbones())}" in ended.stderr
    assert list(tmp_path.rglob("run.json")) + list(tmp_path.rglob("*.safetensors")) == []


@needs_weights
def test_a_cache_that_cannot_be_written_ends_the_demo_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from retop.cli import main

    (tmp_path / "file").touch()
    monkeypatch.setenv("RETOP_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(sys, "argv", ["retop", "demo"])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 3
    printed = capsys.readouterr().err
    assert str(tmp_path / "file" / "cache") in printed
    assert "Set RETOP_CACHE" in printed
