"""What a run says of itself in its records."""

import torch

from retop.backbones import describe_groups
from retop.data import Dataset
from retop.pipeline.fitting import Trained
from retop.pipeline.prepared import PreparedRun
from retop.pipeline.request import RunRequest, Setting
from retop.records import Metrics, NetworkRecord, TrainedRecord
from retop.training.tracking import describe_recipe
from retop.version import __version__

CROPS = "all of it trains, on crops drawn anew in every epoch"


def about_run(request: RunRequest, dataset: Dataset) -> dict[str, str]:
    """What trackers show of a run."""
    return {
        "backbone": request.backbone,
        "kind": request.kind,
        "seed": str(request.seed),
        "data": dataset.record.location,
        "data_fingerprint": dataset.record.fingerprint,
        **describe_recipe(request.recipe),
    }


def precision_record(prepared: PreparedRun, setting: Setting) -> dict[str, str]:
    """The number formats of each part of a run."""
    return {
        "prefix": dtype_name(setting.runtime.dtype),
        "stored": dtype_name(setting.runtime.stored) if prepared.source != "images" else "nothing stored",
        "training": dtype_name(setting.runtime.dtype),
        "evaluation": "float32",
    }


def trained_record(prepared: PreparedRun, dataset: Dataset, trained: Trained) -> TrainedRecord:
    """What the model folder says of its training."""
    request = prepared.request
    return TrainedRecord(
        classes=dataset.classes,
        preprocessing=prepared.backbone.preprocessing,
        head=request.recipe.head,
        head_features=prepared.num_features,
        backbone=request.backbone,
        boundary=prepared.boundary.group if prepared.trains_late_layers else None,
        kind=request.kind,
        recipe=request.recipe.name,
        seed=request.seed,
        data_fingerprint=dataset.record.fingerprint,
        num_train=len(dataset.train),
        validation_accuracy=trained.validation_accuracy,
        weights=prepared.backbone.weights,
        weights_sha256="",
        retop=__version__,
    )


def network_record(prepared: PreparedRun, trained: Trained, setting: Setting) -> NetworkRecord:
    """The network, its groups, and which of them were trained."""
    parameters = sum(p.numel() for p in prepared.network.parameters()) + sum(
        p.numel() for p in trained.head.parameters()
    )
    from_store = prepared.source == "activations" or (prepared.source == "features" and not prepared.trains_late_layers)
    stored = prepared.split.bytes_per_image(setting.runtime.stored) if prepared.split else 0
    return NetworkRecord(
        backbone=prepared.request.backbone,
        architecture=prepared.backbone.architecture,
        preprocessing=prepared.backbone.preprocessing,
        weights=prepared.backbone.weights,
        groups=describe_groups(prepared.backbone),
        boundary=prepared.boundary.group if prepared.trains_late_layers else None,
        parameters=parameters,
        parameters_trained=trained.stages[-1].parameters_trained,
        loop="store" if from_store else "whole",
        loop_reason=None if from_store else prepared.reason or CROPS,
        stored_bytes_per_view=stored if prepared.source == "activations" else 0,
    )


def answers_otherwise(trained: Trained, validation: Metrics) -> str | None:
    """What to tell if the saved model answers otherwise than in training."""
    lost = trained.validation_accuracy - validation.accuracy.value
    if abs(lost) <= max(0.01, 2 / validation.n):
        return None
    return (
        f"the saved model has {100 * validation.accuracy.value:.1f} % on validation, in training it had "
        f"{100 * trained.validation_accuracy:.1f} %; the arithmetic of training was coarser than float32 "
        f"(--precision fp32 tells whether that is why)"
    )


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for torch.float32."""
    return str(dtype).removeprefix("torch.")
