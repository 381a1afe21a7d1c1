"""What a file itself gives of its classes: its probabilities, and how it rounds the scores under them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.graph import Graph, operator_of
from inspector.graph.element_types import FLOAT_TYPES
from inspector.graph.nodes import attributes
from inspector.onnx import NodeProto
from inspector.records import record

_LONGEST_TAIL = 16


@record
class RoundedScores:
    """Scores that a graph rounds to integers and turns back: score = (round(value / scale) + zero - zero) * scale.

    Attributes:
        tensor: The tensor of floats that is rounded.
        scale: The step from one integer to the next.
        zero: The integer that stands for 0.
        low: The smallest integer.
        high: The largest integer.
    """

    tensor: str
    scale: float
    zero: int
    low: int
    high: int

    def round(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The scores, float32, in the arithmetic of the graph."""
        scale = np.float32(self.scale)
        integers = np.clip(np.rint(values.astype(np.float32) / scale) + self.zero, self.low, self.high)
        return np.asarray((integers - self.zero).astype(np.float32) * scale)


def find_own(graph: Graph, output: str) -> str | None:
    """Find the tensor of a graph with the probabilities that it gives.

    What only moves values behind it is left out: a Reshape to a number of pictures would not run for another one.

    Args:
        graph: The graph.
        output: What holds the softmax or sigmoid of scores, perhaps rounded, moved or ranked.

    Returns:
        The last tensor of floats that is rounded otherwise than the one before it; None where the graph gives
        logarithms.
    """
    path: list[tuple[str, NodeProto]] = []
    tensor = output
    for _ in range(_LONGEST_TAIL):
        node = _find_maker(graph, tensor)
        if node is None:
            return None
        ranks = operator_of(node).ranks
        path = [] if ranks else [*path, (tensor, node)]
        if not operator_of(node).passes and not ranks:
            break
        tensor = node.input[0]
    if not path or operator_of(path[-1][1]).passes or operator_of(path[-1][1]).ending == "log-softmax":
        return None
    own, floats = path[-1][0], True
    for tensor, node in reversed(path[:-1]):
        row = operator_of(node)
        if row.requantizes:
            floats = not row.integer
        elif node.op_type == "Cast":
            floats = attributes(node).get("to") in FLOAT_TYPES
        elif not row.moves:
            break  # a type that another tensor decides
        if floats and not row.moves:
            own = tensor
    return own


def find_rounding(graph: Graph, scores: str) -> RoundedScores | None:
    """Find how scores are rounded to integers, where one scale and zero point, both constants, hold for all.

    Args:
        graph: The graph.
        scores: The tensor with the scores.

    Returns:
        None where they are not.
    """
    after = _find_maker(graph, scores)
    before = _find_maker(graph, after.input[0]) if after is not None else None
    if after is None or before is None or len(after.input) < 3 or list(after.input[1:]) != list(before.input[1:]):
        return None
    integer = [operator_of(node).requantizes and operator_of(node).integer for node in (before, after)]
    if integer != [True, False] or not operator_of(after).requantizes:
        return None
    if any(name not in graph.initializers for name in after.input[1:]):
        return None
    scale, zero = (np.asarray(graph.weight(name)) for name in after.input[1:])
    if scale.dtype != np.float32 or scale.size != 1 or zero.size != 1 or zero.dtype.kind not in "iu":
        return None
    if zero.dtype.itemsize > 2:
        return None
    kept: Any = np.iinfo(zero.dtype)
    return RoundedScores(before.input[0], float(scale.reshape(())), int(zero.reshape(())), int(kept.min), int(kept.max))


def _find_maker(graph: Graph, tensor: str) -> NodeProto | None:
    index = graph.producer_of.get(tensor)
    return graph.nodes[index] if index is not None else None
