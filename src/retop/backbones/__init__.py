"""Networks: the catalogue, weights, groups of layers, the freeze boundary, and the split at it.

Names are imported on first use, so that the catalogue can be listed without importing torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from retop.backbones.catalogue import CatalogueEntry, Group, known_backbones
from retop.backbones.embedded import embedded_backbones, find_embedded

if TYPE_CHECKING:
    from retop.backbones.boundary import Boundary, choose_boundary, freeze, set_batch_norm_mode
    from retop.backbones.build import Backbone, build_backbone
    from retop.backbones.groups import BackboneDescription, describe_backbone, describe_groups
    from retop.backbones.naming import has_plain_timm
    from retop.backbones.network import ImageNetwork
    from retop.backbones.splitting import Crossing, SplitNetwork, split_network

_HOMES = {
    "Backbone": "build",
    "BackboneDescription": "groups",
    "Boundary": "boundary",
    "Crossing": "splitting",
    "ImageNetwork": "network",
    "SplitNetwork": "splitting",
    "build_backbone": "build",
    "choose_boundary": "boundary",
    "describe_backbone": "groups",
    "describe_groups": "groups",
    "freeze": "boundary",
    "has_plain_timm": "naming",
    "set_batch_norm_mode": "boundary",
    "split_network": "splitting",
}

__all__ = [
    "Backbone",
    "BackboneDescription",
    "Boundary",
    "CatalogueEntry",
    "Crossing",
    "Group",
    "ImageNetwork",
    "SplitNetwork",
    "build_backbone",
    "choose_boundary",
    "describe_backbone",
    "describe_groups",
    "embedded_backbones",
    "find_embedded",
    "freeze",
    "has_plain_timm",
    "known_backbones",
    "set_batch_norm_mode",
    "split_network",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
