"""Saving and loading model folders.

    model/
        config.json          timm's own form, and one more key, `retop`
        model.safetensors    backbone and head, under timm's names
        card.md              for people

With the linear head timm can load the folder itself (``local-dir:``).
"""

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from retop.artifact.bounds import building_at_most, check_tables, read_header
from retop.artifact.card import CARD, write_card
from retop.artifact.classifier import Classifier, plain_head
from retop.artifact.config import CONFIG, classifier_name, read_config, read_trained, seal, write_config
from retop.artifact.weights import WEIGHTS, assign, check_shapes, head_prefix, read_weights, write_weights
from retop.backbones import Backbone
from retop.backbones.build import create_network
from retop.backbones.operations import WithoutContent
from retop.device import is_out_of_memory
from retop.errors import ModelFolderError
from retop.records import Calibration, TrainedRecord
from retop.schema import sync_folder, to_plain, write_bytes, write_json


@dataclass(frozen=True)
class LoadedModel:
    """A model folder in memory.

    Attributes:
        classifier: in evaluation mode, float32, on the CPU.
        trained: the folder's `retop` key.
        folder: where it came from.
    """

    classifier: Classifier
    trained: TrainedRecord
    folder: Path


def save_model_folder(folder: Path, backbone: Backbone, head: nn.Module, trained: TrainedRecord) -> TrainedRecord:
    """Write a model folder, whole or not at all.

    Args:
        folder: where to; must not exist yet.
        backbone: with the trained weights in its network.
        head: a plain linear layer, or the mlp head.
        trained: what is known about the model; its checksums are filled in here.

    Returns:
        The record with both checksums.

    Raises:
        ModelFolderError: the folder exists already.
    """
    if folder.exists():
        raise ModelFolderError(f"{folder} exists already; a model folder is never overwritten")
    weights = write_weights(backbone, head, trained)
    record = replace(trained, weights_sha256=hashlib.sha256(weights).hexdigest())
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_bytes(partial / WEIGHTS, weights)
    config = write_config(backbone, record)
    write_json(partial / CONFIG, config)
    write_bytes(partial / CARD, write_card(backbone, record).encode())
    partial.rename(folder)
    sync_folder(folder.parent)
    return replace(record, config_sha256=config["retop"]["config_sha256"])


def load_model_folder(folder: str | Path) -> LoadedModel:
    """Load a model folder. Nothing in it is ever run.

    Args:
        folder: a folder that `save_model_folder` wrote, or a run's folder that holds one as ``model``.

    Returns:
        The model.

    Raises:
        ModelFolderError: files are missing or damaged, the checksum or a shape does not fit, values are not
            finite, the version is unknown, or there is no memory for it.
    """
    try:
        path = _locate(Path(folder))
    except TypeError as error:
        raise ModelFolderError(f"a model folder is given by its path; received {type(folder).__name__}") from error
    try:
        return _load(path)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelFolderError(f"{path} needs more memory than this process may take. Free some: {error}") from error


def store_calibration(folder: Path, calibration: Calibration) -> None:
    """Add temperature and threshold to a model folder, at the end of the run that made it.

    Args:
        folder: the model folder.
        calibration: fitted on the validation images.

    Raises:
        ModelFolderError: there is no such folder, or it is damaged.
    """
    path = _locate(folder)
    config = read_config(path)
    trained = replace(read_trained(path, config), calibration=calibration)
    write_json(path / CONFIG, seal(config | {"retop": to_plain(trained)}))
    write_bytes(path / CARD, write_card(_backbone(config, trained, nn.Identity()), trained).encode())


def _load(path: Path) -> LoadedModel:
    config = read_config(path)
    trained = read_trained(path, config)
    content = read_weights(path, trained)
    announced = read_header(content, path / WEIGHTS)
    with WithoutContent(), building_at_most(len(announced), path / CONFIG):
        shapes = _build(path, config, trained)
    prefix = head_prefix(trained, classifier_name(config))
    check_shapes(shapes, prefix, announced, path)
    check_tables(shapes, path / CONFIG)
    # The network is as large as the file now, and no larger.
    classifier = _build(path, config, trained)
    assign(classifier, prefix, content, path)
    return LoadedModel(classifier.eval(), trained, path)


def _locate(folder: Path) -> Path:
    inside = folder / "model"
    for path in (folder, *([] if inside.is_symlink() else [inside])):
        if (path / CONFIG).is_file() or (path / CONFIG).is_symlink():
            return path
    raise ModelFolderError(
        f"{folder} is not a model folder: it has no {CONFIG}. Give the folder 'model' of a run, e.g. "
        f"runs/NAME/vgg16-0/model"
    )


def _build(path: Path, config: dict[str, Any], trained: TrainedRecord) -> Classifier:
    try:
        network = create_network(config["architecture"], config.get("model_args") or {})
        head = plain_head(trained.head, trained.head_features, len(trained.classes))
        return Classifier(_backbone(config, trained, network), head, trained.head.kind)
    except (ModelFolderError, MemoryError):
        raise
    # A stranger's arguments may break timm and torch in any way.
    except Exception as error:
        raise ModelFolderError(f"{path / CONFIG} names a network that cannot be built: {error}") from error


def _backbone(config: dict[str, Any], trained: TrainedRecord, network: nn.Module) -> Backbone:
    pretrained_cfg = config.get("pretrained_cfg") or {}
    return Backbone(
        name=trained.backbone,
        architecture=config["architecture"],
        model_args=config.get("model_args") or {},
        network=network,
        preprocessing=trained.preprocessing,
        weights=trained.weights,
        classifier=classifier_name(config),
        num_features=trained.head_features,
        groups=(),
        pretrained_cfg=pretrained_cfg,
    )
