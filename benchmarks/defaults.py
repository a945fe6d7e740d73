"""Are the defaults right? Default recipe against the probe, for several sizes of data and numbers of views.

    python benchmarks/defaults.py --weights ../shared/weights --data cats_dogs=../shared/data/cats_dogs/train \
        --data flowers=../shared/data/flowers

Each data set is a folder of class folders. 100 images of each class are for validation, 100 for the test, and the
smaller training sets lie within the larger. Everything is kept in the results file, and what it holds is not run again.
"""

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware import describe_hardware
from retop.memory import keep_memory
from spec import write_json

HERE = Path(__file__).resolve().parent
PER_CLASS = (20, 100, 500)
VIEWS = (1, 4, 8)
HELD_OUT = 100


@dataclass(frozen=True)
class Cell:
    """One comparison: a network on a data set with so many training images of each class and so many views."""

    data: str
    images_per_class: int
    backbone: str
    views: int

    @property
    def name(self) -> str:
        """For folders and the results file."""
        return f"{self.data}-{self.images_per_class}-{self.backbone}-v{self.views}"


def main() -> None:
    keep_memory()
    chosen = _arguments()
    results = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    results.setdefault("hardware", vars(describe_hardware()))
    cells = results.setdefault("cells", {})
    sources = dict(text.split("=", 1) for text in chosen.data)
    with tempfile.TemporaryDirectory(prefix="retop-defaults-") as scratch:
        for cell in _cells(sources, chosen):
            if cell.name not in cells:
                folder = _lay_out(Path(sources[cell.data]), cell, Path(scratch))
                cells[cell.name] = vars(cell) | _measure(cell, folder, chosen, Path(scratch), _probe(cell, cells))
                write_json(chosen.out, results)
            print(_line(cells[cell.name]), flush=True)


def _cells(sources: dict[str, str], chosen: argparse.Namespace) -> Iterator[Cell]:
    for per_class in chosen.per_class:
        for data in sources:
            for backbone in chosen.backbones or sorted(path.name for path in chosen.weights.iterdir()):
                for views in sorted(chosen.views, reverse=True):
                    yield Cell(data, per_class, backbone, views)


def _lay_out(source: Path, cell: Cell, scratch: Path) -> Path:
    """A folder with train/, validation/ and test/ of links; who goes where follows from the files' contents."""
    folder = scratch / f"{cell.data}-{cell.images_per_class}"
    if folder.exists():
        return folder
    for label in sorted(path for path in source.iterdir() if path.is_dir()):
        by_content = {hashlib.sha256(file.read_bytes()).hexdigest(): file for file in sorted(label.iterdir())}
        files = [by_content[digest] for digest in sorted(by_content)]
        ends = (HELD_OUT, 2 * HELD_OUT, 2 * HELD_OUT + cell.images_per_class)
        for split, start, end in zip(("validation", "test", "train"), (0, *ends), ends, strict=False):
            target = folder / split / label.name
            target.mkdir(parents=True)
            for file in files[start:end]:
                os.link(file, target / file.name) if _same_disk(file, target) else _copy(file, target / file.name)
    return folder


def _same_disk(file: Path, folder: Path) -> bool:
    return file.stat().st_dev == folder.stat().st_dev


def _copy(file: Path, target: Path) -> None:
    target.write_bytes(file.read_bytes())


def _probe(cell: Cell, cells: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """What the probe reached in a cell that differs in views alone: it looks at view 0."""
    same = (
        other
        for other in cells.values()
        if all(other[key] == vars(cell)[key] for key in ("data", "images_per_class", "backbone"))
    )
    return next(({key: other[key] for key in ("probe_validation", "probe_test")} for other in same), None)


def _measure(
    cell: Cell, folder: Path, chosen: argparse.Namespace, scratch: Path, probe: dict[str, float] | None
) -> dict[str, Any]:
    import retop

    comparison = retop.compare(
        folder,
        [cell.backbone],
        weights=chosen.weights,
        settings={"views.count": cell.views, "isolating_tests": False},
        seeds=chosen.seeds,
        baselines=[] if probe else ["probe"],
        out=scratch / "runs" / cell.name,
        cache=scratch / "cache",
    )
    runs = [json.loads(path.read_text()) for path in sorted(comparison.folder.glob("*/run.json"))]
    tuned = [run for run in runs if run["kind"] == "fine-tuned"]
    for run in runs:
        if run["kind"] == "probe":
            probe = {f"probe_{split}": run[split]["accuracy"]["value"] for split in ("validation", "test")}
    return {
        "seeds": len(tuned),
        "num_validation": tuned[0]["validation"]["n"],
        "num_test": tuned[0]["test"]["n"],
        **(probe or {}),
        "stage1_validation": [run["stages"][0]["validation_accuracy"] for run in tuned],
        "stage2_validation": [run["stages"][-1]["validation_accuracy"] for run in tuned],
        "test": [run["test"]["accuracy"]["value"] for run in tuned],
        "stages": [run["stages"] for run in tuned],
        "seconds": {timing["part"]: timing["seconds"] for timing in tuned[0]["timings"]},
        "planned_seconds": {timing["part"]: timing["planned_seconds"] for timing in tuned[0]["timings"]},
    }


def _line(cell: dict[str, Any]) -> str:
    def mean(name: str) -> str:
        return f"{100 * sum(cell[name]) / len(cell[name]):.1f}"

    return (
        f"| {cell['data']} | {cell['images_per_class']} | {cell['backbone']} | {cell['views']} | "
        f"{100 * cell['probe_validation']:.1f} | {mean('stage1_validation')} | {mean('stage2_validation')} | "
        f"{100 * cell['probe_test']:.1f} | {mean('test')} |"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="NAME=FOLDER of class folders; repeatable")
    parser.add_argument("--weights", type=Path, required=True, help="folder with one folder per network")
    parser.add_argument("--backbones", type=lambda text: text.split(","), help="default: all in --weights")
    parser.add_argument("--per-class", type=_numbers, default=PER_CLASS, help="training images of each class")
    parser.add_argument("--views", type=_numbers, default=VIEWS, help="numbers of views")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "defaults.json")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    main()
