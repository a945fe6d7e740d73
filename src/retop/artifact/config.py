"""config.json of a model folder: timm's own form, and one more key, `retop`, with a checksum of all of it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import timm

from retop.artifact.bounds import parse_json, read_bounded
from retop.backbones import Backbone
from retop.backbones.arguments import check_arguments
from retop.backbones.sources import LARGEST_CONFIG
from retop.errors import ModelFolderError, RecipeError, SchemaError, WeightsError
from retop.records import MODEL_FOLDER_VERSION, TrainedRecord
from retop.schema import from_plain, to_plain

CONFIG = "config.json"


def write_config(backbone: Backbone, trained: TrainedRecord) -> dict[str, Any]:
    """What config.json says of a model.

    Args:
        backbone: its network.
        trained: what is known about it.

    Returns:
        Plain data, sealed.
    """
    num_classes = len(trained.classes) if trained.head.kind == "linear" else 0
    config = {
        "architecture": backbone.architecture,
        "num_classes": num_classes,
        "num_features": backbone.num_features,
        "model_args": backbone.model_args,
        "label_names": list(trained.classes),
        "pretrained_cfg": backbone.pretrained_cfg | {"num_classes": num_classes, "classifier": backbone.classifier},
        "retop": to_plain(trained),
    }
    return seal(config)


def seal(config: dict[str, Any]) -> dict[str, Any]:
    """A config with its own checksum in it.

    Args:
        config: with the key `retop`; a checksum that it holds already is replaced.
    """
    return config | {"retop": config["retop"] | {"config_sha256": checksum(config)}}


def checksum(config: dict[str, Any]) -> str:
    """SHA-256 of a config, its own checksum aside, in one form of JSON."""
    bare = config | {"retop": config["retop"] | {"config_sha256": ""}}
    return hashlib.sha256(json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a stranger.

    Args:
        folder: that it lies in.

    Returns:
        What it holds; the network that it names is one of timm's, its arguments are among those that a folder may give.

    Raises:
        ModelFolderError: it is missing, no plain file, too large, no JSON, or names what may not be built.
    """
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
    try:
        check_arguments(config.get("model_args") or {})
    except WeightsError as error:
        raise ModelFolderError(f"{folder / CONFIG}: {error}") from error
    return config


def read_trained(folder: Path, config: dict[str, Any]) -> TrainedRecord:
    """The key `retop` of a config.

    Args:
        folder: for messages.
        config: as `read_config` gave it.

    Raises:
        ModelFolderError: it is missing, of an unknown version, was changed, or does not hold such a record.
    """
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
    if version > 1 and section.get("config_sha256") != checksum(config):
        raise ModelFolderError(
            f"{folder / CONFIG} was changed after it was written: its SHA-256 differs. Copy the folder again from "
            f"where it was made"
        )
    try:
        return from_plain(TrainedRecord, section, where="retop", allow_unknown=True)
    except (SchemaError, RecipeError) as error:
        raise ModelFolderError(f"{folder / CONFIG}: {error}") from error


def classifier_name(config: dict[str, Any]) -> str:
    """Under which name timm keeps the output layer."""
    return str((config.get("pretrained_cfg") or {}).get("classifier") or "head.fc")
