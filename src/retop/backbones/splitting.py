"""A network cut at the freeze boundary: ``suffix(*prefix(images))`` is the whole network.

The prefix never changes while the suffix trains, so what crosses is computed once and kept.

N batch, C channels, H height, W width, F features.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from retop.backbones.cutting import choose_prefix, find_hot
from retop.backbones.network import ImageNetwork
from retop.backbones.tracing import TracedNetwork, is_batch_size, mutated_input, trace, without_mutation
from retop.errors import NotTraceableError


@dataclass(frozen=True)
class Crossing:
    """A value that passes from the prefix to the suffix.

    Attributes:
        name: of the layer or operation that makes it.
        shape: for one image.
        dtype: as the prefix makes it in the network's own precision.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def bytes_per_image(self, dtype: torch.dtype) -> int:
        """Bytes to store for each image view; as `SplitNetwork.bytes_per_image`."""
        return math.prod(self.shape) * (dtype if self.dtype.is_floating_point else self.dtype).itemsize


@dataclass
class SplitNetwork:
    """The two parts of a network.

    Attributes:
        prefix: images [N, 3, H, W] uint8 to a tuple of crossings, each [N, *shape].
        suffix: the crossings, as positional arguments, to features [N, F]. Its layers are the network's own.
        crossings: what passes between them.
        fingerprint_code: text that, with the prefix's weights, determines what the prefix computes.
    """

    prefix: fx.GraphModule
    suffix: fx.GraphModule
    crossings: tuple[Crossing, ...]
    fingerprint_code: str

    def bytes_per_image(self, dtype: torch.dtype) -> int:
        """Bytes to store for each image view.

        Args:
            dtype: in which floating-point crossings are stored; others keep their own.

        Returns:
            The sum over all crossings.
        """
        return sum(crossing.bytes_per_image(dtype) for crossing in self.crossings)


def split_network(network: ImageNetwork, trainable: Collection[str], image_size: tuple[int, int]) -> SplitNetwork:
    """Cut a network so that everything trainable lies in the suffix and the least is stored between the parts.

    The network itself is not touched; a layer that would change a crossing in place is replaced by a copy that does
    not.

    Args:
        network: the whole network.
        trainable: names of the backbone network's trainable parameters, as in `Boundary.parameter_names`.
        image_size: height and width in pixels.

    Returns:
        The parts. With nothing trainable the suffix is the identity on features; with everything trainable the
        prefix is the identity on images.

    Raises:
        NotTraceableError: the network's graph cannot be recorded, or no cut exists in which every crossing has one
            part for each image.
        KeyError: a trainable name is not a parameter of the network.
    """
    return split_traced(trace(network, image_size), network, trainable)


def split_traced(traced: TracedNetwork, network: ImageNetwork, trainable: Collection[str]) -> SplitNetwork:
    """Cut a recorded graph; as `split_network`, which see.

    Args:
        traced: the graph of `network`.
        network: the whole network.
        trainable: names of trainable parameters of the backbone network.

    Returns:
        The parts.

    Raises:
        NotTraceableError: no cut exists in which every crossing has one part for each image.
        KeyError: a trainable name is not a parameter of the network.
    """
    return _Cut(traced, network, trainable).split()


def find_crossings(traced: TracedNetwork, network: ImageNetwork, trainable: Collection[str]) -> tuple[Crossing, ...]:
    """What would cross if the graph were cut; as `split_traced`, without building the parts."""
    return _Cut(traced, network, trainable).describe_crossings()


