import inspect
import itertools

import numpy as np
import pytest
import timm.data
from PIL import Image

from retop.data import augmented_view, decode_image, evaluation_view, preprocess_bytes, view_of
from retop.data.augmentation import draw_generator
from retop.data.decoding import full_size
from retop.data.resampling import resampling_filter
from retop.data.views import _crop_centre, _resized, shorter_side
from retop.recipe import ViewsRecipe

from .pictures import encoded, picture, preprocessing

CONTENT = "ab" * 32


def timm_pixels(image, wanted):
    transform = timm.data.create_transform(
        (3, wanted.height, wanted.width),
        is_training=False,
        interpolation=wanted.interpolation,
        crop_pct=wanted.crop_fraction,
        crop_mode=wanted.crop_mode,
        mean=wanted.mean,
        std=wanted.std,
        normalize=False,
    )
    return transform(image).permute(1, 2, 0).numpy()


SIZES = [(500, 375), (375, 500), (301, 299), (224, 224), (256, 256), (255, 257), (37, 411), (411, 37), (20, 20), (1, 1)]
SETTINGS = [
    ((224, 224), 0.875, "bicubic"),
    ((299, 299), 0.897, "bicubic"),
    ((224, 224), 1.0, "bilinear"),
    ((64, 64), 0.95, "lanczos"),
    ((97, 97), 0.9, "nearest"),
    ((96, 160), 0.875, "bicubic"),
    ((160, 96), 1.0, "hamming"),
    ((128, 128), 0.5, "box"),
]


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("size", "crop", "interpolation"), SETTINGS)
def test_evaluation_view_equals_timm_on_every_pixel(mode, size, crop, interpolation):
    wanted = preprocessing(*size, crop, mode, interpolation)
    for n, (width, height) in enumerate(SIZES):
        # timm itself fails where a border leaves less than a pixel of a thin image.
        if mode == "border" and (width, height) in [(37, 411), (411, 37)] and min(size) < 64:
            continue
        image = picture(n, width, height)
        got = evaluation_view(image, wanted)
        assert got.dtype == np.uint8 and got.shape == (*size, 3)
        assert np.array_equal(got, timm_pixels(image, wanted)), (width, height)


def test_evaluation_view_equals_timm_on_real_images(shared):
    paths = [
        *sorted((shared / "data/awkward").rglob("*.jpg")),
        *sorted((shared / "data/flowers").rglob("*.jpg"))[::400],
        *sorted((shared / "data/cats_dogs/train").rglob("*.jpg"))[::100],
    ]
    assert len(paths) > 30
    for path, wanted in itertools.product(paths, [preprocessing(224, 224), preprocessing(299, 299, 0.897)]):
        image = decode_image(path.read_bytes(), path.name)
        assert np.array_equal(evaluation_view(image, wanted), timm_pixels(image, wanted)), path.name


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos", "nearest"])
def test_of_reduced_photos_the_crop_alone_is_computed_and_nothing_else_changes(mode, interpolation):
    wanted = preprocessing(64, 64, 0.875, mode, interpolation)
    noise = np.random.default_rng(0)
    changed = []
    for width, height in [(500, 375), (375, 500), (601, 997), (997, 601), (500, 499), (300, 1000), (308, 500)]:
        content = encoded(Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8)), "JPEG")
        image = decode_image(content, "x", shorter_side(wanted))
        assert image.size != full_size(image)
        size = _resized(full_size(image), wanted)
        whole = image.resize(size, resampling_filter(interpolation))
        fill = tuple(round(255 * value) for value in wanted.mean) if mode == "border" else 0
        expected = np.asarray(_crop_centre(whole, 64, 64, fill)).astype(int)
        difference = np.abs(evaluation_view(image, wanted) - expected)
        assert difference.max() <= 1, (width, height)
        changed.append((difference > 0).mean())
    assert np.mean(changed) < 1e-3


def test_a_ribbon_is_resized_in_bounded_memory():
    ribbon = Image.new("RGB", (3_000_000, 2), (9, 8, 7))
    assert evaluation_view(ribbon, preprocessing(224, 224)).reshape(-1, 3).max(axis=0).tolist() == [9, 8, 7]


@pytest.mark.parametrize("preset", ["standard", "original"])
def test_augmentation_depends_on_seed_view_content_and_preset_alone(preset):
    image, wanted = picture(1), preprocessing()
    first = augmented_view(image, wanted, preset, 0, 1, CONTENT)
    augmented_view(picture(2), wanted, preset, 5, 3, CONTENT)
    assert np.array_equal(first, augmented_view(image, wanted, preset, 0, 1, CONTENT))
    for changed in [(preset, 1, 1, CONTENT), (preset, 0, 2, CONTENT), (preset, 0, 1, "cd" * 32)]:
        assert not np.array_equal(first, augmented_view(image, wanted, *changed))


