"""Seconds that parts of a run take, told from counts: a clock would make runs of one recipe differ.

They are those of one core of machine A (docs/log.md), rounded: however many threads there are, they change no finding.
What isolating tests do is counted dearly and what only training does cheaply, so that a share of these seconds is less
of those that pass.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retop.records import GroupRecord, Preprocessing, StageRecord
from retop.training.stages import PENALTIES_C
from retop.training.step_size import NUM_STEPS

CORE_FLOPS, ACCELERATOR_FLOPS = 4e10, 5e12
"""A second of a core in a network, and of an accelerator."""
FIT_FLOPS, FIT_SECONDS, FIT_ITERATIONS = 8e9, 0.015, 55
"""A second in a logistic regression; what any takes; and how often features pass."""
DECODED_SECONDS, DECODED_PIXEL_SECONDS, CHANGED_PIXEL_SECONDS = 2e-4, 3e-8, 1.2e-7
"""Of an image that is decoded; and of each pixel of the network's input: to decode it, and to change it."""
PASSED_PIXEL_SECONDS = 2e-7
"""Of each pixel that passes: first layers wait for memory, which small networks do most of the time."""
BATCH_SECONDS = 2e-3
"""Of a batch that only passes, beside its operations."""
STEP_SECONDS = {1: 1.2e-3, 2: 5e-3}
"""Of a training step beside its operations, by stage; in stage 1 they do not count."""
JUDGING_SECONDS = 3e-3
"""Of an epoch of stage 1, to judge it."""
FIXED_SECONDS = 0.8
"""Of any run: the network is built, saved and opened again."""
BACKWARD = 3
"""A training step costs as much as three passes forward."""


@dataclass(frozen=True)
class Costs:
    """What is known of a run's network and machine.

    Attributes:
        groups: of the network, from stem to last stage.
        preprocessing: of its images.
        accelerated: whether networks run on an accelerator.
    """

    groups: Sequence[GroupRecord]
    preprocessing: Preprocessing
    accelerated: bool

    def passing(self, num_images: int, batch_size: int) -> float:
        """Of images that pass the network.

        Args:
            num_images: N.
            batch_size: of which so many pass at once.
        """
        waiting = 0.0 if self.accelerated else num_images * self._pixels * PASSED_PIXEL_SECONDS
        batches = math.ceil(num_images / batch_size)
        return self._computing(num_images, self.groups) + waiting + batches * BATCH_SECONDS

    def decoding(self, num_images: int) -> float:
        """Of images that are decoded and brought to the network's size."""
        return num_images * (DECODED_SECONDS + self._pixels * DECODED_PIXEL_SECONDS)

    def changing(self, num_images: int) -> float:
        """Of images of the network's size that are made to others."""
        return num_images * self._pixels * CHANGED_PIXEL_SECONDS

    @property
    def _pixels(self) -> int:
        return self.preprocessing.height * self.preprocessing.width

    def training(self, stage: StageRecord, num_frozen: int, sizes: tuple[int, int], batch_size: int) -> float:
        """Of a stage.

        Args:
            stage: that was trained.
            num_frozen: groups that stage 2 did not train.
            sizes: number of training images, and of images that an epoch is judged by.
            batch_size: of the stage.
        """
        num_train, num_judged = sizes
        searched = NUM_STEPS if stage.learning_rate_chosen_by == "range test" else 0
        steps = (stage.epochs_run * math.ceil(num_train / batch_size) + searched) * STEP_SECONDS[stage.stage]
        if stage.stage == 1:
            attempts = len(PENALTIES_C) if stage.weight_decay_chosen_by == "validation" else 1
            return attempts * (steps + stage.epochs_run * JUDGING_SECONDS)
        passes = stage.epochs_run * (BACKWARD * num_train + num_judged)
        return steps + self._computing(passes, self.groups[num_frozen:])

    def _computing(self, num_images: int, groups: Sequence[GroupRecord]) -> float:
        each_second = ACCELERATOR_FLOPS if self.accelerated else CORE_FLOPS
        return num_images * sum(group.flops for group in groups) / each_second


def fit_seconds(num_fits: int, num_images: int, num_features: int, num_classes: int) -> float:
    """Of logistic regressions on so many images each."""
    flops = 4.0 * FIT_ITERATIONS * num_images * num_features * num_classes
    return num_fits * (FIT_SECONDS + flops / FIT_FLOPS)
