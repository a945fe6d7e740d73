"""The original experiment's two mistakes made again on purpose, in real runs on its own images: are they named?

python benchmarks/original_faults.py                       mobilenetv2_100 and mobilenetv1_100 on 500 images
python benchmarks/original_faults.py --backbones inception_v3 --per-class 50

Every network is fine-tuned three times on a part of ../shared/data/cats_dogs (or RETOP_SHARED): as it should be; with
test images that another program forgets to divide by 255; and with batch norms that, in the saved model, have
statistics of images that were not divided by 255. The runs share one activation store.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from diagnosis_data import shared_folder
from diagnosis_faults import not_rescaled, spoilt_statistics
from retop.activations import ActivationStore
from retop.data import Dataset, open_dataset
from retop.diagnosis import diagnose, evidence_of
from retop.evaluation import right_answers
from retop.pipeline import RunFolder, RunRequest, Setting, run_backbone
from retop.recipe import Recipe, apply_settings, load_recipe
from retop.records import Finding, Predictions, read_finished_run
from retop.training import choose_runtime

SETTINGS = {"views.count": 2, "stage1.weight_decay": 0.3, "stage1.min_steps": 100, "stage2.epochs": 3}


def link_part(source: Path, folder: Path, per_class: dict[str, int]) -> Path:
    """Links to the first images of every class, those of each split after those of the one before."""
    for kind in sorted(path for path in (source / "train").iterdir() if path.is_dir()):
        files = iter(sorted(kind.iterdir()))
        for split, number in per_class.items():
            place = folder / split / kind.name
            place.mkdir(parents=True)
            for file in (next(files) for _ in range(number)):
                (place / file.name).symlink_to(file)
    return folder


def make_run(backbone: str, recipe: Recipe, dataset: Dataset, store: ActivationStore, folder: Path) -> Path:
    """Fine-tune one network; the folder of its run."""
    setting = Setting(choose_runtime("cpu", recipe.precision), store, "benchmarks/original_faults.py")
    request = RunRequest(backbone, str(shared_folder() / "weights"), recipe, 0)
    run_backbone(request, dataset, setting, RunFolder(folder))
    return folder


def found_in(run: Path, other: Predictions | None = None) -> Sequence[Finding]:
    """Findings above a note."""
    return [one for one in diagnose(evidence_of(read_finished_run(run), (), other)) if one.severity != "note"]


def tell(what: str, right: int, n: int, found: Sequence[Finding]) -> None:
    """One line of what happened, and the findings."""
    print(f"{what}: {right} of {n} test images right")
    for one in found:
        print(f"    {one.code} {one.severity}, {one.name}{' (suspected)' if one.suspected else ''}: {one.seen}")
    if not found:
        print("    nothing is warned of")


def main() -> None:
    """Make all runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default="mobilenetv2_100,mobilenetv1_100")
    parser.add_argument("--per-class", type=int, default=100, help="training images of each class")
    options = parser.parse_args()
    sizes = {"train": options.per_class, "validation": 75, "test": 75}
    recipe = apply_settings(load_recipe("default"), {key: json.dumps(value) for key, value in SETTINGS.items()})
    with tempfile.TemporaryDirectory(prefix="retop-original-") as place:
        root = Path(place)
        dataset = open_dataset(link_part(shared_folder() / "data" / "cats_dogs", root / "data", sizes), recipe.data)
        store = ActivationStore(root / "store")
        for backbone in options.backbones.split(","):
            print(f"\n{backbone}")
            run = make_run(backbone, recipe, dataset, store, root / f"{backbone}-right")
            record = read_finished_run(run).record
            test = record.test or record.validation
            tell("as it should be", test.num_right, test.n, found_in(run))
            other = not_rescaled(run, dataset)
            if other is not None:
                right = int(right_answers(other).sum())
                tell("test images not rescaled by another program", right, len(other.paths), found_in(run, other))
            with spoilt_statistics():
                spoilt = make_run(backbone, recipe, dataset, store, root / f"{backbone}-spoilt")
            record = read_finished_run(spoilt).record
            test = record.test or record.validation
            tell("batch norms on statistics of other images", test.num_right, test.n, found_in(spoilt))


if __name__ == "__main__":
    main()
