"""The graph of a network: recorded with torch.fx, with shapes and constants worked out.

N batch.
"""

import copy
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import get_notrace_functions, get_notrace_modules  # type: ignore[attr-defined]
from timm.layers.drop import DropBlock2d, DropPath
from timm.layers.patch_dropout import PatchDropout
from torch import Tensor, fx, nn
from torch.fx.node import Argument

from retop.backbones.network import ImageNetwork, Normalisation
from retop.backbones.operations import OperationCounter, run_without_content
from retop.errors import NotTraceableError

# A number that is the same at both sizes is a constant; one in proportion to them is a multiple of the batch size.
_BATCH_SIZES = (2, 3)
# Modules that do something else in training, which a graph recorded in evaluation mode would lose.
_TRAINING_AWARE = (DropPath, PatchDropout, DropBlock2d)


class NetworkTracer(fx.Tracer):
    """Records a network down to torch's own modules and those that timm says not to look into."""

    def __init__(self, network: ImageNetwork) -> None:
        super().__init__(
            autowrap_functions=tuple(get_notrace_functions()),  # type: ignore[no-untyped-call]
            param_shapes_constant=True,
        )
        # fx looks for these functions where it sees a module called; the body's forward_features is called directly.
        self._autowrap_search.append(sys.modules[type(network.body).__module__])
        self.leaves = (*get_notrace_modules(), *_TRAINING_AWARE, Normalisation)  # type: ignore[no-untyped-call]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one node."""
        has_statistics = any(name.startswith("running_") for name, _ in m.named_buffers(recurse=False))
        return has_statistics or isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)


@dataclass
class NodeFacts:
    """What is known about a node's value.

    Attributes:
        values: at the batch sizes that were tried; tensors without content.
        flops: of one image; a multiply-add counts as two.
        from_images: whether the value depends on the images.
    """

    values: tuple[Any, ...]
    flops: int
    from_images: bool = False

    @property
    def is_tensor(self) -> bool:
        """Whether the value is one tensor."""
        return isinstance(self.values[0], Tensor)

    @property
    def is_batched(self) -> bool:
        """Whether it is a tensor whose first axis, and no other, is the batch."""
        if not self.is_tensor or self.values[0].ndim == 0:
            return False
        firsts = tuple(value.shape[0] for value in self.values)
        return firsts == _BATCH_SIZES and len({value.shape[1:] for value in self.values}) == 1


@dataclass
class TracedNetwork:
    """A network's graph.

    Attributes:
        module: the graph as a module; its layers are the network's own.
        facts: of each node.
        images: the input node.
    """

    module: fx.GraphModule
    facts: dict[fx.Node, NodeFacts]
    images: fx.Node


