"""The main job, on images and a network that need no download.

The images are scikit-learn's 1,797 handwritten digits. The network is small and knows nothing at first: it is trained
on the digits 0 to 4, and then plays the pretrained backbone for the digits 5 to 9, of which it sees 15 each. That is
real transfer, at the size of a toy; with photographs and networks pretrained on ImageNet the steps are the same.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

import retop
from retop.cli.progress import ProgressDisplay
from retop.cli.tables import comparison_table, plan_table

PRETRAINING = {"thaw": "all", "views.count": 2, "stage1.epochs": 0, "stage2.epochs": 8, "stage2.optimiser": "adamw"}


def write_digits(folder: Path, digits: range) -> Path:
    """Write the digits as one folder of images per class."""
    data = load_digits()
    for number, (pixels, label) in enumerate(zip(data.images, data.target, strict=True)):
        if label in digits:
            path = folder / f"digit-{label}" / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 255 / 16).astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC).save(path)
    return folder


def main() -> None:
    """Pretrain, fine-tune, compare."""
    started = time.perf_counter()
    console = Console()
    place = Path(tempfile.mkdtemp(prefix="retop-demo-"))
    first, second = write_digits(place / "digits-0-4", range(5)), write_digits(place / "digits-5-9", range(5, 10))
    with ProgressDisplay(Console(stderr=True)) as listener:
        console.print("[bold]1.[/bold] Train a small network from random weights on the digits 0 to 4.")
        pretrained = retop.train(
            first, "test_resnet", weights="random", settings=PRETRAINING, out=place / "pretrained", listener=listener
        )
        console.print("[bold]2.[/bold] Fine-tune it on 15 images each of the digits 5 to 9, beside two baselines:")
        comparison = retop.compare(
            second,
            ["test_resnet"],
            weights=pretrained.recommended,
            settings={"data.images_per_class": 15, "scratch.stage2.epochs": 20},
            baselines=["probe", "scratch"],
            out=place / "comparison",
            listener=listener,
            on_plan=lambda plan, _: console.print(plan_table(plan)),
        )
    console.print(comparison_table(comparison.record))
    console.print(f"Curves and confusion matrices: {comparison.folder / 'figures'}", highlight=False)
    console.print("The same on your own photos: retop compare PHOTOS --backbones vgg16,resnet50 --baseline probe")
    console.print(f"{time.perf_counter() - started:.0f} seconds")


if __name__ == "__main__":
    main()
