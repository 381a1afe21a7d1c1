"""How large the numbers are that a tensor's values are rounded from, where that is provable."""

from __future__ import annotations

from collections.abc import Iterable

from inspector.graph import Graph
from inspector.layers import infer_shapes
from inspector.tasks.values import find_values

_LARGEST = 1.0
"""A sigmoid, a tanh and a softmax are computed from numbers around 1. Wider bounds, as of a clip, prove nothing."""


def find_operand_scales(graph: Graph, tensors: Iterable[str]) -> dict[str, float]:
    """The scale at which bounded values are rounded, by the tensor's name; 0 where no bounds are proven.

    A saturated sigmoid holds 1e-5, but it is 1 / (1 + exp(-x)): its last bit is that of 1, not that of 1e-5.
    """
    names, found = list(tensors), {}
    shapes = infer_shapes(graph) if names else {}
    for name in names:
        values = find_values(graph, name, shapes)
        bound = max(abs(values.low), abs(values.high))
        found[name] = bound if bound <= _LARGEST * 1.001 else 0.0
    return found
