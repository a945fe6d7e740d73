"""Batch norms of a frozen part, folded into the convolutions before them.

A frozen batch norm multiplies and shifts each channel by constants, which the convolution's own weights can do. Its
pass over memory costs as much as a quarter of a small network's time on a CPU.
"""

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from retop.backbones.network import ImageNetwork
from retop.backbones.tracing import trace
from retop.errors import NotTraceableError


def fold_network(network: ImageNetwork, image_size: tuple[int, int]) -> nn.Module:
    """A whole network in its faster form, for a process that answers for long.

    Args:
        network: in evaluation mode. It is not changed, and keeps weights of its own.
        image_size: height and width in pixels.

    Returns:
        A graph that computes the same up to rounding; the network itself where there is nothing to fold or no graph.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    try:
        return fold_batch_norms(trace(network, image_size).module).eval()
    except NotTraceableError:
        return network


def fold_batch_norms(part: fx.GraphModule) -> fx.GraphModule:
    """A copy in which every batch norm that directly follows a convolution is part of it.

    Args:
        part: in evaluation mode, to be run without gradients. It is not changed.

    Returns:
        A graph that computes the same up to rounding.
    """
    folded = copy.deepcopy(part)
    for node in list(folded.graph.nodes):
        norm, convolution = _module(folded, node), _feeding_convolution(folded, node)
        if isinstance(norm, nn.BatchNorm2d) and convolution is not None:
            _fold(folded, convolution, node, norm)
    folded.delete_all_unused_submodules()
    folded.graph.lint()
    folded.recompile()
    return folded


def _module(part: fx.GraphModule, node: object) -> nn.Module | None:
    if isinstance(node, fx.Node) and node.op == "call_module":
        return part.get_submodule(str(node.target))
    return None


def _feeding_convolution(part: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The convolution whose result only this node uses."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or not isinstance(_module(part, source), nn.Conv2d):
        return None
    shared = sum(other.op == "call_module" and other.target == source.target for other in part.graph.nodes) > 1
    return source if len(source.users) == 1 and not shared else None


def _fold(part: fx.GraphModule, convolution: fx.Node, node: fx.Node, norm: nn.BatchNorm2d) -> None:
    layer = part.get_submodule(str(convolution.target))
    if not isinstance(layer, nn.Conv2d) or norm.running_mean is None or norm.running_var is None:
        return
    with torch.no_grad():
        layer.weight, bias = fuse_conv_bn_weights(
            layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        layer.bias = bias
    layer.requires_grad_(False)
    rest = _what_remains(norm)
    if rest is None:
        node.replace_all_uses_with(convolution)
        part.graph.erase_node(node)
        return
    name = f"{str(node.target).replace('.', '_')}_rest"
    part.add_submodule(name, rest)
    node.target = name


def _what_remains(norm: nn.BatchNorm2d) -> nn.Module | None:
    """A batch norm of timm carries its activation with it; None where there is nothing else."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) and not isinstance(activation, nn.Identity) else None
