"""The same inputs give the same numbers, bit for bit, wherever the data lies and whatever its files are called."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import write_digits
from retop.activations import ActivationStore
from retop.data import Dataset, open_dataset
from retop.recipe import DataRecipe
from small_runs import logits, model_bytes, run_small, saved_epochs, without_clock

SETTINGS: dict[str, object] = {"views.preset": "standard", "views.count": 2, "head.dropout": 0.2}


def test_the_same_seed_gives_the_same_model_bit_for_bit(small_weights: Path, shapes: Dataset, tmp_path: Path) -> None:
    for name, seed, store in (("a", 3, "one"), ("b", 3, "two"), ("c", 4, "one")):
        where = ActivationStore(tmp_path / store)
        run_small(tmp_path / name, shapes, weights=small_weights, store=where, settings=SETTINGS, seed=seed)
    assert model_bytes(tmp_path / "a") == model_bytes(tmp_path / "b")
    histories = [[without_clock(epoch) for epoch in saved_epochs(tmp_path / name)] for name in "abc"]
    assert histories[0] == histories[1]
    assert all(np.array_equal(row, logits(tmp_path / "b")[key]) for key, row in logits(tmp_path / "a").items())
    assert model_bytes(tmp_path / "a") != model_bytes(tmp_path / "c")
    assert histories[0] != histories[2]


def test_names_and_places_of_files_change_nothing(small_weights: Path, tmp_path: Path) -> None:
    original = write_digits(tmp_path / "digits", 14, classes=(0, 1, 2))
    moved = tmp_path / "elsewhere" / "other name"
    names = np.random.default_rng(0).permutation(10_000)
    for number, path in enumerate(sorted(original.rglob("*.png"), reverse=True)):
        (moved / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, moved / path.parent.name / f"{names[number]}.png")
    runs = []
    for name, folder in (("a", original), ("b", moved)):
        data = open_dataset(folder, DataRecipe())
        store = ActivationStore(tmp_path / f"store {name}")
        runs.append(run_small(tmp_path / name, data, weights=small_weights, store=store, settings=SETTINGS))
    assert runs[0].data.fingerprint == runs[1].data.fingerprint
    assert model_bytes(tmp_path / "a") == model_bytes(tmp_path / "b")
    ours, theirs = (list(logits(tmp_path / name).values()) for name in "ab")
    assert np.array_equal(np.stack(ours), np.stack(theirs))


@pytest.mark.parametrize("change", ["another pixel", "another byte", "one image more"])
def test_other_images_have_another_fingerprint(tmp_path: Path, change: str) -> None:
    folder = write_digits(tmp_path / "digits", 10, classes=(0, 1))
    before = open_dataset(folder, DataRecipe()).record.fingerprint
    target = folder / "digit-0" / "0000.png"
    if change == "another pixel":
        with Image.open(target) as opened:
            pixels = np.asarray(opened).copy()
        pixels[5, 7, 0] ^= 1
        Image.fromarray(pixels).save(target)
    else:
        place = target if change == "another byte" else folder / "digit-0" / "more.png"
        place.write_bytes(target.read_bytes() + b"\0")
    assert open_dataset(folder, DataRecipe()).record.fingerprint != before
