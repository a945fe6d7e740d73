"""A sample of images that the saved model answers as they are, and changed in ways that tell causes apart.

N images, C channels, H height, W width.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from retop.data import ImageSet
from retop.data.batches import decode_batches
from retop.predictor import Predictor
from retop.recipe import ViewsRecipe
from retop.records import SampleResult
from retop.training.probing import count_right

BATCH = 32
BORDER_FRACTION = 0.14
THUMBNAIL_PIXELS = 8
NO_AUGMENTATION = ViewsRecipe(preset="none", count=1)


class Sample:
    """Images, and the model that answers them.

    Args:
        predictor: the saved model; its batch norms may be changed, so it is of no use afterwards.
        images: that the sample is taken from.
        rows: [N] which of them.
    """

    def __init__(self, predictor: Predictor, images: ImageSet, rows: npt.NDArray[np.int64]) -> None:
        self.predictor = predictor
        self.labels_n = images.labels_n[rows]
        self.images_nchw = decode_plainly(predictor, images, rows)

    def exchange_middles(self) -> tuple[SampleResult, SampleResult] | None:
        """Answers that follow the border of images whose middle is of another class, and those that follow the middle.

        None where all images are of one class.
        """
        donor_n = other_donors(self.labels_n)
        other_n = self.labels_n[donor_n] != self.labels_n
        if not other_n.any():
            return None
        exchanged_nk = self._logits(exchange_middles(self.images_nchw, donor_n)[other_n])
        border, middle = (
            count_right(exchanged_nk, one_n[other_n]) for one_n in (self.labels_n, self.labels_n[donor_n])
        )
        return border, middle

    def reduce(self) -> SampleResult:
        """Answers to the images reduced to thumbnails and enlarged again."""
        return count_right(self._logits(_thumbnail(self.images_nchw)), self.labels_n)

    def use_batch_statistics(self) -> SampleResult:
        """Answers with batch norm on the statistics of each batch, which is not undone."""
        for module in self.predictor.classifier.modules():
            if isinstance(module, _BatchNorm):
                module.train()
                # Nothing is learned from the batch.
                module.momentum = 0.0
        return count_right(self._logits(self.images_nchw), self.labels_n)

    def _logits(self, images_nchw: torch.Tensor) -> npt.NDArray[np.float32]:
        return np.concatenate([self.predictor.logits(part) for part in in_batches(images_nchw)])


def has_batch_norm(predictor: Predictor) -> bool:
    """Whether there are statistics to exchange."""
    return any(isinstance(module, _BatchNorm) for module in predictor.classifier.modules())


def decode_plainly(predictor: Predictor, images: ImageSet, rows: npt.NDArray[np.int64]) -> torch.Tensor:
    """Images as the model sees them in evaluation.

    Args:
        predictor: whose preprocessing is used.
        images: that they are taken from.
        rows: [N] which of them.

    Returns:
        [N, 3, H, W] uint8.
    """
    preprocessing = predictor.trained.preprocessing
    return torch.cat(list(decode_batches(images, rows, np.zeros_like(rows), preprocessing, NO_AUGMENTATION, BATCH)))


def in_batches(images_nchw: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Batches of equal size: a batch of one would be normalised by itself."""
    return torch.tensor_split(images_nchw, max(1, round(len(images_nchw) / BATCH)))


def other_donors(labels_n: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For every image another one, of another class unless a class has more than half of the images.

    Args:
        labels_n: [N].

    Returns:
        [N] places; each occurs once.
    """
    order, donor_n = np.argsort(labels_n, kind="stable"), np.empty(len(labels_n), dtype=np.int64)
    donor_n[order] = np.roll(order, int(np.bincount(labels_n).max()))
    return donor_n


def exchange_middles(images_nchw: torch.Tensor, donor_n: npt.NDArray[np.int64]) -> torch.Tensor:
    """Give every image the middle of another one; its border stays.

    Args:
        images_nchw: [N, C, H, W].
        donor_n: [N] whose middle each gets.
    """
    height, width = images_nchw.shape[2:]
    top, left = max(1, round(BORDER_FRACTION * height)), max(1, round(BORDER_FRACTION * width))
    middle = slice(None), slice(None), slice(top, height - top), slice(left, width - left)
    exchanged = images_nchw.clone()
    exchanged[middle] = images_nchw[torch.from_numpy(donor_n)][middle]
    return exchanged


def _thumbnail(images_nchw: torch.Tensor) -> torch.Tensor:
    small = functional.interpolate(images_nchw.float(), size=(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), mode="area")
    large = functional.interpolate(small, size=images_nchw.shape[2:], mode="bicubic", align_corners=False)
    return large.round().clamp(0, 255).to(torch.uint8)
