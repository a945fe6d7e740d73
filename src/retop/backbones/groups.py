"""What is known about a network's groups without running it on images: parameters, operations, storage."""

from dataclasses import dataclass

import torch

from retop.backbones.boundary import Boundary, choose_boundary
from retop.backbones.build import Backbone, assemble, create_network
from retop.backbones.catalogue import Group
from retop.backbones.network import ImageNetwork
from retop.backbones.operations import OperationCounter, WithoutContent, run_without_content
from retop.backbones.sources import random_source
from retop.backbones.splitting import find_crossings
from retop.backbones.tracing import trace
from retop.errors import NotTraceableError
from retop.records import GroupRecord, Preprocessing

__all__ = ["BackboneDescription", "Boundary", "Group", "choose_boundary", "describe_backbone", "describe_groups"]


@dataclass(frozen=True)
class BackboneDescription:
    """A network as it is listed to users.

    Attributes:
        name: as it was asked for.
        architecture: timm's name of the architecture.
        preprocessing: how images become its input.
        num_features: F, the number of pooled features.
        parameters: number of parameters, without classifier.
        groups: from stem to last stage.
        weights: where the hub's weights are; None where there are none.
        license: licence of the weights; None where it is not stated.
        not_traceable: why its graph cannot be split; None where it can.
    """

    name: str
    architecture: str
    preprocessing: Preprocessing
    num_features: int
    parameters: int
    groups: tuple[GroupRecord, ...]
    weights: str | None
    license: str | None
    not_traceable: str | None


def describe_backbone(name: str) -> BackboneDescription:
    """Describe a network without weights and without computing anything.

    Args:
        name: a short name of the catalogue, or any timm name.

    Returns:
        The description.

    Raises:
        UnknownBackboneError: there is no such network.
    """
    source = random_source(name, 0)
    with WithoutContent():
        backbone = assemble(name, source, create_network(source.architecture, source.model_args))
    groups, problem = _describe(backbone)
    if problem:
        # A few networks hold numbers that decide their graph; those need to exist.
        backbone = assemble(name, source, create_network(source.architecture, source.model_args))
        groups, problem = _describe(backbone)
    config = source.pretrained_cfg
    return BackboneDescription(
        name=name,
        architecture=backbone.architecture,
        preprocessing=backbone.preprocessing,
        num_features=backbone.num_features,
        parameters=sum(group.parameters for group in groups),
        groups=groups,
        weights=config.get("hf_hub_id") or config.get("url") or None,
        license=config.get("license"),
        not_traceable=problem,
    )


def describe_groups(backbone: Backbone) -> tuple[GroupRecord, ...]:
    """Parameters, operations and storage of a network's groups.

    Args:
        backbone: the network; it is not run, and may be on the meta device.

    Returns:
        One record per group, from stem to last stage. ``stored_bytes`` is 0 where the graph cannot be split,
        because then nothing is stored.
    """
    return _describe(backbone)[0]


def _describe(backbone: Backbone) -> tuple[tuple[GroupRecord, ...], str | None]:
    flops = _count_flops(backbone)
    try:
        stored, problem = _measure_storage(backbone, ImageNetwork(backbone)), None
    except NotTraceableError as error:
        stored, problem = [0] * len(backbone.groups), str(error)
    parameters = list(backbone.network.named_parameters())
    records = tuple(
        GroupRecord(
            name=group.name,
            parameters=sum(parameter.numel() for name, parameter in parameters if group.holds(name)),
            flops=flops[place],
            stored_bytes=stored[place],
        )
        for place, group in enumerate(backbone.groups)
    )
    return records, problem


def _measure_storage(backbone: Backbone, network: ImageNetwork) -> list[int]:
    traced = trace(network, (backbone.preprocessing.height, backbone.preprocessing.width))
    boundaries = [choose_boundary(backbone, group.name) for group in backbone.groups]
    return [
        sum(crossing.bytes_per_image(torch.bfloat16) for crossing in find_crossings(traced, network, names))
        for names in (boundary.parameter_names for boundary in boundaries)
    ]


def _count_flops(backbone: Backbone) -> list[int]:
    """Operations of each group: whatever runs from when one of its layers is entered until another group's is.

    Zeros for a network without content whose graph depends on it.
    """
    flops, current, counted = [0] * len(backbone.groups), 0, 0

    def begin() -> None:
        nonlocal current, counted
        flops[:] = [0] * len(flops)
        current, counted = 0, counter.flops

    def enter(place: int) -> None:
        nonlocal current, counted
        flops[current] += counter.flops - counted
        current, counted = place, counter.flops

    hooks = [
        module.register_forward_pre_hook(lambda module, inputs, place=place: enter(place))
        for place, group in enumerate(backbone.groups)
        for name, module in backbone.network.named_modules()
        if group.holds(name)
    ]
    first = next(backbone.network.parameters())
    size = (1, 3, backbone.preprocessing.height, backbone.preprocessing.width)
    try:
        with OperationCounter() as counter:
            try:
                run_without_content(backbone.network, size, first.dtype, begin)
            except RuntimeError:
                # The way through some networks depends on what they see; they are counted on a black image.
                begin()
                if not first.is_meta:
                    with torch.inference_mode():
                        backbone.network(first.new_zeros(size))
        enter(current)
    finally:
        for hook in hooks:
            hook.remove()
    return flops
