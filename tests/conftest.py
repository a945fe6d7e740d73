"""Fixtures for every test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retop import stopping

if TYPE_CHECKING:
    from retop.data import Dataset

# Threads that spin while they wait make small networks many times slower on a machine that others use too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with optional real data and weights; the test is skipped where it is absent."""
    folder = Path(os.environ.get("RETOP_SHARED", CHECKOUT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data at {folder}; set RETOP_SHARED to the folder that has data/ and weights/")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has an empty cache of its own, and no access to a model hub."""
    monkeypatch.setenv("RETOP_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of small networks that take images of 64 pixels, for `weights`."""
    from small_runs import write_weights

    root = tmp_path_factory.mktemp("weights")
    for backbone in ("test_resnet", "test_convnext", "test_efficientnet"):
        write_weights(root, backbone, 64)
    return root


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn shapes in three classes: 45 images to learn from, 15 for validation, 21 for the test."""
    from images import write_split_shapes

    return write_split_shapes(tmp_path_factory.mktemp("shapes"), train=15, validation=5, test=7)


@pytest.fixture
def shapes(shapes_folder: Path) -> "Dataset":
    """The same, opened."""
    from retop.data import open_dataset
    from retop.recipe import DataRecipe

    return open_dataset(shapes_folder, DataRecipe())


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory, small_weights: Path) -> Path:
    """A finished run of a small network on drawn shapes, with enough images for a parity check."""
    from images import write_split_shapes
    from retop.activations import ActivationStore
    from retop.data import open_dataset
    from retop.recipe import DataRecipe
    from small_runs import run_small

    root = tmp_path_factory.mktemp("trained")
    data = open_dataset(write_split_shapes(root / "shapes", train=15, validation=5, test=7), DataRecipe())
    run_small(root / "test_resnet-0", data, weights=small_weights, store=ActivationStore(root / "store"))
    return root / "test_resnet-0"


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """A command that runs in this process decides what the next signal does; the next test has its own."""
    before = signal.getsignal(signal.SIGINT)
    yield
    stopping._after_first = None
    signal.signal(signal.SIGINT, before)
