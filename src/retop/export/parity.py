"""The parity check: an exported file, run in its own runtime, against the model it was made from."""

# N images, K classes, H, W

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from retop.evaluation import wilson_interval
from retop.export.sample import Sample
from retop.records import Interval

Part = Literal["network", "whole"]
Precision = Literal["fp32", "fp16", "int8"]

TOLERANCE: dict[Part, float] = {"network": 1e-4, "whole": 5e-3}
"""Largest difference of a probability in float32. The whole path resizes with float sums instead of Pillow's whole
numbers, so that single pixels differ by one level."""

BATCHES = (1, 7, 64)

Answer = Callable[..., npt.NDArray[np.floating]]


@dataclass(frozen=True)
class ExportedPart:
    """A file that answers.

    Attributes:
        file: the file, or the folder of the format.
        part: ``network`` takes resized images [N, 3, H, W] and gives probabilities [N, K]; ``whole`` takes one image
            [H, W, 3] of any size, with height and width of the image as it is stored [2], and gives [1, K].
        answer: runs it in its own runtime on these inputs.
    """

    file: Path
    part: Part
    answer: Answer


@dataclass(frozen=True)
class ParityRow:
    """One line of parity.json."""

    file: str
    """Name of the file."""

    part: Part
    """``network`` or ``whole``."""

    precision: Precision
    """Arithmetic of the file."""

    n: int
    """Images."""

    largest_difference: float
    """Largest absolute difference of any probability of any image."""

    tolerance: float | None
    """What is allowed; None for fp16 and int8, which are judged by `num_lost`."""

    num_changed: int
    """Images whose most probable class is another one."""

    num_changed_clearly: int
    """Those among them whose margin in the model is above the tolerance."""

    accuracy: float | None
    """Fraction right of the model; None where the images have no labels of its classes."""

    accuracy_exported: float | None
    """Fraction right of the file."""

    num_lost: int
    """Images that the model answers rightly and the file does not, whatever it gains elsewhere; all with another class
    where the images have no labels of the model's classes."""

    lost: Interval
    """The same as a fraction of the images, with its interval: what few images leave possible."""

    allowed_drop: float | None
    """Most that fp16 and int8 may lose, as a fraction of the images; None for fp32."""

    passed: bool
    """Whether the file answers as the model does."""


def check_parity(exported: ExportedPart, sample: Sample, precision: Precision, allowed_drop: float) -> ParityRow:
    """Compare a file's answers with the model's.

    Args:
        exported: the file.
        sample: images and the model's probabilities.
        precision: fp32 is judged by the tolerance and the top class; fp16 and int8 by the answers that they lose.
        allowed_drop: fraction of the images that fp16 and int8 may lose. What is lost is counted and not set off
            against what is gained by chance: a file that answers otherwise is another model, however right.

    Returns:
        What was found.
    """
    given_nk = _answers(exported, sample)
    expected_nk = sample.reference_nk
    tolerance = TOLERANCE[exported.part] if precision == "fp32" else None
    difference = float(np.abs(given_nk - expected_nk).max()) if np.isfinite(given_nk).all() else float("inf")
    changed_n = given_nk.argmax(1) != expected_nk.argmax(1)
    top_two_nk = np.sort(expected_nk, axis=1)[:, -2:]
    clear_n = changed_n & (top_two_nk[:, 1] - top_two_nk[:, 0] > (tolerance or 0.0))
    before = after = None
    lost_n = changed_n
    if sample.labels_n is not None:
        right_n = expected_nk.argmax(1) == sample.labels_n
        lost_n = changed_n & right_n
        before, after = float(right_n.mean()), float((given_nk.argmax(1) == sample.labels_n).mean())
    if tolerance is not None:
        passed = difference <= tolerance and not clear_n.any()
    else:
        passed = np.isfinite(difference) and lost_n.mean() <= allowed_drop
    return ParityRow(
        file=exported.file.name,
        part=exported.part,
        precision=precision,
        n=len(sample),
        largest_difference=min(difference, 1e300),
        tolerance=tolerance,
        num_changed=int(changed_n.sum()),
        num_changed_clearly=int(clear_n.sum()),
        accuracy=before,
        accuracy_exported=after,
        num_lost=int(lost_n.sum()),
        lost=wilson_interval(int(lost_n.sum()), len(sample)),
        allowed_drop=None if tolerance is not None else allowed_drop,
        passed=bool(passed),
    )


def _answers(exported: ExportedPart, sample: Sample) -> npt.NDArray[np.float64]:
    if exported.part == "whole":
        return np.concatenate([np.asarray(exported.answer(*inputs), np.float64) for inputs in sample.images()])
    # Every batch size in turn, so that a graph that is right for one alone does not pass.
    given: list[npt.NDArray[np.float64]] = []
    first = 0
    while first < len(sample):
        size = BATCHES[len(given) % len(BATCHES)]
        given.append(np.asarray(exported.answer(sample.pixels_nchw[first : first + size]), np.float64))
        first += size
    return np.concatenate(given)
