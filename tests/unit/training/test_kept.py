"""Statistics of batch norms that training keeps are those of the saved model, and others are noticed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

import retop.pipeline.run
from retop.activations import ActivationStore
from retop.artifact import save_model_folder
from retop.backbones import build_backbone
from retop.data import Dataset
from retop.records import KeptStatistics
from retop.training.kept import StatisticsToKeep
from small_runs import run_small

UPDATE = {"batch_norm": "update", "thaw": 1}


@pytest.mark.parametrize("settings", [{"batch_norm": "frozen"}, {"precision": "bf16"}, {"thaw": "none"}, UPDATE])
def test_training_keeps_what_it_is_to_keep(
    small_weights: Path, shapes: Dataset, tmp_path: Path, settings: dict[str, object]
) -> None:
    record = run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore(), settings=settings)
    network, last = build_backbone("test_resnet", small_weights).network, record.network.groups[-1].name
    names = [name for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    # Those of the thawed group follow their batches.
    kept = [name for name in names if settings != UPDATE or not name.startswith(last)]
    assert record.isolation is not None
    assert record.isolation.kept_statistics == KeptStatistics(len(kept), 0, None)
    assert (len(kept) < len(names)) == (settings == UPDATE)


def test_changed_statistics_are_noticed(
    small_weights: Path, shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = []

    def save(folder: Path, backbone: Any, *rest: Any) -> None:
        norms = [(name, one) for name, one in backbone.network.named_modules() if isinstance(one, _BatchNorm)]
        changed[:] = [len(norms), norms[1][0]]
        norms[1][1].running_mean[0] += 1e-6
        norms[2][1].running_var *= 255**2
        save_model_folder(folder, backbone, *rest)

    monkeypatch.setattr(retop.pipeline.run, "save_model_folder", save)
    record = run_small(tmp_path / "run", shapes, weights=small_weights, store=ActivationStore())
    assert record.isolation is not None
    assert record.isolation.kept_statistics == KeptStatistics(changed[0], 2, changed[1])


def test_batch_norms_without_statistics_or_without_weights() -> None:
    network = torch.nn.Sequential(
        torch.nn.BatchNorm2d(2, track_running_stats=False), torch.nn.BatchNorm2d(2, affine=False), torch.nn.ReLU()
    )
    # One without weights is in no thawed layer, so it keeps its statistics.
    kept = StatisticsToKeep(network, {"0.weight", "0.bias"})
    assert kept.compare(network) == KeptStatistics(1, 0, None)
    assert kept.compare(torch.nn.Sequential(network[0])) == KeptStatistics(1, 1, "1")
    assert StatisticsToKeep(network[2], ()).compare(network[2]) == KeptStatistics(0, 0, None)
