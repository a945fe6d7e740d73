"""Groups of layers of any timm network, from its catalogue table or timm's own coarse grouping."""

import timm
from timm.models import group_parameters as match_parameters
from torch import nn

from retop.backbones.catalogue import Group, groups_of_architecture


def group_parameters(network: nn.Module, architecture: str) -> tuple[Group, ...]:
    """Divide a network's parameters into consecutive groups.

    Args:
        network: without classifier.
        architecture: timm's name of it.

    Returns:
        The groups from stem to last stage; every parameter belongs to exactly one.
    """
    if table := _fitting_table(network, architecture):
        return table
    members = _merge_trailing_norms(network, _vgg_blocks(network) or _match_coarsely(network))
    return _name_groups(network, members, stemless=isinstance(network, timm.models.VGG))


def _fitting_table(network: nn.Module, architecture: str) -> tuple[Group, ...]:
    # A config.json may build the architecture with other arguments than the table was written for.
    groups = groups_of_architecture(architecture)
    names = [name for name, _ in network.named_parameters()]
    fits = all(sum(group.holds(name) for group in groups) == 1 for name in names)
    return groups if fits and all(any(map(group.holds, names)) for group in groups) else ()


def _vgg_blocks(network: nn.Module) -> list[list[str]]:
    """Between two poolings lies a block; timm's matcher would make each convolution a group."""
    if not isinstance(network, timm.models.VGG):
        return []
    blocks: list[list[str]] = [[]]
    for index, layer in network.features.named_children():
        if isinstance(layer, nn.MaxPool2d):
            blocks.append([])
        blocks[-1] += [f"features.{index}.{name}" for name, _ in layer.named_parameters()]
    return [block for block in blocks if block]


def _match_coarsely(network: nn.Module) -> list[list[str]]:
    names = [name for name, _ in network.named_parameters()]
    try:
        matched = match_parameters(network, network.group_matcher(coarse=True), reverse=True)  # type: ignore[operator]
    except (AssertionError, AttributeError, NotImplementedError, TypeError, KeyError):
        # Some networks have no matcher, or one that fails on their own options; their children then are the groups.
        matched = {}
    outside = _unmatched(network, matched)
    layers: dict[int, list[str]] = {}
    known = [name for name in names if name in matched and name not in outside]
    if not known:
        return _by_child(names)
    first, last = min(matched[name] for name in known), max(matched[name] for name in known)
    trailing = set(names[max(names.index(name) for name in known) :])
    for name in names:
        place = matched[name] if name in known else last if name in trailing and "." in name else first
        layers.setdefault(place, []).append(name)
    return [layers[place] for place in sorted(layers)]


def _unmatched(network: nn.Module, matched: dict[str, int]) -> set[str]:
    """Names that timm's matcher does not place; it gives them all one last group of their own."""
    if not matched:
        return set()
    matcher = network.group_matcher(coarse=True)  # type: ignore[operator]
    probe = [("\0", None)]
    place = match_parameters.__globals__["group_with_matcher"](
        [*network.named_parameters(), *probe], matcher, reverse=True
    )["\0"]
    return {name for name, layer in matched.items() if layer == place}


def _by_child(names: list[str]) -> list[list[str]]:
    children: dict[str, list[str]] = {}
    for name in names:
        children.setdefault(name.partition(".")[0], []).append(name)
    return list(children.values())


def _merge_trailing_norms(network: nn.Module, members: list[list[str]]) -> list[list[str]]:
    parameters = dict(network.named_parameters())
    while len(members) > 1 and all(parameters[name].ndim <= 1 for name in members[-1]):
        members = [*members[:-2], members[-2] + members[-1]]
    return members


def _name_groups(network: nn.Module, members: list[list[str]], *, stemless: bool) -> tuple[Group, ...]:
    order = {name: place for place, (name, _) in enumerate(network.named_parameters())}
    groups: list[Group] = []
    for number, names in enumerate(members):
        prefixes = _shorten(sorted(names, key=order.__getitem__), list(order))
        if stemless:
            name = f"block{number + 1}"
        elif number == 0 and len(members) > 1 and not _is_stage(prefixes):
            name = "stem"
        else:
            name = next((prefix for prefix in prefixes if any(map(str.isdigit, prefix))), prefixes[0])
        groups.append(Group(name, prefixes))
    return tuple(groups)


def _is_stage(prefixes: tuple[str, ...]) -> bool:
    return len(prefixes) == 1 and prefixes[0].rpartition(".")[2].isdigit() and "stem" not in prefixes[0]


def _shorten(names: list[str], everything: list[str]) -> tuple[str, ...]:
    """The shortest module names that cover `names` and nothing else."""
    inside = set(names)
    foreign = {
        ".".join(parts[:depth])
        for name in everything
        if name not in inside
        for parts in [name.split(".")]
        for depth in range(1, len(parts) + 1)
    }
    prefixes = []
    for name in names:
        parts = name.split(".")
        depths = range(1, len(parts) + 1)
        prefixes.append(next(p for depth in depths if (p := ".".join(parts[:depth])) not in foreign))
    return tuple(dict.fromkeys(prefixes))
