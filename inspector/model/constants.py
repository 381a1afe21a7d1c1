"""Tensors of a graph that depend on constants alone, computed where a converter left it to the runtime."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.graph import Graph, Operator, attributes, is_standard, operator_of

if TYPE_CHECKING:
    from onnx import NodeProto

_LARGEST = 4096
"""Elements of a constant that is read or computed."""
_DEEPEST = 6
"""Nodes in a row that a constant is computed by."""
_MOST_NODES = 32
"""Nodes that one constant is computed by."""
_MOST_INPUTS = 16
"""Inputs of such a node."""


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
    return np.atleast_1d(value) if value is not None and value.size and value.dtype.kind in "fiu" else None


def read_integers(graph: Graph, node: NodeProto, position: int, attribute: str) -> list[int] | None:
    """A setting of whole numbers, as :func:`read_setting` finds it.

    Args:
        graph: The graph.
        node: The node.
        position: Place of the input.
        attribute: Name of the attribute.

    Returns:
        None where it is not given, is no constant, or is no list of whole numbers.
    """
    value = read_setting(graph, node, position, attribute)
    if value is None or value.ndim != 1 or not np.isfinite(value).all() or (value % 1).any():
        return None
    return [int(number) for number in value]


def find_constant(graph: Graph, name: str) -> NDArray[Any] | None:
    """The value of a small tensor that depends on constants alone, as float64; None for any other.

    Args:
        graph: The graph.
        name: The tensor.
    """
    value = _compute(graph, name, _DEEPEST, {})
    if value is None or value.dtype.kind not in "fiu":
        return None
    with np.errstate(invalid="ignore"):  # a NaN that signals stays a NaN, and is no news
        return value.astype(np.float64)


def _compute(graph: Graph, name: str, depth: int, made: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    """A small constant; `made` holds what was computed before. Opening a file runs this: every step is bounded."""
    if name in graph.initializers:
        small = np.prod(graph.initializers[name].dims, dtype=np.float64) <= _LARGEST
        return np.asarray(graph.weight(name)) if small else None
    if name in made:
        return made[name]
    index = graph.producer_of.get(name)
    if index is None or not depth or name in graph.from_picture:
        return None
    node = graph.nodes[index]
    if not _is_bounded(node) or len(node.output) != 1 or len(node.input) > _MOST_INPUTS:
        return None
    given: dict[str, NDArray[Any]] = {}
    for one in filter(None, node.input):
        value = _compute(graph, one, depth - 1, made)
        if value is None or len(made) >= _MOST_NODES:
            return None
        given[one] = value
    if not _is_small(node, operator_of(node), given):
        return None
    found = _run(graph, node, given)
    if found is not None:
        made[name] = found
    return found


def _is_bounded(node: NodeProto) -> bool:
    """Whether the shapes of its inputs bound the output of a node: pointwise, or the same elements elsewhere.

    Not so an operator that makes a shape from values, such as a constant of a shape or a repetition, or runs a body.
    """
    operator = operator_of(node)
    moved = operator.moves and operator.integer_form in ("moved", "join") and not operator.window
    return is_standard(node) and not operator.random and (operator.elementwise or operator.passes or moved)


def _is_small(node: NodeProto, operator: Operator, given: dict[str, NDArray[Any]]) -> bool:
    """Whether what a node makes has at most as many elements as is read of a constant, before it is made."""
    parts = [given[one] for one in node.input if one]
    if not operator.elementwise:
        return sum(part.size for part in parts) <= _LARGEST
    if operator.per_channel and any(part.size != 1 for part in parts[1:]):
        return False
    try:
        shape = np.broadcast_shapes(*(part.shape for part in parts))
    except ValueError:  # shapes that do not fit each other
        return False
    return math.prod(shape) <= _LARGEST


def _run(graph: Graph, node: NodeProto, given: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    from onnx.reference import ReferenceEvaluator

    alone = onnx.helper.make_graph([node], "constant", [onnx.ValueInfoProto(name=one) for one in given], [])
    alone.output.append(onnx.ValueInfoProto(name=node.output[0]))
    model = onnx.helper.make_model(alone, opset_imports=graph.proto.opset_import)
    try:
        with np.errstate(all="ignore"):
            made: Any = ReferenceEvaluator(model).run(None, given)
        value = np.asarray(made[0])
    except Exception:  # whatever the reference does not compute is no constant here
        return None
    return value if value.size <= _LARGEST else None
