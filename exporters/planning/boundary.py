"""Step 4: where the frozen part of a network ends and the trained part begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporters.planning.head import ClassifierHead
from inspector.errors import NotComputable, UsageError, listing
from inspector.graph import FLOAT_TYPES, Graph, node_inputs, operator_of
from inspector.layers import Layer, find_layer
from inspector.model import Model


@dataclass(frozen=True)
class Boundary:
    """The cut of the joint phase.

    Attributes:
        first: The first layer that is trained.
        start: Index of its first node; every node from there on is trained.
        tensors: What the trained part reads of the frozen one, the activations worth keeping.
    """

    first: Layer
    start: int
    tensors: tuple[str, ...]


def place_boundary(
    model: Model, head: ClassifierHead, unfreeze_from: str | None = None, unfreeze_last: int | None = None
) -> Boundary:
    """The cut before a named layer, or before the last N layers with weights below the head (default 3).

    A name that is also the beginning of other layers' names (a block) means the first of them.

    Raises:
        LayerNotFound: There is no such layer.
        UsageError: Nothing is left to train, or N is too large.
        NotComputable: The graph cannot be cut there.
    """
    graph = model.graph
    starts = {layer.name: find_first_node(graph, layer) for layer in model.layers}
    if unfreeze_from is not None:
        first = _named(model.layers, unfreeze_from)
    else:
        below = [x for x in model.layers if _has_weights(graph, x, starts) and starts[x.name] < head.node]
        wanted = 3 if unfreeze_last is None else unfreeze_last
        if unfreeze_last is None:
            wanted = min(wanted, len(below))
        if wanted > len(below) or not below:
            raise UsageError(
                f"{wanted} layers were to be unfrozen, and {len(below)} layers with weights come before the head",
                "give fewer, or name one with --unfreeze-from",
            )
        first = below[-wanted]
    start = starts[first.name]
    if start >= head.node:
        raise UsageError(
            f"nothing but the head comes after layer {first.name!r}",
            "name an earlier layer, or give --joint-epochs 0 to train the head alone",
        )
    return Boundary(first, start, _crossing(graph, head, start, first.name))


def find_first_node(graph: Graph, layer: Layer) -> int:
    """The first node of a layer: the convolution whose folded norm or bias makes the layer's tensor."""
    last = graph.producer_of[layer.tensor]
    index = last
    if layer.kind not in ("conv", "linear"):
        return index
    for _ in range(8):
        node = graph.nodes[index]
        operator = operator_of(node)
        if operator.weighted or not operator.standard:
            return index
        # Paddle reshapes the bias in the graph: only what comes from the picture leads to the convolution.
        made = [graph.producer_of[n] for n in node.input if n in graph.producer_of and n in graph.from_picture]
        if not made:
            return last
        index = max(made)
    return last


def find_float_initializers(graph: Graph, nodes: Sequence[int]) -> dict[str, int]:
    """Weights that these nodes read: initializer name -> number of elements, those of floating point only."""
    found: dict[str, int] = {}
    for index in nodes:
        for name in node_inputs(graph.nodes[index]):
            tensor = graph.initializers.get(name)
            if tensor is not None and tensor.data_type in FLOAT_TYPES:
                count = 1
                for size in tensor.dims:
                    count *= size
                found[name] = count
    return found


def _named(layers: Sequence[Layer], name: str) -> Layer:
    wanted = name.strip()
    inner = [x for x in layers if x.name == wanted or x.name.startswith(wanted + ".")]
    return inner[0] if inner else find_layer(layers, wanted)


def _has_weights(graph: Graph, layer: Layer, starts: dict[str, int]) -> bool:
    node = graph.nodes[starts[layer.name]]
    return operator_of(node).weighted and any(name in graph.initializers for name in node.input)


def _crossing(graph: Graph, head: ClassifierHead, start: int, name: str) -> tuple[str, ...]:
    given = {i.name for i in graph.inputs}
    # Sizes and positions are not worth keeping: they are found again in what is kept.
    data = graph.find_dependents(given, positions=False)

    def is_frozen(tensor: str) -> bool:
        return tensor in given or graph.producer_of.get(tensor, start) < start

    needed, _ = graph.needed([head.scores])
    tensors = {t for i in needed if i >= start for t in node_inputs(graph.nodes[i]) if t in data and is_frozen(t)}
    for _ in range(8):
        inside, _ = graph.needed([head.scores], tensors)
        # What only the shape of a frozen tensor is read of drags in all that made it.
        extra = {
            t
            for i in inside
            if operator_of(graph.nodes[i]).positions or operator_of(graph.nodes[i]).shape_inputs
            for t in node_inputs(graph.nodes[i])
            if t in data and t not in tensors and t not in given
        }
        extra = {t for t in extra if is_frozen(t)}
        if not extra:
            break
        tensors |= extra
    inside, _ = graph.needed([head.scores], tensors)
    if stray := [i for i in inside if i < start and any(t in data for t in graph.nodes[i].output)]:
        names = listing([graph.nodes[i].name or graph.nodes[i].op_type for i in stray])
        raise NotComputable(f"the network cannot be cut before {name!r}: {names} would be trained too", "name another")
    order = {t: graph.producer_of.get(t, -1) for t in tensors}
    return tuple(sorted(tensors, key=lambda t: (order[t], t)))