def trace(network: ImageNetwork, image_size: tuple[int, int]) -> TracedNetwork:
    """Record a network's graph in evaluation mode.

    Numbers that do not depend on the batch size become constants; those that do are computed from it.

    Args:
        network: left in the mode in which it was.
        image_size: height and width in pixels.

    Returns:
        The graph, without dead code, with the facts of its nodes.

    Raises:
        NotTraceableError: the network's computation depends on the content of its input, or on the batch size in
            a way that is not in proportion to it.
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        graph = NetworkTracer(network).trace(network)
        module = fx.GraphModule(network, graph)
        facts = _propagate(module, image_size)
    except NotTraceableError:
        raise
    # Recording runs the network's own code, which may raise anything.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotTraceableError(
            f"the graph of {type(network.body).__name__} cannot be recorded: {reason}. "
            f"The whole-network loop (--cache off, cache=False) needs no graph"
        ) from error
    finally:
        for module_, mode in modes.items():
            module_.training = mode
    images = next(node for node in module.graph.nodes if node.op == "placeholder")
    _Simplifier(module, facts, images).run()
    return TracedNetwork(module, facts, images)


class _Recorder(nn.Module):
    """Runs a graph and keeps every node's value and operations."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__()
        self.module = module
        self.values: dict[fx.Node, Any] = {}
        self.flops: dict[fx.Node, int] = {}

    def forward(self, images: Tensor) -> None:
        recorder = self

        class Interpreter(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                before = counter.flops
                recorder.values[n] = super().run_node(n)
                recorder.flops[n] = counter.flops - before
                return recorder.values[n]

        with OperationCounter() as counter:
            Interpreter(self.module, garbage_collect_values=False).run(images)


def _propagate(module: fx.GraphModule, image_size: tuple[int, int]) -> dict[fx.Node, NodeFacts]:
    recorders = [_Recorder(module) for _ in _BATCH_SIZES]
    for recorder, size in zip(recorders, _BATCH_SIZES, strict=True):
        run_without_content(recorder, (size, 3, *image_size), torch.uint8)
    return {
        node: NodeFacts(
            tuple(recorder.values[node] for recorder in recorders), recorders[0].flops[node] // _BATCH_SIZES[0]
        )
        for node in module.graph.nodes
    }


class _Simplifier:
    """Turns numbers into constants, and makes in-place operations safe to cut apart."""

    def __init__(self, module: fx.GraphModule, facts: dict[fx.Node, NodeFacts], images: fx.Node) -> None:
        self.module, self.graph, self.facts, self.images = module, module.graph, facts, images

    def run(self) -> None:
        self._order_mutations()
        self._drop_assertions()
        self._write_out_numbers()
        self._wake_dropout()
        self.graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
        self._mark_images()
        self.module.recompile()

    def _order_mutations(self) -> None:
        """Whoever reads a value after it was changed in place reads the result of the change instead."""
        positions = {node: place for place, node in enumerate(self.graph.nodes)}
        for node in list(self.graph.nodes):
            if changed := mutated_input(self.module, node):
                later = {user for user in changed.users if positions[user] > positions[node]}
                changed.replace_all_uses_with(node, delete_user_cb=later.__contains__)

    def _drop_assertions(self) -> None:
        for node in list(self.graph.nodes):
            if node.op == "call_function" and node.target in (torch._assert, torch._check):
                self.graph.erase_node(node)

    def _write_out_numbers(self) -> None:
        with self.graph.inserting_after(self.images):
            batch = self.graph.call_method("size", (self.images, 0))
        self.facts[batch] = NodeFacts(_BATCH_SIZES, 0)
        for node in list(self.graph.nodes):
            if node.op in ("placeholder", "output") or node is batch:
                continue
            facts = self.facts[node]
            if _is_number(facts.values[0]):
                with self.graph.inserting_before(node):
                    value = self._express(facts.values, batch)
                if value is not _NOT_PROPORTIONAL:
                    _replace_uses(node, value)

    def _express(self, values: tuple[Any, ...], batch: fx.Node) -> Any:
        first = values[0]
        if isinstance(first, tuple | list):
            parts = [self._express(tuple(value[i] for value in values), batch) for i in range(len(first))]
            return _NOT_PROPORTIONAL if any(part is _NOT_PROPORTIONAL for part in parts) else tuple(parts)
        if all(value == first for value in values):
            return first
        if not isinstance(first, int) or isinstance(first, bool):
            return _NOT_PROPORTIONAL
        multiple, rest = divmod(first, _BATCH_SIZES[0])
        if rest or any(value != multiple * size for value, size in zip(values, _BATCH_SIZES, strict=True)):
            return _NOT_PROPORTIONAL
        return batch if multiple == 1 else self._multiply(batch, multiple)

    def _multiply(self, batch: fx.Node, multiple: int) -> fx.Node:
        node = self.graph.call_function(operator.mul, (batch, multiple))
        self.facts[node] = NodeFacts(tuple(size * multiple for size in _BATCH_SIZES), 0)
        return node

    def _wake_dropout(self) -> None:
        """Recorded as off for ever, because recording happens in evaluation mode: make it a layer again."""
        for place, node in enumerate(list(self.graph.nodes)):
            if node.op == "call_function" and node.target is F.dropout:
                probability = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
                name = f"recorded_dropout_{place}"
                self.module.add_submodule(name, nn.Dropout(probability).eval())
                source = node.args[0] if node.args else node.kwargs["input"]
                node.op, node.target, node.args, node.kwargs = "call_module", name, (source,), {}

    def _mark_images(self) -> None:
        for node in self.graph.nodes:
            facts = self.facts[node]
            # The batch size, a dtype or a device can be had from any value that crosses.
            elsewhere = isinstance(facts.values[0], torch.dtype | torch.device) or is_batch_size(node)
            reads = any(self.facts[source].from_images for source in node.all_input_nodes)
            facts.from_images = node is self.images or (reads and not elsewhere)


_NOT_PROPORTIONAL = object()


def _is_number(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_number(item) for item in value)
    return value is None or isinstance(value, int | float | bool | str)


def _replace_uses(node: fx.Node, value: Argument) -> None:
    for user in list(node.users):

        def swap(argument: fx.Node) -> Argument:
            return value if argument is node else argument

        user.args = fx.map_arg(user.args, swap)
        user.kwargs = fx.map_arg(user.kwargs, swap)


def is_batch_size(node: fx.Node) -> bool:
    """Whether a node is the batch size, as read from the images."""
    source = node.args[0] if node.args else None
    reads_images = isinstance(source, fx.Node) and source.op == "placeholder"
    return reads_images and node.op == "call_method" and node.target == "size" and node.args[1:] == (0,)


def mutated_input(module: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The value that a node changes in place, or None.

    Args:
        module: the graph's module.
        node: one of its nodes.

    Returns:
        The node of the changed value.
    """
    if node.op == "call_module":
        in_place = getattr(module.get_submodule(str(node.target)), "inplace", False)
    elif node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        in_place = node.kwargs.get("inplace", False) or node.target in _IN_PLACE or _ends_in_place(name)
    else:
        in_place = node.op == "call_method" and _ends_in_place(str(node.target))
    first = node.args[0] if node.args else node.kwargs.get("input")
    return first if in_place and isinstance(first, fx.Node) else None


def _ends_in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


_IN_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def without_mutation(module: fx.GraphModule, node: fx.Node) -> None:
    """Let a node that changes its input in place make a new value instead.

    Args:
        module: the graph's module; it gets a copy of the layer, because the network itself may rely on the change.
        node: the node.
    """
    if node.op == "call_module":
        layer = copy.copy(module.get_submodule(str(node.target)))
        layer.inplace = False  # type: ignore[assignment]
        node.target = f"not_in_place_{node.name}"
        module.add_submodule(node.target, layer)
    elif node.target in _IN_PLACE:
        node.target = _IN_PLACE[node.target]
    elif node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
    elif node.op == "call_method":
        node.target = str(node.target).rstrip("_")
    else:
        node.target = getattr(torch, getattr(node.target, "__name__", "").rstrip("_"))
