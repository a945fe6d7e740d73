"""constraints.txt pins what is installed, down to the last library."""

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
# torch pins these itself, and only for CUDA.
OF_TORCH = ("nvidia-", "cuda-", "triton")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needs(name: str) -> list[str]:
    try:
        needed = [Requirement(text) for text in requires(name) or ()]
    except PackageNotFoundError:
        return []
    return [normal(one.name) for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]


def test_what_a_pinned_library_needs_is_pinned_too() -> None:
    lines = [line for line in CONSTRAINTS.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    pinned = {normal(line.split("==")[0]) for line in lines}
    assert all("==" in line and "://" not in line for line in lines)
    loose = {other for name in pinned for other in needs(name) if not other.startswith(OF_TORCH)} - pinned
    assert not loose
