"""Random crops and flips of stored images, drawn anew in every epoch on whole batches."""

# N images of a batch, H height, W width

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from retop.data.augmentation import CROP_AREA, CROP_RATIO
from retop.recipe import ViewsRecipe
from retop.training.inputs import Inputs, Tensors
from retop.training.order import Rows, derive_seed


class CroppedInputs:
    """Crops of stored images: for a network that is trained whole, where nothing but pixels can be stored.

    View 0 is the stored image itself, view e a crop of epoch e.

    Args:
        pixels: images [N, 3, H, W] uint8.
        recipe: seed of the crops, and their sides over the epochs.
        num_epochs: epochs of the stage.
        seed: of the run.
    """

    def __init__(self, pixels: Inputs, recipe: ViewsRecipe, num_epochs: int, seed: int) -> None:
        self._pixels = pixels
        self._recipe = recipe
        self._num_epochs = num_epochs
        self._seed = seed

    def __len__(self) -> int:
        return len(self._pixels)

    def views(self, seed: int, stage: int, epoch: int) -> Rows:
        """The epoch's own view of every image."""
        return np.full(len(self), epoch, dtype=np.int64)

    def batches(self, rows: Rows, views: Rows, batch_size: int, first: int = 0) -> Iterator[tuple[Rows, Tensors]]:
        """See `Inputs.batches`; all images of a call have one view."""
        epoch = int(views[0])
        pixels = self._pixels.batches(rows, np.zeros_like(views), batch_size, first)
        for number, (part, (images_nchw,)) in enumerate(pixels, first):
            if epoch > 0:
                drawn = derive_seed("crops", self._recipe.seed, self._seed, epoch, number)
                images_nchw = random_crops(images_nchw, self.side(epoch), np.random.default_rng(drawn))
            yield part, (images_nchw,)

    def side(self, epoch: int) -> float:
        """Side of the crops of an epoch, counted from 1, as a fraction of the stored side.

        Source: Howard, fast.ai's DAWNBench entry, 2018 (progressive resizing).
        """
        sides = self._recipe.sides
        return sides[min(len(sides) - 1, (epoch - 1) * len(sides) // self._num_epochs)]


def random_crops(images_nchw: torch.Tensor, side: float, generator: np.random.Generator) -> torch.Tensor:
    """A random resized crop of every image, half of them mirrored.

    Crops cover 35 to 100 % of the area at an aspect of 3:4 to 4:3, as in the preset ``standard``; they are resampled
    bilinearly.

    Args:
        images_nchw: [N, 3, H, W] uint8.
        side: of the result, as a fraction of the side of the images.
        generator: source of the crops.

    Returns:
        [N, 3, H * side, W * side] uint8, channels last.
    """
    num_images, _, height, width = images_nchw.shape
    size = [num_images, 3, max(1, round(height * side)), max(1, round(width * side))]
    boxes = draw_boxes(num_images, generator).to(images_nchw.device)
    grid = functional.affine_grid(boxes, size, align_corners=False)
    crops = functional.grid_sample(images_nchw.float(), grid, padding_mode="border", align_corners=False)
    return crops.round_().to(torch.uint8).contiguous(memory_format=torch.channels_last)


def draw_boxes(num_images: int, generator: np.random.Generator) -> torch.Tensor:
    """Maps [N, 2, 3] from crop to image, both from -1 to 1."""
    area = generator.uniform(*CROP_AREA, num_images)
    ratio = np.exp(generator.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1]), num_images))
    width, height = np.minimum(np.sqrt(area * ratio), 1), np.minimum(np.sqrt(area / ratio), 1)
    boxes = np.zeros((num_images, 2, 3), dtype=np.float32)
    boxes[:, 0, 0] = width * np.where(generator.random(num_images) < 0.5, -1, 1)
    boxes[:, 1, 1] = height
    boxes[:, 0, 2] = generator.uniform(-1, 1, num_images) * (1 - width)
    boxes[:, 1, 2] = generator.uniform(-1, 1, num_images) * (1 - height)
    return torch.from_numpy(boxes)
