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

from retop.artifact.bounds import (
    LARGEST_CONFIG,
    TensorHeader,
    building_at_most,
    check_arguments,
    largest_weights,
    parse_json,
    read_bounded,
    read_header,
)
from retop.artifact.classifier import Classifier, plain_head
from retop.backbones import Backbone
from retop.backbones.build import create_network
from retop.backbones.operations import WithoutContent
from retop.errors import ModelFolderError, RecipeError, SchemaError
from retop.evaluation import wilson_interval
from retop.evaluation.numerals import percent, percent_range
from retop.records import MODEL_FOLDER_VERSION, Calibration, TrainedRecord
from retop.schema import from_plain, sync_folder, to_plain, write_bytes, write_json

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"
MLP_PREFIX = "retop_head"
DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}


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
    weights = save(_state(backbone, head, trained))
    record = _with_checksum(trained, weights)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_bytes(partial / WEIGHTS, weights)
    config = _sealed(_config(backbone, record))
    write_json(partial / CONFIG, config)
    write_bytes(partial / CARD, _card(backbone, record).encode())
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
            finite, or the version is unknown.
    """
    try:
        path = _locate(Path(folder))
    except TypeError as error:
        raise ModelFolderError(f"a model folder is given by its path; received {type(folder).__name__}") from error
    config = _read_config(path)
    trained = _read_trained(path, config)
    content = _read_weights(path, trained)
    announced = read_header(content, path / WEIGHTS)
    with WithoutContent(), building_at_most(len(announced), path / CONFIG):
        shapes = _build(path, config, trained)
    _check_shapes(shapes, _head_prefix(trained, _classifier_name(config)), announced, path)
    # The network is as large as the file now, and no larger.
    classifier = _build(path, config, trained)
    _assign(classifier, _head_prefix(trained, _classifier_name(config)), _tensors(content, path), path)
    return LoadedModel(classifier.eval(), trained, path)


def _build(path: Path, config: dict[str, Any], trained: TrainedRecord) -> Classifier:
    try:
        network = create_network(config["architecture"], config.get("model_args") or {})
        head = plain_head(trained.head, trained.head_features, len(trained.classes))
        return Classifier(_backbone(config, trained, network), head, trained.head.kind)
    except ModelFolderError:
        raise
    # A stranger's arguments may break timm and torch in any way.
    except Exception as error:
        raise ModelFolderError(f"{path / CONFIG} names a network that cannot be built: {error}") from error


def _check_shapes(classifier: Classifier, head_prefix: str, announced: dict[str, TensorHeader], folder: Path) -> None:
    """The file must announce exactly the tensors of the network, before any of them is made."""
    wanted = {
        **classifier.image_network.body.state_dict(),
        **{f"{head_prefix}.{name}": tensor for name, tensor in classifier.head.state_dict().items()},
    }
    problems = [f"{name} is missing" for name in wanted if name not in announced]
    problems += [f"{name[:60]} is not part of it" for name in announced if name not in wanted]
    for name, tensor in wanted.items():
        expected = TensorHeader(DTYPES[tensor.dtype], tuple(tensor.shape))
        if name in announced and announced[name] != expected:
            problems.append(f"{name} is {_shown(announced[name])}, expected {_shown(expected)}")
    if problems:
        raise ModelFolderError(
            f"{folder / WEIGHTS} does not fit the network of {CONFIG}: {'; '.join(problems[:3])}"
            f"{f' and {len(problems) - 3} more' if len(problems) > 3 else ''}"
        )


def _shown(tensor: TensorHeader) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


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
    write_json(path / CONFIG, _sealed(config | {"retop": to_plain(trained)}))
    write_bytes(path / CARD, _card(_backbone(config, trained, nn.Identity()), trained).encode())


def _state(backbone: Backbone, head: nn.Module, trained: TrainedRecord) -> dict[str, torch.Tensor]:
    prefix = _head_prefix(trained, backbone.classifier)
    named = {**backbone.network.state_dict(), **{f"{prefix}.{name}": t for name, t in head.state_dict().items()}}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in named.items()}


def _head_prefix(trained: TrainedRecord, classifier: str) -> str:
    return classifier if trained.head.kind == "linear" else MLP_PREFIX


def _with_checksum(trained: TrainedRecord, weights: bytes) -> TrainedRecord:
    return from_plain(TrainedRecord, to_plain(trained) | {"weights_sha256": hashlib.sha256(weights).hexdigest()})


def _sealed(config: dict[str, Any]) -> dict[str, Any]:
    """The config with its own checksum in it."""
    return config | {"retop": config["retop"] | {"config_sha256": _checksum(config)}}


def _checksum(config: dict[str, Any]) -> str:
    """SHA-256 of a config, its own checksum aside, in one form of JSON."""
    bare = config | {"retop": config["retop"] | {"config_sha256": ""}}
    return hashlib.sha256(json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


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
    return environment.from_string(template).render(backbone=backbone, trained=trained, accuracy=_accuracy(trained))


def _accuracy(trained: TrainedRecord) -> str:
    if trained.calibration is None:
        return f"{100 * trained.validation_accuracy:.1f} %"
    n = trained.calibration.n
    interval = wilson_interval(trained.validation_accuracy * n, n)
    return f"{percent(interval.value, n)} of {n:,} images ({percent_range(interval, n)})"


def _locate(folder: Path) -> Path:
    inside = folder / "model"
    for path in (folder, *([] if inside.is_symlink() else [inside])):
        if (path / CONFIG).is_file() or (path / CONFIG).is_symlink():
            return path
    raise ModelFolderError(
        f"{folder} is not a model folder: it has no {CONFIG}. Give the folder 'model' of a run, e.g. "
        f"runs/NAME/vgg16-0/model"
    )


def _read_config(folder: Path) -> dict[str, Any]:
    config = parse_json(read_bounded(folder / CONFIG, LARGEST_CONFIG), folder / CONFIG)
    if not isinstance(config.get("architecture"), str):
        raise ModelFolderError(f"{folder / CONFIG} does not name an architecture")
    # timm would fetch what a name such as hf-hub:OWNER/NAME points to.
    if not timm.is_model(config["architecture"]):
        name = config["architecture"][:60]
        raise ModelFolderError(f"{folder / CONFIG} names the architecture {name!r}, unknown to timm")
    for key in ("pretrained_cfg", "model_args"):
        if not isinstance(config.get(key) or {}, dict):
            raise ModelFolderError(f"{folder / CONFIG}: {key} should be a mapping")
    check_arguments(config.get("model_args") or {}, folder / CONFIG)
    return config


def _read_trained(folder: Path, config: dict[str, Any]) -> TrainedRecord:
    section = config.get("retop")
    if not isinstance(section, dict):
        raise ModelFolderError(
            f"{folder / CONFIG} has no key 'retop': it is a timm folder, not a model that retop trained. To "
            f"fine-tune it, give it as --weights {folder}"
        )
    version = section.get("version")
    if type(version) is not int or not 1 <= version <= MODEL_FOLDER_VERSION:
        raise ModelFolderError(
            f"{folder / CONFIG} has version {str(version)[:60]}; this retop reads up to version "
            f"{MODEL_FOLDER_VERSION}. Update retop, or train the model again"
        )
    # Version 1 had no checksum of the config.
    if version > 1 and section.get("config_sha256") != _checksum(config):
        raise ModelFolderError(
            f"{folder / CONFIG} was changed after it was written: its SHA-256 differs. Copy the folder again from "
            f"where it was made"
        )
    try:
        return from_plain(TrainedRecord, section, where="retop", allow_unknown=True)
    except (SchemaError, RecipeError) as error:
        raise ModelFolderError(f"{folder / CONFIG}: {error}") from error


def _read_weights(folder: Path, trained: TrainedRecord) -> bytes:
    content = read_bounded(folder / WEIGHTS, largest_weights())
    if hashlib.sha256(content).hexdigest() != trained.weights_sha256:
        raise ModelFolderError(
            f"{folder / WEIGHTS} is not the file that {CONFIG} was written for: its SHA-256 differs. Copy the "
            f"folder again from where it was made"
        )
    return content


def _tensors(content: bytes, folder: Path) -> dict[str, torch.Tensor]:
    try:
        state = load(content)
    except SafetensorError as error:
        raise ModelFolderError(f"{folder / WEIGHTS} is not a safetensors file: {error}") from error
    if broken := [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]:
        raise ModelFolderError(f"{folder / WEIGHTS} holds values that are not finite, in {', '.join(broken[:3])}")
    return state


def _classifier_name(config: dict[str, Any]) -> str:
    return str((config.get("pretrained_cfg") or {}).get("classifier") or "head.fc")


def _backbone(config: dict[str, Any], trained: TrainedRecord, network: nn.Module) -> Backbone:
    pretrained_cfg = config.get("pretrained_cfg") or {}
    return Backbone(
        name=trained.backbone,
        architecture=config["architecture"],
        model_args=config.get("model_args") or {},
        network=network,
        preprocessing=trained.preprocessing,
        weights=trained.weights,
        classifier=_classifier_name(config),
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
