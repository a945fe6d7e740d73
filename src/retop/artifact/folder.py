"""Saving and loading model folders.

    model/
        config.json          timm's own form, and one more key, `retop`
        model.safetensors    backbone and head, under timm's names
        card.md              for people

With the linear head timm can load the folder itself (``local-dir:``).
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from retop.artifact.classifier import Classifier, plain_head
from retop.backbones import Backbone
from retop.backbones.build import create_network
from retop.errors import BackboneError, ModelFolderError, RecipeError, SchemaError
from retop.records import MODEL_FOLDER_VERSION, Calibration, TrainedRecord
from retop.schema import from_plain, to_plain, write_bytes, write_json

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"
MLP_PREFIX = "retop_head"


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
        trained: what is known about the model; its checksum is filled in here.

    Returns:
        The record with the checksum.

    Raises:
        ModelFolderError: the folder exists already.
    """
    if folder.exists():
        raise ModelFolderError(f"{folder} exists already; a model folder is never overwritten")
    weights = save(_state(backbone, head, trained))
    record = _with_checksum(trained, weights)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_bytes(partial / WEIGHTS, weights)
    write_json(partial / CONFIG, _config(backbone, record))
    (partial / CARD).write_text(_card(backbone, record), encoding="utf-8")
    partial.rename(folder)
    return record


def load_model_folder(folder: str | Path) -> LoadedModel:
    """Load a model folder. Nothing in it is ever run.

    Args:
        folder: a folder that `save_model_folder` wrote, or a run's folder that holds one as ``model``.

    Returns:
        The model.

    Raises:
        ModelFolderError: files are missing or damaged, the checksum or a shape does not fit, values are not
            finite, or the version is unknown.
    """
    path = _locate(Path(folder))
    config = _read_config(path)
    trained = _read_trained(path, config)
    state = _read_weights(path, trained)
    try:
        network = create_network(config["architecture"], config.get("model_args") or {})
        head = plain_head(trained.head, trained.head_features, len(trained.classes))
    except (BackboneError, KeyError, TypeError, RuntimeError, MemoryError) as error:
        raise ModelFolderError(f"{path / CONFIG} names a network that cannot be built: {error}") from error
    backbone = _backbone(config, trained, network)
    classifier = Classifier(backbone, head, trained.head.kind)
    _assign(classifier, _head_prefix(trained, backbone.classifier), state, path)
    return LoadedModel(classifier.eval(), trained, path)


def store_calibration(folder: Path, calibration: Calibration) -> None:
    """Add temperature and threshold to a model folder, at the end of the run that made it.

    Args:
        folder: the model folder.
        calibration: fitted on the validation images.

    Raises:
        ModelFolderError: there is no such folder, or it is damaged.
    """
    path = _locate(folder)
    config = _read_config(path)
    trained = replace(_read_trained(path, config), calibration=calibration)
    write_json(path / CONFIG, config | {"retop": to_plain(trained)})
    (path / CARD).write_text(_card(_backbone(config, trained, nn.Identity()), trained), encoding="utf-8")


def _state(backbone: Backbone, head: nn.Module, trained: TrainedRecord) -> dict[str, torch.Tensor]:
    prefix = _head_prefix(trained, backbone.classifier)
    named = {**backbone.network.state_dict(), **{f"{prefix}.{name}": t for name, t in head.state_dict().items()}}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in named.items()}


def _head_prefix(trained: TrainedRecord, classifier: str) -> str:
    return classifier if trained.head.kind == "linear" else MLP_PREFIX


def _with_checksum(trained: TrainedRecord, weights: bytes) -> TrainedRecord:
    return from_plain(TrainedRecord, to_plain(trained) | {"weights_sha256": hashlib.sha256(weights).hexdigest()})


def _config(backbone: Backbone, trained: TrainedRecord) -> dict[str, Any]:
    num_classes = len(trained.classes) if trained.head.kind == "linear" else 0
    return {
        "architecture": backbone.architecture,
        "num_classes": num_classes,
        "num_features": backbone.num_features,
        "model_args": backbone.model_args,
        "label_names": list(trained.classes),
        "pretrained_cfg": backbone.pretrained_cfg | {"num_classes": num_classes, "classifier": backbone.classifier},
        "retop": to_plain(trained),
    }


