"""What the checks ask of a graph: the layer of a node or a weight, the filters, the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.subject import Subject
from inspector.graph import Graph, operator_of
from inspector.graph.operators.contributed import BLOCKED

if TYPE_CHECKING:
    from onnx import NodeProto


def find_layer_after(subject: Subject, node: int) -> str | None:
    """The name of the first layer that is made from what node `node` makes; None when there is none near."""
    graph = subject.graph
    by_tensor = {layer.tensor: layer.name for layer in subject.model.layers}
    for _ in range(8):
        outputs = [name for name in graph.nodes[node].output if name]
        for name in outputs:
            if name in by_tensor:
                return by_tensor[name]
        readers = [i for name in outputs for i in graph.consumers_of.get(name, [])]
        if not readers:
            return None
        node = readers[0]
    return None


def find_layer_of_weight(subject: Subject, name: str) -> str | None:
    """The name of the layer that an initializer belongs to."""
    readers = subject.graph.consumers_of.get(name, [])
    return find_layer_after(subject, readers[0]) if readers else None


def iterate_filters(subject: Subject) -> Iterator[tuple[str, NDArray[Any]]]:
    """(layer name, weights (C, n)) of every convolution and linear layer with constant weights, a row per channel."""
    graph = subject.graph
    for i, node in enumerate(graph.nodes):
        operator = operator_of(node)
        position, axis = operator.weight, operator.rows_axis(node)
        if node.domain == BLOCKED:
            continue  # the runtime's own blocks of 8 or 16 channels, with padding: a row is no filter
        if position is None or axis is None or operator.transposed or operator.integer or len(node.input) <= position:
            continue
        name = node.input[position]
        producer = graph.producer_of.get(name)
        if producer is not None and operator_of(graph.nodes[producer]).transparent:
            name = graph.nodes[producer].input[0]
        layer = find_layer_after(subject, i)
        if name not in graph.initializers or layer is None or len(graph.initializers[name].dims) < 2:
            continue
        weights = np.moveaxis(graph.weight(name), axis, 0)
        yield layer, weights.reshape(len(weights), -1)


def find_origin(graph: Graph, tensor: str) -> NodeProto | None:
    """The node that makes a tensor, behind quantization, casts and identities; None for an input."""
    for _ in range(16):
        index = graph.producer_of.get(tensor)
        if index is None:
            return None
        node = graph.nodes[index]
        if not operator_of(node).transparent:
            return node
        tensor = node.input[0]
    return None


def is_quantized(graph: Graph) -> bool:
    """Whether the graph computes with integers: it has nodes that take or make them."""
    return any(operator_of(node).integer for node in graph.nodes)


def is_half_precision(graph: Graph) -> bool:
    """Whether the graph computes in half precision: it has weights of 16 bits."""
    return graph.half_precision
