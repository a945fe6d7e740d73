"""A network whose graph cannot be recorded: the whole of it runs in every epoch, and the run says so."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

from retop.activations import ActivationStore
from retop.backbones import describe_backbone
from retop.data import Dataset
from retop.predictor import Predictor
from small_runs import run_small

default_cfgs = generate_default_cfgs({"branching": {"input_size": (3, 32, 32), "classifier": "fc"}})


class Branching(nn.Module):
    """What it computes depends on what it sees, which no graph holds."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.num_features = 8
        self.stem = nn.Conv2d(3, 8, 3, stride=4)
        self.late = nn.Conv2d(8, 8, 3, stride=2)
        self.fc = nn.Linear(8, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        if float(x.mean()) > 1e6:
            x = x / 2
        return self.late(x).relu()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(x).mean((2, 3)))


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    if timm.is_model("branching"):
        return

    @register_model
    def branching(pretrained: bool = False, **arguments: Any) -> nn.Module:
        return Branching(arguments["num_classes"])


def test_an_untraceable_network_trains_whole_and_says_so(shapes: Dataset, tmp_path: Path) -> None:
    settings = {"stage1.learning_rate": 0.05, "thaw": "late"}
    record = run_small(
        tmp_path / "run", shapes, "branching", weights="random", store=ActivationStore(), settings=settings
    )
    assert record.network.loop == "whole"
    assert "cannot be recorded" in str(record.network.loop_reason)
    assert any("the whole network runs in every epoch" in warning for warning in record.warnings)
    assert [stage.stage for stage in record.stages] == [1, 2]
    assert record.network.boundary == "late"
    predicted = Predictor(tmp_path / "run").evaluate(shapes.validation)
    assert len(predicted.paths) == record.validation.n


def test_an_untraceable_network_is_described() -> None:
    described = describe_backbone("branching")
    assert [group.name for group in described.groups] == ["stem", "late"]
    assert described.not_traceable is not None
