"""Crops of stored images: the same as Pillow's, drawn anew in every epoch."""

import numpy as np
import pytest
import torch
from PIL import Image

from images import SHAPES, draw_shape
from retop.pipeline.frozen import HeldInputs
from retop.recipe import ViewsRecipe
from retop.training import CroppedInputs
from retop.training.crops import draw_boxes, random_crops


@pytest.fixture(scope="module")
def images_nchw() -> torch.Tensor:
    pixels = np.stack([np.asarray(draw_shape(name, seed)) for seed in range(3) for name in SHAPES])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def crops_of(
    images_nchw: torch.Tensor, recipe: ViewsRecipe, num_epochs: int, epoch: int, seed: int = 0
) -> torch.Tensor:
    inputs = CroppedInputs(HeldInputs(images_nchw), recipe, num_epochs, seed)
    rows = np.arange(len(inputs))
    views = inputs.views(seed, 2, epoch) if epoch else np.zeros(len(inputs), dtype=np.int64)
    return torch.cat([tensors[0] for _, tensors in inputs.batches(rows, views, 4)])


def fresh(*sides: float) -> ViewsRecipe:
    return ViewsRecipe(preset="fresh", count=1, sides=sides)


def test_crops_equal_those_of_pillow(images_nchw: torch.Tensor) -> None:
    crops = random_crops(images_nchw, 1.0, np.random.default_rng(5))
    boxes = draw_boxes(len(images_nchw), np.random.default_rng(5))
    for image_chw, crop_chw, box in zip(images_nchw, crops, boxes, strict=True):
        scale_x, scale_y, centre_x, centre_y = (float(box[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
        left, right = (32 * (1 + centre_x + sign * abs(scale_x)) for sign in (-1, 1))
        upper, lower = (32 * (1 + centre_y + sign * scale_y) for sign in (-1, 1))
        assert -1e-4 < left < right < 64 + 1e-4
        assert -1e-4 < upper < lower < 64 + 1e-4
        pillow = Image.fromarray(image_chw.permute(1, 2, 0).numpy()).resize(
            (64, 64), Image.Resampling.BILINEAR, box=(max(left, 0), max(upper, 0), min(right, 64), min(lower, 64))
        )
        expected = np.asarray(pillow.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if scale_x < 0 else pillow)
        difference = np.abs(crop_chw.permute(1, 2, 0).numpy().astype(int) - expected)
        # Pillow does not look beyond the box, so the outermost pixels may differ.
        assert difference[2:-2, 2:-2].max() <= 2


def test_half_of_the_crops_are_mirrored_and_all_cover_a_third_of_the_image() -> None:
    boxes = draw_boxes(4000, np.random.default_rng(0)).double()
    width, height = boxes[:, 0, 0].abs(), boxes[:, 1, 1]
    assert 0.45 < (boxes[:, 0, 0] < 0).double().mean() < 0.55
    assert (width * height).min() > 0.34
    assert max(width.max(), height.max()) <= 1


def test_sides_follow_the_epochs_and_evaluation_has_the_stored_image(images_nchw: torch.Tensor) -> None:
    recipe = fresh(0.5, 0.75, 1.0)
    assert [crops_of(images_nchw, recipe, 6, epoch).shape[-1] for epoch in range(1, 7)] == [32, 32, 48, 48, 64, 64]
    assert torch.equal(crops_of(images_nchw, recipe, 6, 0), images_nchw)


def test_an_epoch_has_its_own_crops_and_always_the_same(images_nchw: torch.Tensor) -> None:
    first = crops_of(images_nchw, fresh(1.0), 2, 1)
    assert torch.equal(first, crops_of(images_nchw, fresh(1.0), 2, 1))
    inputs = CroppedInputs(HeldInputs(images_nchw), fresh(1.0), 2, 0)
    rows = np.arange(len(inputs))
    resumed = [tensors[0] for _, tensors in inputs.batches(rows, np.ones_like(rows), 4, first=1)]
    assert torch.equal(torch.cat(resumed), first[-sum(map(len, resumed)) :])
    for other in (crops_of(images_nchw, fresh(1.0), 2, 2), crops_of(images_nchw, fresh(1.0), 2, 1, seed=1)):
        assert not torch.equal(first, other)
