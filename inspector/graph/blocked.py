"""Tensors that hold their channels in blocks: (N, C / b, H, W, b) in memory, told to be (N, C, H, W).

onnxruntime's optimiser writes them at its highest level. The channels are filled up to whole blocks with filters of
zeros.
"""

from __future__ import annotations

import numpy as np

from inspector.graph.graph import Graph
from inspector.graph.operators import operator_of
from inspector.graph.operators.contributed import BLOCKED

_LARGEST = 16
"""Channels of the largest blocks: fewer than that are filled up."""


def has_blocks(graph: Graph) -> bool:
    """Whether any node computes on channels in blocks."""
    return any(node.domain == BLOCKED for node in graph.nodes)


def find_blocked(graph: Graph, block: int) -> dict[str, int | None]:
    """Find the tensors that hold their channels in blocks.

    Args:
        graph: The graph.
        block: Channels in a block.

    Returns:
        Name of the tensor -> how many of its channels are real; None where nothing tells.
    """
    found: dict[str, int | None] = {}
    for node in graph.nodes:
        operator = operator_of(node)
        given = [name for name in node.input if name in found]
        if node.domain == BLOCKED and node.op_type == "ReorderOutput":
            continue
        if node.domain == BLOCKED and operator.weight is not None:
            found[node.output[0]] = _count_filters(graph, node.input[operator.weight], block)
        elif node.domain == BLOCKED and node.op_type == "ReorderInput":
            found[node.output[0]] = None
        elif given and operator.joins:
            counts = [found[name] for name in given]
            found[node.output[0]] = sum(c for c in counts if c) if all(counts) else None
        elif given and (node.domain == BLOCKED or operator.elementwise):
            known = [found[name] for name in given if found[name] is not None]
            found[node.output[0]] = known[0] if known else None
    return found


def find_foreign_blocks(graph: Graph, block: int | None) -> list[str]:
    """The convolutions whose blocks are not of this size: the file was made for another kind of processor.

    Args:
        graph: The graph.
        block: Channels in a block on this machine; None where it has no blocks.

    Returns:
        Names of their outputs.
    """
    known = find_blocked(graph, block) if block is not None else {}
    convolutions = [n for n in graph.nodes if n.domain == BLOCKED and operator_of(n).weight is not None]
    return [node.output[0] for node in convolutions if known.get(node.output[0]) is None]


def _count_filters(graph: Graph, weight: str, block: int) -> int | None:
    """How many filters are no filling: all but the last of zeros, of which there are fewer than a block has."""
    tensor = graph.initializers.get(weight)
    if tensor is None or not tensor.dims or tensor.dims[0] % block:
        return None
    blocks = np.asarray(graph.weight(weight)).reshape(tensor.dims[0] // block, -1, block)
    used = np.flatnonzero((blocks[-1] != 0).any(axis=0))
    filling = block - 1 - int(used[-1]) if len(used) else 0
    return int(tensor.dims[0]) - (filling if filling < _LARGEST else 0)
