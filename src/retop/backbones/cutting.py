"""Where to cut a graph so that the least is stored.

Hot nodes hold or depend on trainable parameters and must lie in the suffix. Cold nodes that cost real work lie in
the prefix, unless nothing after them can be stored. The rest (activations, pooling, reshaping, normalisation) may
lie on either side. The least storage is then a minimum cut: every value is an edge whose capacity is its size.
"""

from collections import deque
from collections.abc import Iterable

from torch import fx, nn

from retop.backbones.tracing import TracedNetwork

_UNBOUNDED = float("inf")
# In bytes: what it is worth to compute a costly node only once. Beyond any activation, so it yields only where
# nothing after the node can be stored.
_ONCE = 1e15


def find_hot(traced: TracedNetwork, trainable: Iterable[nn.Parameter]) -> set[fx.Node]:
    """Nodes that hold a trainable parameter or depend on one.

    Args:
        traced: the network's graph.
        trainable: its trainable parameters.

    Returns:
        The hot nodes.
    """
    wanted = {id(parameter) for parameter in trainable}
    hot: set[fx.Node] = set()
    for node in traced.module.graph.nodes:
        held = any(id(parameter) in wanted for parameter in _parameters(traced, node))
        if held or any(source in hot for source in node.all_input_nodes):
            hot.add(node)
    return hot


def choose_prefix(traced: TracedNetwork, hot: set[fx.Node]) -> set[fx.Node]:
    """The cold nodes to compute once, such that the values that cross are smallest.

    Where two cuts store the same, the later one wins: more is computed once.

    Args:
        traced: the network's graph.
        hot: nodes that must not be in the prefix.

    Returns:
        The prefix's nodes that depend on the images, the images' own node included.
    """
    flow = _FlowNetwork()
    for node in traced.module.graph.nodes:
        if not traced.facts[node].from_images:
            continue
        flow.add((node, "in"), (node, "out"), stored_bytes(traced, node))
        if node is traced.images:
            flow.add("source", (node, "in"), _UNBOUNDED)
        elif node not in hot and _is_costly(traced, node):
            flow.add("source", (node, "in"), _ONCE)
        if node in hot or node.op == "output":
            flow.add((node, "in"), "sink", _UNBOUNDED)
        for source in node.all_input_nodes:
            if traced.facts[source].from_images:
                flow.add((source, "out"), (node, "in"), _UNBOUNDED)
                flow.add((node, "in"), (source, "in"), _UNBOUNDED)
    suffix = flow.sink_side()
    return {node for node in traced.module.graph.nodes if traced.facts[node].from_images and (node, "in") not in suffix}


def stored_bytes(traced: TracedNetwork, node: fx.Node) -> float:
    """Bytes of a node's value for one image, at two bytes per floating-point number.

    Args:
        traced: the network's graph.
        node: one of its nodes.

    Returns:
        The bytes; infinity for a value that cannot be stored for each image by itself.
    """
    facts = traced.facts[node]
    if not facts.is_batched:
        return _UNBOUNDED
    value = facts.values[0]
    size = 2 if value.dtype.is_floating_point else value.dtype.itemsize
    return float(value.shape[1:].numel() * size)


def _parameters(traced: TracedNetwork, node: fx.Node) -> list[nn.Parameter]:
    if node.op == "call_module":
        return list(traced.module.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        value = getattr(traced.module.get_submodule(owner), name)
        return [value] if isinstance(value, nn.Parameter) else []
    return []


def _is_costly(traced: TracedNetwork, node: fx.Node) -> bool:
    return traced.facts[node].flops > 0 or bool(_parameters(traced, node))


class _FlowNetwork:
    """Maximum flow by shortest augmenting paths; the flow is cut short by few, small edges, so few paths exist."""

    def __init__(self) -> None:
        self.capacity: dict[object, dict[object, float]] = {"source": {}, "sink": {}}

    def add(self, start: object, end: object, capacity: float) -> None:
        self.capacity.setdefault(start, {})
        self.capacity.setdefault(end, {}).setdefault(start, 0.0)
        self.capacity[start][end] = self.capacity[start].get(end, 0.0) + capacity

    def sink_side(self) -> set[object]:
        """The smallest set of nodes on the sink's side of a minimum cut."""
        while path := self._shortest_path():
            room = min(self.capacity[start][end] for start, end in path)
            for start, end in path:
                self.capacity[start][end] -= room
                self.capacity[end][start] += room
        side: set[object] = {"sink"}
        queue = deque(side)
        while queue:
            end = queue.popleft()
            for start in self.capacity[end]:
                if start not in side and self.capacity[start][end] > 0:
                    side.add(start)
                    queue.append(start)
        return side

    def _shortest_path(self) -> list[tuple[object, object]]:
        came_from: dict[object, object] = {"source": None}
        queue: deque[object] = deque(["source"])
        while queue and "sink" not in came_from:
            start = queue.popleft()
            for end, room in self.capacity[start].items():
                if room > 0 and end not in came_from:
                    came_from[end] = start
                    queue.append(end)
        if "sink" not in came_from:
            return []
        path: list[tuple[object, object]] = []
        reached: object = "sink"
        while reached != "source":
            path.append((came_from[reached], reached))
            reached = came_from[reached]
        return path
