"""Tensors of a graph that depend on constants alone, computed where a converter left it to the runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.graph import Graph, attributes, is_standard, operator_of

if TYPE_CHECKING:
    from onnx import NodeProto

_LARGEST = 4096
"""Elements of a constant that is read or computed."""
_DEEPEST = 6
"""Nodes in a row that a constant is computed by."""


def read_setting(graph: Graph, node: NodeProto, position: int, attribute: str) -> NDArray[Any] | None:
    """A setting that is an input from some opset on, and an attribute before.

    Args:
        graph: The graph.
        node: The node.
        position: Place of the input.
        attribute: Name of the attribute.

    Returns:
        With one axis at least; None where it is not given, or is no constant.
    """
    if len(node.input) > position and node.input[position]:
        value = find_constant(graph, node.input[position])
    else:
        given = attributes(node).get(attribute)
        value = np.asarray(given) if given is not None else None
    return np.atleast_1d(value) if value is not None and value.size else None


def find_constant(graph: Graph, name: str) -> NDArray[Any] | None:
    """The value of a small tensor that depends on constants alone, as float64; None for any other.

    Args:
        graph: The graph.
        name: The tensor.
    """
    value = _compute(graph, name, _DEEPEST)
    return value.astype(np.float64) if value is not None and value.dtype.kind in "fiu" else None


def _compute(graph: Graph, name: str, depth: int) -> NDArray[Any] | None:
    if name in graph.initializers:
        small = np.prod(graph.initializers[name].dims, dtype=np.float64) <= _LARGEST
        return np.asarray(graph.weight(name)) if small else None
    index = graph.producer_of.get(name)
    if index is None or not depth or name in graph.from_picture:
        return None
    node = graph.nodes[index]
    if not is_standard(node) or operator_of(node).random or len(node.output) != 1:
        return None
    given = {one: value for one in node.input if one and (value := _compute(graph, one, depth - 1)) is not None}
    if given.keys() != set(filter(None, node.input)):
        return None
    from onnx.reference import ReferenceEvaluator

    alone = onnx.helper.make_graph([node], "constant", [onnx.ValueInfoProto(name=one) for one in given], [])
    alone.output.append(onnx.ValueInfoProto(name=name))
    model = onnx.helper.make_model(alone, opset_imports=graph.proto.opset_import)
    try:
        made: Any = ReferenceEvaluator(model).run(None, given)
        value = np.asarray(made[0])
    except Exception:  # whatever the reference does not compute is no constant here
        return None
    return value if value.size <= _LARGEST else None
