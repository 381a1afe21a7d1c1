"""Probabilities that a graph gives in other units, as percent or in whole numbers, and what they are made of."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from inspector.graph import Graph, attributes, is_standard, operator_of
from inspector.graph.element_types import FLOAT_TYPES
from inspector.graph.operators import Operator
from inspector.onnx import NodeProto
from inspector.records import record
from inspector.tasks.intervals import ROUNDING
from inspector.tasks.values import Shapes, find_values

_LONGEST_TAIL = 16

_Step = tuple[Callable[[float], float], bool, str]
"""What a node makes of a number, whether it rounds, the tensor that it is made of."""


@record
class ScaledEnd:
    """What constants and roundings make of a tensor at the end of a graph: factor * value + offset.

    Attributes:
        tensor: The tensor that they are made of.
        factor: What it is multiplied by; not zero.
        offset: What is added then.
        rounded: Whether the result is rounded on the way.
        floats: The last tensor of floats that still is what `tensor` is, or that rounded.
    """

    tensor: str
    factor: float
    offset: float
    rounded: bool
    floats: str

    @property
    def apart(self) -> bool:
        """Whether the end holds other numbers than the tensor, and not only rounded ones."""
        return abs(self.factor - 1) > ROUNDING or abs(self.offset) > ROUNDING

    def describe(self) -> str:
        """What is done to the tensor, as in ``times 255, rounded``."""
        moved = f" plus {self.offset:.6g}" if self.offset > 0 else f" minus {-self.offset:.6g}" if self.offset else ""
        return f"times {self.factor:.6g}{moved}{', rounded' * self.rounded}"


def find_scaled(graph: Graph, output: str, shapes: Shapes) -> ScaledEnd | None:
    """Step back from a tensor over sums and products with single constants, and over roundings.

    Args:
        graph: The graph.
        output: The tensor.
        shapes: The shapes of tensors as far as they are known.

    Returns:
        None where there is nothing of the kind.
    """
    tensor = output
    steps: list[tuple[NodeProto, Callable[[float], float], bool]] = []
    for _ in range(_LONGEST_TAIL):
        index = graph.producer_of.get(tensor)
        step = _find_step(graph, graph.nodes[index], shapes) if index is not None else None
        if index is None or step is None:
            break
        number, rounds, tensor = step
        steps.append((graph.nodes[index], number, rounds))
    if all(operator_of(node).moves for node, _, _ in steps):
        return None
    zero, one, rounded, floats, whole = 0.0, 1.0, False, tensor, False
    for node, number, rounds in reversed(steps):
        zero, one = number(zero), number(one)
        if rounds:
            # A half that is added before digits are cut off is a way to round.
            zero, one, rounded = float(math.floor(zero)), one - zero + math.floor(zero), True
        row = operator_of(node)
        if row.requantizes or node.op_type == "Cast":
            whole = row.integer or (node.op_type == "Cast" and attributes(node).get("to") not in FLOAT_TYPES)
        if not whole and not row.moves and abs(zero) < ROUNDING and abs(one - zero - 1) < ROUNDING:
            floats = node.output[0]
    factor = one - zero
    if not math.isfinite(factor) or not math.isfinite(zero) or not factor:
        return None
    return ScaledEnd(tensor, factor, zero, rounded, floats)


def _find_step(graph: Graph, node: NodeProto, shapes: Shapes) -> _Step | None:
    """What a node makes of a number, whether it rounds, and what it is made of; None where it does something else."""
    row = operator_of(node)
    if not is_standard(node) or not node.input:
        return None
    if row.requantizes:
        return _find_requantizing(graph, node)
    if row.passes:
        return float, node.op_type == "Cast" and attributes(node).get("to") not in FLOAT_TYPES, node.input[0]
    if row.unary and row.steps and row.increasing:
        return float, True, node.input[0]
    if row.unary and row.integer_form == "range" and _changes_nothing(graph, node, shapes):
        return float, False, node.input[0]
    if not row.arithmetic:
        return None
    for at, name in enumerate(node.input):
        number = _read_number(graph, name)
        if number is not None and not (row.ordered and at == 0) and not (row.ordered and row.product and not number):
            return _compute_with(row, number), False, node.input[1 - at]
    return None


def _compute_with(row: Operator, number: float) -> Callable[[float], float]:
    """What a sum, difference, product or quotient makes of its first operand."""
    if row.product:
        return lambda x: x / number if row.ordered else x * number
    return lambda x: x - number if row.ordered else x + number


def _find_requantizing(graph: Graph, node: NodeProto) -> _Step | None:
    """The step of a node that turns floats into integers or back, by one scale and zero point."""
    scale = _read_number(graph, node.input[1]) if len(node.input) > 1 else None
    offset = _read_number(graph, node.input[2]) if len(node.input) > 2 and node.input[2] else 0.0
    if not scale or offset is None:
        return None
    if operator_of(node).integer:
        return lambda x: x / scale + offset, True, node.input[0]
    return lambda x: (x - offset) * scale, False, node.input[0]


def _changes_nothing(graph: Graph, node: NodeProto, shapes: Shapes) -> bool:
    """Whether a clip or a ReLU leaves what it is given, as all of it is proven to lie within."""
    inside, after = find_values(graph, node.input[0], shapes), find_values(graph, node.output[0], shapes)
    slack = ROUNDING * max(abs(inside.low), abs(inside.high), 1)
    return bool(abs(after.low - inside.low) <= slack and abs(after.high - inside.high) <= slack)


def _read_number(graph: Graph, name: str) -> float | None:
    """A constant that is one number; None for anything else."""
    tensor = graph.initializers.get(name)
    if tensor is None or math.prod(tensor.dims) != 1:
        return None
    number = float(np.asarray(graph.weight(name)).reshape(-1)[0])
    return number if math.isfinite(number) else None
