"""The original experiment's two mistakes made again on purpose, in real runs on its own images: are they named?

python benchmarks/original_faults.py                       four networks, three draws of 500 images each
python benchmarks/original_faults.py --backbones mobilenetv2_035 --draws 1 --out FILE

Every network is fine-tuned on a part of ../shared/data/cats_dogs (or RETOP_SHARED) as it should be, and the test images
are answered again by a program that forgets to divide them by 255. Then once more, with batch norms that, in the saved
model, have statistics of images that were not divided by 255. The runs of a draw share one activation store.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from diagnosis_data import shared_folder
from diagnosis_faults import not_rescaled, spoilt_statistics
from hardware import describe_hardware
from processes import HERE
from retop.activations import ActivationStore
from retop.data import Dataset, open_dataset
from retop.diagnosis import diagnose, evidence_of
from retop.evaluation import right_answers
from retop.pipeline import RunFolder, RunRequest, Setting, run_backbone
from retop.recipe import Recipe, apply_settings, load_recipe
from retop.records import Finding, Predictions, read_finished_run
from retop.training import choose_runtime

SETTINGS = {"views.count": 2, "stage1.weight_decay": 0.3, "stage1.min_steps": 100, "stage2.epochs": 3}


def link_part(source: Path, folder: Path, per_class: dict[str, int], draw: int) -> Path:
    """Links to images of every class, drawn at random, those of each split after those of the one before."""
    for kind in sorted(path for path in (source / "train").iterdir() if path.is_dir()):
        files = iter(np.random.default_rng(draw).permutation(sorted(map(str, kind.iterdir()))))
        for split, number in per_class.items():
            place = folder / split / kind.name
            place.mkdir(parents=True)
            for file in (Path(next(files)) for _ in range(number)):
                (place / file.name).symlink_to(file)
    return folder


def make_run(backbone: str, draw: int, recipe: Recipe, dataset: Dataset, store: ActivationStore, folder: Path) -> Path:
    """Fine-tune one network; the folder of its run."""
    setting = Setting(choose_runtime("cpu", recipe.precision), store, "benchmarks/original_faults.py")
    request = RunRequest(backbone, str(shared_folder() / "weights"), recipe, draw)
    run_backbone(request, dataset, setting, RunFolder(folder))
    return folder


def found_in(run: Path, other: Predictions | None = None) -> Sequence[Finding]:
    """Findings above a note."""
    return [one for one in diagnose(evidence_of(read_finished_run(run), (), other)) if one.severity != "note"]


def tell(what: str, right: int, n: int, found: Sequence[Finding]) -> dict[str, Any]:
    """Print what happened and the findings; the same as a row of the results."""
    print(f"  {what}: {right} of {n} test images right", flush=True)
    for one in found:
        print(f"    {one.code} {one.severity}, {one.name}{' (suspected)' if one.suspected else ''}: {one.seen}")
    if not found:
        print("    nothing is warned of")
    codes = [f"{one.code}{' (suspected)' if one.suspected else ''}" for one in found]
    return {"what": what, "right": right, "n": n, "findings": codes}


def make_draw(backbone: str, draw: int, dataset: Dataset, root: Path) -> list[dict[str, Any]]:
    """One network on one draw of images: as it should be, and with each mistake."""
    recipe = apply_settings(load_recipe("default"), {key: json.dumps(value) for key, value in SETTINGS.items()})
    store = ActivationStore(root / "store")
    run = make_run(backbone, draw, recipe, dataset, store, root / f"{backbone}-right")
    test = read_finished_run(run).record.test
    other = not_rescaled(run, dataset)
    assert test is not None and other is not None
    rows = [tell("as it should be", test.num_right, test.n, found_in(run))]
    right = int(right_answers(other).sum())
    rows.append(tell("test images not rescaled by another program", right, len(other.paths), found_in(run, other)))
    with spoilt_statistics():
        spoilt = make_run(backbone, draw, recipe, dataset, store, root / f"{backbone}-spoilt")
    test = read_finished_run(spoilt).record.test
    assert test is not None
    rows.append(tell("batch norms on statistics of other images", test.num_right, test.n, found_in(spoilt)))
    return [{"backbone": backbone, "draw": draw, **row} for row in rows]


def main() -> None:
    """Make all runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default="mobilenetv1_100,mobilenetv2_035,mobilenetv2_100,inception_v3")
    parser.add_argument("--per-class", type=int, default=100, help="training images of each class")
    parser.add_argument("--draws", type=int, default=3, help="draws of images, each with a seed of its own")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "original-faults.json")
    options = parser.parse_args()
    sizes = {"train": options.per_class, "validation": 75, "test": 75}
    rows: list[dict[str, Any]] = []
    for draw in range(options.draws):
        with tempfile.TemporaryDirectory(prefix="retop-original-") as place:
            folder = link_part(shared_folder() / "data" / "cats_dogs", Path(place) / "data", sizes, draw)
            dataset = open_dataset(folder, load_recipe("default").data)
            for backbone in options.backbones.split(","):
                print(f"{backbone}, draw {draw}", flush=True)
                rows += make_draw(backbone, draw, dataset, Path(place))
                about = {
                    "date": str(date.today()),
                    "images": sizes,
                    "settings": SETTINGS,
                    "packages": {name: version(name) for name in ("retop", "torch", "timm", "numpy", "scipy")},
                    "hardware": asdict(describe_hardware()),
                }
                options.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