def _card(backbone: Backbone, trained: TrainedRecord) -> str:
    template = (resources.files("retop.artifact") / "card.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(backbone=backbone, trained=trained)


def _locate(folder: Path) -> Path:
    for path in (folder, folder / "model"):
        if (path / CONFIG).is_file():
            return path
    raise ModelFolderError(
        f"{folder} is not a model folder: it has no {CONFIG}. Give the folder 'model' of a run, e.g. "
        f"runs/NAME/vgg16-0/model"
    )


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"{folder / CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise ModelFolderError(f"{folder / CONFIG} does not name an architecture")
    # timm would fetch what a name such as hf-hub:OWNER/NAME points to.
    if not timm.is_model(config["architecture"]):
        raise ModelFolderError(f"{folder / CONFIG} names the architecture {config['architecture']!r}, unknown to timm")
    if not isinstance(config.get("pretrained_cfg", {}), dict):
        raise ModelFolderError(f"{folder / CONFIG}: pretrained_cfg should be a mapping")
    return config


def _read_trained(folder: Path, config: dict[str, Any]) -> TrainedRecord:
    section = config.get("retop")
    if not isinstance(section, dict):
        raise ModelFolderError(
            f"{folder / CONFIG} has no key 'retop': it is a timm folder, not a model that retop trained. To "
            f"fine-tune it, give it as --weights {folder}"
        )
    version = section.get("version")
    if version != MODEL_FOLDER_VERSION:
        raise ModelFolderError(
            f"{folder / CONFIG} has version {version!r}; this retop reads version {MODEL_FOLDER_VERSION}. "
            f"Update retop, or train the model again"
        )
    try:
        return from_plain(TrainedRecord, section, where="retop", allow_unknown=True)
    except (SchemaError, RecipeError) as error:
        raise ModelFolderError(f"{folder / CONFIG}: {error}") from error


def _read_weights(folder: Path, trained: TrainedRecord) -> dict[str, torch.Tensor]:
    try:
        content = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelFolderError(f"{folder / WEIGHTS} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != trained.weights_sha256:
        raise ModelFolderError(
            f"{folder / WEIGHTS} is not the file that {CONFIG} was written for: its SHA-256 differs. Copy the "
            f"folder again from where it was made"
        )
    try:
        state = load(content)
    except SafetensorError as error:
        raise ModelFolderError(f"{folder / WEIGHTS} is not a safetensors file: {error}") from error
    if broken := [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]:
        raise ModelFolderError(f"{folder / WEIGHTS} holds values that are not finite, in {', '.join(broken[:3])}")
    return state


def _backbone(config: dict[str, Any], trained: TrainedRecord, network: nn.Module) -> Backbone:
    pretrained_cfg = config.get("pretrained_cfg") or {}
    return Backbone(
        name=trained.backbone,
        architecture=config["architecture"],
        model_args=config.get("model_args") or {},
        network=network,
        preprocessing=trained.preprocessing,
        weights=trained.weights,
        classifier=str(pretrained_cfg.get("classifier") or "head.fc"),
        num_features=trained.head_features,
        groups=(),
        pretrained_cfg=pretrained_cfg,
    )


def _assign(classifier: Classifier, head_prefix: str, state: dict[str, torch.Tensor], folder: Path) -> None:
    head = {
        name.removeprefix(f"{head_prefix}."): tensor
        for name, tensor in state.items()
        if name.startswith(f"{head_prefix}.")
    }
    body = {name: tensor for name, tensor in state.items() if not name.startswith(f"{head_prefix}.")}
    for module, part in ((classifier.image_network.body, body), (classifier.head, head)):
        try:
            module.load_state_dict(part, strict=True)
        except RuntimeError as error:
            raise ModelFolderError(f"{folder / WEIGHTS} does not fit the network of {CONFIG}: {error}") from error
