"""A backbone: network, weights, preprocessing and groups, ready to be cut."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from retop.backbones.arguments import check_arguments
from retop.backbones.catalogue import Group
from retop.backbones.grouping import group_parameters
from retop.backbones.naming import read_preprocessing
from retop.backbones.operations import WithoutContent
from retop.backbones.sources import WeightsSource, find_source
from retop.backbones.state import load_weights
from retop.errors import WeightsError
from retop.records import Preprocessing, WeightsRecord


@dataclass
class Backbone:
    """A pretrained network without its classifier.

    Attributes:
        name: as it was asked for.
        architecture: timm's name of the architecture.
        model_args: what timm's `create_model` needs besides it to build the same network.
        network: timm's network with ``num_classes=0``; for VGG also without fc6 and fc7.
        preprocessing: how images become its input.
        weights: where its weights came from.
        classifier: timm's name of the classifier layer, e.g. ``"fc"`` or ``"head.fc"``.
        num_features: F, the number of pooled features.
        groups: from stem to last stage.
        pretrained_cfg: timm's description of the weights, as JSON can hold it.
    """

    name: str
    architecture: str
    model_args: dict[str, Any]
    network: nn.Module
    preprocessing: Preprocessing
    weights: WeightsRecord
    classifier: str
    num_features: int
    groups: tuple[Group, ...]
    pretrained_cfg: dict[str, Any]


def build_backbone(
    name: str,
    weights: str | Path | None = None,
    *,
    seed: int = 0,
    offline: bool = False,
    image_size: int | None = None,
) -> Backbone:
    """Build a network and load its weights.

    Args:
        name: a short name of the catalogue, or any timm name, with or without tag.
        weights: None for the hub, or for the package where it has them; ``"random"``; a folder with one timm-form
            sub-folder per backbone, named as the backbone or its architecture; one such folder; or a
            ``.safetensors`` file, which a ``config.json`` of the same architecture beside it describes.
        seed: determines random weights.
        offline: never touch the network; take hub weights from the cache alone.
        image_size: height and width of the input, in pixels; None is what the weights were trained with.

    Returns:
        The backbone in evaluation mode, in float32, on the CPU.

    Raises:
        UnknownBackboneError: there is no such network.
        WeightsError: weights are missing, damaged, or of another network.
        UsageError: the network takes images of one size alone.
    """
    source = find_source(name, weights, seed=seed, offline=offline).resized(image_size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = create_network(source.architecture, source.model_args)
    if source.file is not None:
        load_weights(network, source.file, classifiers=partial(_classifier_keys, source))
    return assemble(name, source, network)


def create_network(architecture: str, model_args: dict[str, Any], num_classes: int = 0) -> nn.Module:
    """Build timm's network; on whichever device and from whichever random state is current.

    Args:
        architecture: timm's name.
        model_args: keyword arguments of the architecture, those that a folder may give.
        num_classes: 0 leaves the classifier out (for VGG also fc6 and fc7).

    Returns:
        The network in evaluation mode.

    Raises:
        WeightsError: `model_args` may not be given, or do not fit the architecture.
    """
    check_arguments(model_args)
    try:
        network = _create(architecture, {"num_classes": num_classes, **model_args})
    except (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError, LookupError) as error:
        raise WeightsError(f"timm cannot build {architecture!r} with model_args {model_args}: {error}") from error
    return network.eval()


def _create(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    if not architecture.startswith("vgg") or arguments["num_classes"]:
        network: nn.Module = timm.create_model(architecture, **arguments)
        return network
    # fc6 and fc7 hold 120 million numbers that would be drawn only to be thrown away.
    with WithoutContent():
        vgg: Any = timm.create_model(architecture, **arguments)
    vgg.pre_logits = nn.Identity()
    vgg.head_hidden_size = vgg.num_features
    if torch.get_default_device().type == "meta":
        return vgg  # type: ignore[no-any-return]
    vgg.to_empty(device=torch.get_default_device())
    for layer in vgg.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    vgg._initialize_weights()
    return vgg  # type: ignore[no-any-return]


def assemble(name: str, source: WeightsSource, network: nn.Module) -> Backbone:
    """Put a built network together with what is known about it.

    Args:
        name: as the user gave it.
        source: where its weights come from.
        network: the network, without classifier; it may be on the meta device.

    Returns:
        The backbone.
    """
    classifier = source.pretrained_cfg.get("classifier") or "head.fc"
    return Backbone(
        name=name,
        architecture=source.architecture,
        model_args=source.model_args,
        network=network,
        preprocessing=read_preprocessing(source.pretrained_cfg),
        weights=source.record,
        classifier=classifier if isinstance(classifier, str) else classifier[0],
        num_features=int(getattr(network, "head_hidden_size", 0) or network.num_features),  # type: ignore[arg-type]
        groups=group_parameters(network, source.architecture),
        pretrained_cfg=source.pretrained_cfg,
    )


def _classifier_keys(source: WeightsSource) -> frozenset[str]:
    with WithoutContent():
        whole = create_network(source.architecture, source.model_args, num_classes=1000)
        bare = create_network(source.architecture, source.model_args)
    return frozenset(whole.state_dict()) - frozenset(bare.state_dict())