class _Cut:
    """Which nodes of a graph lie where, and the two graphs made of them."""

    def __init__(self, traced: TracedNetwork, network: ImageNetwork, trainable: Collection[str]) -> None:
        self.traced, self.module, self.facts = traced, traced.module, traced.facts
        parameters = dict(network.body.named_parameters(remove_duplicate=False))
        self.prefix = choose_prefix(traced, find_hot(traced, [parameters[name] for name in trainable]))
        self.nodes = list(self.module.graph.nodes)
        self.suffix = [node for node in self.nodes if self._in_suffix(node)]
        self.crossing = self._find_crossing()

    def _in_suffix(self, node: fx.Node) -> bool:
        return self.facts[node].from_images and node not in self.prefix

    def _find_crossing(self) -> list[fx.Node]:
        used = {source for node in self.suffix for source in node.all_input_nodes}
        crossing = [node for node in self.nodes if node in used and node in self.prefix and self._is_stored(node)]
        for node in crossing:
            if not self.facts[node].is_batched:
                raise NotTraceableError(
                    f"{node.name} would have to be stored but does not have one part for each image. "
                    f"The whole-network loop (--cache off, cache=False) stores nothing"
                )
        return crossing

    def _is_stored(self, node: fx.Node) -> bool:
        return isinstance(self.facts[node].values[0], Tensor | tuple | list)

    def split(self) -> SplitNetwork:
        self._protect_crossings()
        prefix, suffix = self._build_prefix(), self._build_suffix()
        return SplitNetwork(prefix, suffix, self.describe_crossings(), _fingerprint(prefix))

    def describe_crossings(self) -> tuple[Crossing, ...]:
        values = [(node, self.facts[node].values[0]) for node in self.crossing]
        return tuple(Crossing(_describe(node), tuple(value.shape[1:]), value.dtype) for node, value in values)

    def _protect_crossings(self) -> None:
        """What is stored, or read from the store, is never changed in place, nor through a view of it."""
        aliases = set(self.crossing)
        for node in self.nodes:
            changed = mutated_input(self.module, node)
            if changed in aliases and changed is not None:
                without_mutation(self.module, node)
            elif node.all_input_nodes and node.all_input_nodes[0] in aliases and _may_alias(self.module, node):
                aliases.add(node)

    def _build_prefix(self) -> fx.GraphModule:
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        needed = _ancestors(self.crossing)
        for node in self.nodes:
            if node in needed or node is self.traced.images:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output(tuple(copies[node] for node in self.crossing))
        return fx.GraphModule(self.module, graph, "Prefix")

    def _build_suffix(self) -> fx.GraphModule:
        graph = fx.Graph()
        copies = {node: graph.placeholder(node.name) for node in self.crossing}
        constants = _Constants(self, graph, copies)
        for node in self.suffix:
            for source in node.all_input_nodes:
                constants.provide(source)
            if node.op == "output":
                graph.output(fx.map_arg(node.args[0], copies.__getitem__))
            else:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.lint()
        return fx.GraphModule(self.module, graph, "Suffix")


class _Constants:
    """Values that do not depend on the images' content, made again inside the suffix."""

    def __init__(self, cut: _Cut, graph: fx.Graph, copies: dict[fx.Node, fx.Node]) -> None:
        self.cut, self.graph, self.copies = cut, graph, copies

    def provide(self, node: fx.Node) -> None:
        if node in self.copies:
            return
        value = self.cut.facts[node].values[0]
        first = self.copies[self.cut.crossing[0]]
        if is_batch_size(node):
            self.copies[node] = self.graph.call_method("size", (first, 0))
        elif isinstance(value, torch.dtype | torch.device) and all(map(self.copies.get, node.all_input_nodes)):
            self.copies[node] = self.graph.node_copy(node, self.copies.__getitem__)
        elif isinstance(value, torch.dtype):
            self.copies[node] = self._attribute(self._crossing_like(value), "dtype")
        elif isinstance(value, torch.device):
            self.copies[node] = self._attribute(first, "device")
        elif self.cut.facts[node].from_images:
            raise NotTraceableError(
                f"{node.name} depends on the images but is no tensor that can be stored. "
                f"The whole-network loop (--cache off, cache=False) stores nothing"
            )
        else:
            for source in node.all_input_nodes:
                self.provide(source)
            self.copies[node] = self.graph.node_copy(node, self.copies.__getitem__)

    def _attribute(self, node: fx.Node, name: str) -> fx.Node:
        return self.graph.call_function(getattr, (node, name))

    def _crossing_like(self, dtype: torch.dtype) -> fx.Node:
        for node in self.cut.crossing:
            if self.cut.facts[node].values[0].dtype == dtype:
                return self.copies[node]
        raise NotTraceableError(f"no crossing has the dtype {dtype} that the suffix asks for")


def _ancestors(nodes: list[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


_VIEWS = frozenset(
    {
        *("view", "view_as", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "movedim", "t"),
        *("squeeze", "unsqueeze", "expand", "chunk", "split", "unbind", "narrow", "select", "getitem", "getattr"),
        *("contiguous", "to", "float", "type_as", "dropout", "drop_path"),
    }
)


def _may_alias(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node's value may share memory with its first input."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        return isinstance(layer, nn.Identity | nn.Flatten | nn.Unflatten) or "Drop" in type(layer).__name__
    return str(getattr(node.target, "__name__", node.target)) in _VIEWS


def _describe(node: fx.Node) -> str:
    return str(node.target).removeprefix("body.") if node.op == "call_module" else node.name


def _fingerprint(prefix: fx.GraphModule) -> str:
    layers = [
        f"{node.target}: {prefix.get_submodule(str(node.target))!r}"
        for node in prefix.graph.nodes
        if node.op == "call_module"
    ]
    # In place or not, the result is the same; only the network's earlier uses decide it.
    return re.sub(r"(, )?inplace=(True|False)", "", "\n".join([prefix.code, *layers]))
