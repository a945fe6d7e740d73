"""A CUDA device computes what the CPU computes. Run with: make test-gpu."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

import retop
from images import write_split_shapes
from retop.activations import ActivationStore
from retop.data import open_dataset
from retop.pipeline import RunFolder, RunRequest, Setting, run_backbone
from retop.predictor import Predictor
from retop.recipe import Recipe
from retop.records import PlanRecord
from retop.training import choose_runtime
from retop.training.crops import random_crops
from small_runs import small_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def train_on(device: str, recipe: Recipe, folder: Path) -> Path:
    dataset = open_dataset(write_split_shapes(folder / "images", 12, 6, 6), recipe.data)
    setting = Setting(choose_runtime(device, recipe.precision), ActivationStore(folder / "store"), "tests")
    run_backbone(RunRequest("pocket_resnet", None, recipe, 0), dataset, setting, RunFolder(folder / "run"))
    return folder / "run" / "model"


def test_a_model_answers_alike_on_both_devices(tmp_path: Path) -> None:
    model = train_on("cuda", small_recipe(), tmp_path)
    images = torch.randint(0, 256, (16, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    answers = [torch.from_numpy(Predictor(model, device).logits(images)).softmax(1) for device in ("cpu", "cuda")]
    assert torch.allclose(answers[0], answers[1], atol=2e-3)


def test_training_on_both_devices_gives_nearly_the_same_model(tmp_path: Path) -> None:
    models = [train_on(device, small_recipe(), tmp_path / device) for device in ("cpu", "cuda")]
    images = torch.randint(0, 256, (16, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, second = (Predictor(model).logits(images) for model in models)
    assert np.abs(first - second).max() < 0.05


def test_bfloat16_training_runs_and_saves_float32(tmp_path: Path) -> None:
    model = train_on("cuda", small_recipe({"precision": "bf16"}), tmp_path)
    logits = Predictor(model, "cuda").logits(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert logits.dtype == np.float32 and np.isfinite(logits).all()


def test_a_comparison_plans_and_runs_on_the_device(tmp_path: Path) -> None:
    folder = write_split_shapes(tmp_path / "images", 12, 6, 6)
    plans: list[PlanRecord] = []
    for cache in (tmp_path / "store", False):
        comparison = retop.compare(
            folder,
            ["pocket_resnet"],
            recipe=small_recipe(),
            baselines=["probe"],
            device="cuda",
            cache=cache,
            out=tmp_path / f"out-{bool(cache)}",
            on_plan=lambda plan, folder: plans.append(plan),
        )
        assert not comparison.record.failed
        assert all(part.seconds is not None for part in plans[-1].parts)


def test_crops_are_drawn_alike_on_both_devices() -> None:
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    crops = [random_crops(images.to(device), 0.5, np.random.default_rng(0)).cpu() for device in ("cpu", "cuda")]
    assert (crops[0].int() - crops[1].int()).abs().max() <= 1


def test_a_device_that_has_no_memory_for_a_batch_takes_it_in_parts(tmp_path: Path) -> None:
    """Real errors of CUDA's allocator: this process may have little more than what a part of a batch needs."""
    settings = {"thaw": "all", "stage1.epochs": 0, "stage2.epochs": 1, "stage2.batch_size": 510}
    dataset = open_dataset(write_split_shapes(tmp_path / "images", 170, 6, 6), small_recipe().data)
    recipe, total = small_recipe(settings), torch.cuda.get_device_properties(0).total_memory
    peak_bytes = [0]

    def train(name: str, share: float) -> tuple[float, list[str]]:
        """The validation loss, and what was said; with a share of the memory that whole batches took."""
        said: list[str] = []
        runtime, store = choose_runtime("cuda", recipe.precision), ActivationStore(tmp_path / "store")
        setting = Setting(runtime, store, "tests", lambda event: said.append(getattr(event, "message", "")))
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_per_process_memory_fraction(min(1.0, share * (peak_bytes[0] or total) / total))
        try:
            request = RunRequest("pocket_resnet", None, recipe, 0)
            record = run_backbone(request, dataset, setting, RunFolder(tmp_path / name))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        peak_bytes[0] = peak_bytes[0] or torch.cuda.max_memory_allocated()
        return record.stages[-1].validation_loss, [line for line in said if "has no memory for 510 images" in line]

    whole, _ = train("whole", 1.0)
    # What kernels take as workspace where there is room is not needed, so where it begins to be short is not known.
    for share in (0.8, 0.6, 0.45, 0.3):
        loss, warned = train(f"parts-{share}", share)
        if warned:
            break
    assert warned
    assert loss == pytest.approx(whole, rel=1e-2)
