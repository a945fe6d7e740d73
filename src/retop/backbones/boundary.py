"""The freeze boundary: which parameters train, and how frozen and thawed layers are set."""

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from retop.backbones.build import Backbone
from retop.errors import UsageError


@dataclass(frozen=True)
class Boundary:
    """Where training begins.

    Attributes:
        group: the first thawed group; None where nothing of the backbone is thawed.
        parameter_names: names of the backbone network's trainable parameters.
    """

    group: str | None
    parameter_names: frozenset[str]


def choose_boundary(backbone: Backbone, thaw: str) -> Boundary:
    """Translate ``--thaw`` into the parameters that train.

    Args:
        backbone: the network.
        thaw: ``last`` group, a number of groups from the end, a group's name (it and all after it), ``all`` or
            ``none``.

    Returns:
        The boundary.

    Raises:
        UsageError: no such group, or a number outside 0 to the number of groups.
    """
    groups = backbone.groups
    names = [group.name for group in groups]
    if thaw in names:
        count = len(groups) - names.index(thaw)
    elif thaw in ("last", "all", "none"):
        count = {"last": 1, "all": len(groups), "none": 0}[thaw]
    elif thaw.isdecimal() and int(thaw) <= len(groups):
        count = int(thaw)
    else:
        raise UsageError(
            f"--thaw {thaw} (settings={{'thaw': {thaw!r}}}) is not possible for {backbone.name}: give last, all, none, "
            f"a number from 0 to {len(groups)}, or one of its groups: {', '.join(names)}"
        )
    thawed = groups[len(groups) - count :]
    parameters = frozenset(
        name for name, _ in backbone.network.named_parameters() if any(group.holds(name) for group in thawed)
    )
    return Boundary(thawed[0].name if thawed else None, parameters)


def freeze(network: nn.Module, boundary: Boundary) -> None:
    """Let only the boundary's parameters train, and put every layer in evaluation mode.

    Args:
        network: the backbone's network.
        boundary: what trains.

    Raises:
        UsageError: the boundary names parameters that the network does not have.
    """
    if unknown := boundary.parameter_names - {name for name, _ in network.named_parameters()}:
        raise UsageError(f"the boundary was chosen for another network: {sorted(unknown)[:3]} are not among its layers")
    network.eval()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in boundary.parameter_names)


def set_batch_norm_mode(network: nn.Module, boundary: Boundary, update: bool) -> None:
    """Let the statistics of thawed batch norms follow the batches, or keep them.

    Layers below the boundary keep theirs either way.

    Args:
        network: the backbone's network, an `ImageNetwork` or a suffix; layers are found by their parameters.
        boundary: which layers are thawed; `freeze` must have been called with it.
        update: True to normalise by the batch and update the running statistics.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            trains = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
            module.train(update and trains and bool(boundary.parameter_names))
