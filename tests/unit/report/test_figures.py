"""Figures are written for every kind of run, and repeat themselves."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from example_records import contender, write_comparison
from retop.errors import RunError
from retop.report import write_comparison_figures, write_run_figures


def check(paths: tuple[Path, ...], names: list[str]) -> None:
    assert [path.name for path in paths] == [f"{name}.{ending}" for name in names for ending in ("png", "svg")]
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert min(image.size) > 200
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_run_and_comparison_leave_their_figures(tmp_path: Path) -> None:
    contenders = [
        contender("a", n=40, seeds=2),
        contender("scratch", "scratch", n=40),
        contender("probe-a", "probe", n=40),
    ]
    write_comparison(tmp_path, contenders)
    check(write_comparison_figures(tmp_path), ["ranking", "curves", "confusion"])
    check(write_run_figures(tmp_path / "a-0"), ["curves", "confusion"])
    check(write_run_figures(tmp_path / "probe-a-0"), ["confusion"])


def test_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    write_comparison(tmp_path, [contender("a", n=40)])
    first = [path.read_bytes() for path in write_run_figures(tmp_path / "a-0")]
    assert first == [path.read_bytes() for path in write_run_figures(tmp_path / "a-0")]


@pytest.mark.parametrize(
    "classes",
    [("猫", "$5 $6"), tuple(f"class {k} with quite a long name" for k in range(40))],
    ids=["other scripts and dollars", "many"],
)
def test_class_names_of_any_kind_are_drawn_without_warnings(tmp_path: Path, classes: tuple[str, ...]) -> None:
    write_comparison(tmp_path, [contender("a", n=80, classes=classes)])
    check(write_run_figures(tmp_path / "a-0"), ["curves", "confusion"])


def test_folder_without_records_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json"):
        write_run_figures(tmp_path)
    with pytest.raises(RunError, match=r"comparison\.json"):
        write_comparison_figures(tmp_path)
