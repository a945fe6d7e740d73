"""What pretraining is worth: a pocket backbone fine-tuned from its embedded weights against random ones.

python pretraining/worth.py DATA --images-per-class 50 --backbones pocket_vgg,pocket_resnet --seeds 3 --out FOLDER
python pretraining/worth.py DATA --images-per-class 500 --split 45/15/40 --seeds 3 --out FOLDER

Both start from the same images and split. The random start trains all layers long, with the recipe of the baseline
`scratch`; the pretrained start has the default recipe. Prints test accuracies, their difference in points with a 95 %
interval (bootstrap over seeds and images, paired), and writes both comparisons to FOLDER.
"""

import argparse
from pathlib import Path

import numpy as np

import retop
from retop.evaluation.resampling import NUM_RESAMPLES, Right, SeedsAndImages
from retop.pipeline import scratch_request
from retop.recipe import Recipe, load_recipe
from retop.records import read_predictions


def main() -> None:
    """Run both comparisons for each backbone and print one line each."""
    arguments = read_arguments()
    for backbone in arguments.backbones.split(","):
        starts = {"pretrained": (None, load_recipe("default")), "random": ("random", random_recipe())}
        folders = {
            start: retop.train(
                arguments.data,
                backbone,
                weights=weights,
                recipe=recipe,
                settings={"data.images_per_class": arguments.images_per_class, "data.split": arguments.split},
                seeds=arguments.seeds,
                out=arguments.out / f"{backbone}-{arguments.images_per_class}-{start}",
            ).folder
            for start, (weights, recipe) in starts.items()
        }
        right = {start: right_answers(folder, backbone, arguments.seeds) for start, folder in folders.items()}
        difference, low, high = interval(right["pretrained"], right["random"])
        accuracies = {start: float(answers.mean()) for start, answers in right.items()}
        print(
            f"{backbone}, {arguments.images_per_class} per class: pretrained {accuracies['pretrained']:.1%}, random "
            f"{accuracies['random']:.1%}, {difference:+.1f} points ({low:+.1f} to {high:+.1f}), "
            f"n = {right['random'].shape[1]}, {arguments.seeds} seeds",
            flush=True,
        )


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images-per-class", type=int, default=50)
    parser.add_argument("--split", default="70/15/15", help="shares of train, validation and test of an unsplit folder")
    parser.add_argument("--backbones", default="pocket_vgg,pocket_resnet,pocket_xception,pocket_inception")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def random_recipe() -> Recipe:
    """The default recipe as the baseline `scratch` changes it."""
    return scratch_request(load_recipe("default"), 0).recipe


def right_answers(folder: Path, backbone: str, num_seeds: int) -> Right:
    """Whether each test image was classified right: bool [seeds, images]."""
    return np.stack([_right(folder / f"{backbone}-{seed}") for seed in range(num_seeds)])


def interval(first: Right, second: Right) -> tuple[float, float, float]:
    """Difference in accuracy, in points, and its 95 % interval over seeds and images."""
    difference = SeedsAndImages((first, second), (1.0, -1.0))
    margin = difference.quantile(0.95) * difference.standard_error(NUM_RESAMPLES, seed=0)
    return tuple(100 * (difference.value + side * margin) for side in (0, -1, 1))


def _right(run: Path) -> Right:
    predictions = read_predictions(run / "predictions.parquet", "test")
    return predictions.logits_nk.argmax(1) == predictions.labels_n


if __name__ == "__main__":
    main()