def test_augmentation_parameters_are_the_same_on_every_machine():
    drawn = draw_generator("standard", 0, 1, CONTENT).random(3)
    assert [round(float(value), 12) for value in drawn] == [0.697615060539, 0.85345779522, 0.446660237585]


@pytest.mark.parametrize("preset", ["standard", "original"])
def test_augmentations_flip_about_half_and_keep_shape(preset):
    gradient = Image.fromarray(np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (100, 1, 3)))
    views = [augmented_view(gradient, preprocessing(24, 40), preset, 0, view, CONTENT) for view in range(1, 201)]
    assert {view.shape for view in views} == {(24, 40, 3)}
    flipped = sum(int(view[12, 0, 0]) > int(view[12, -1, 0]) for view in views)
    assert 70 < flipped < 130


def test_standard_stays_within_its_stated_range():
    grey = Image.new("RGB", (60, 60), (100, 100, 100))
    means = [augmented_view(grey, preprocessing(), "standard", 0, view, CONTENT).mean() for view in range(1, 101)]
    assert 80 <= min(means) < 90 and 110 < max(means) <= 120


def test_standard_crops_at_least_its_stated_area():
    columns = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (200, 1, 3))
    rows = columns.transpose(1, 0, 2)
    both = Image.fromarray(np.stack([columns[..., 0], rows[..., 0], columns[..., 0]], axis=2))
    shares = []
    for view in range(1, 101):
        pixels = augmented_view(both, preprocessing(64, 64, interpolation="bilinear"), "standard", 1, view, CONTENT)
        spans = np.ptp(pixels.astype(int), axis=(0, 1))
        shares.append(spans[0] * spans[1] / 200**2)
    # Colour changes stretch the measured spans by up to a fifth each way.
    assert min(shares) > 0.35 * 0.8**4 and max(shares) > 0.7 and np.std(shares) > 0.1


def test_original_reaches_its_shear_and_zoom_and_no_further():
    dot = np.zeros((101, 101, 3), dtype=np.uint8)
    dot[49:52, 84:87] = 255  # a dot to the right of the centre: shear moves it up or down, zoom in or out
    wanted = preprocessing(101, 101)
    distances, heights = [], []
    for view in range(1, 301):
        mass = augmented_view(Image.fromarray(dot), wanted, "original", 0, view, CONTENT)[..., 0].astype(float)
        rows, columns = np.mgrid[:101, :101]
        distances.append(abs((mass * columns).sum() / mass.sum() - 50))
        heights.append((mass * rows).sum() / mass.sum() - 50)
    assert 35 / 1.2 - 1.5 < min(distances) < 31 and 40 < max(distances) < 35 / 0.8 / np.cos(0.2) + 1.5
    assert 4 < max(np.abs(heights)) < 35 * np.tan(0.2) / 0.8 + 2


def test_original_repeats_the_edges_outside_the_picture():
    white = Image.new("RGB", (333, 50), (255, 255, 255))
    for view in range(1, 60):
        assert augmented_view(white, preprocessing(), "original", 0, view, CONTENT).min() == 255


@pytest.mark.parametrize("preset", ["standard", "original"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2000, 3)])
def test_augmentation_takes_any_size(preset, size):
    for view in range(1, 6):
        assert augmented_view(picture(1, *size), preprocessing(), preset, 0, view, CONTENT).shape == (32, 32, 3)


def test_view_0_is_the_evaluation_view():
    image, wanted = picture(1), preprocessing()
    assert np.array_equal(view_of(image, wanted, ViewsRecipe(), 0, CONTENT), evaluation_view(image, wanted))
    other = view_of(image, wanted, ViewsRecipe("original", 2, 7), 1, CONTENT)
    assert np.array_equal(other, augmented_view(image, wanted, "original", 7, 1, CONTENT))


def test_the_preset_none_has_no_view_but_0():
    with pytest.raises(ValueError, match="'standard' and 'original'; received 'none'"):
        view_of(picture(1), preprocessing(), ViewsRecipe("none", 1), 1, CONTENT)


def test_bytes_are_preprocessed_as_decoded_and_viewed():
    content = encoded(picture(3, 900, 700), "JPEG")
    wanted = preprocessing()
    image = decode_image(content, "x", shorter_side(wanted))
    assert image.width < 900
    assert np.array_equal(preprocess_bytes(content, "x", wanted), evaluation_view(image, wanted))


def test_views_can_be_written_to():
    image = picture(1)
    for pixels in (
        evaluation_view(image, preprocessing()),
        augmented_view(image, preprocessing(), "original", 0, 1, "a"),
    ):
        pixels[0, 0] = 0


def test_augmentation_knows_no_path_and_no_clock():
    assert list(inspect.signature(augmented_view).parameters) == [
        "image",
        "preprocessing",
        "preset",
        "seed",
        "view",
        "content",
    ]
