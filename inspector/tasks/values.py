"""What is provable of a tensor's values: the smallest and largest, and what those of one picture add up to.

Intervals are followed through the graph from what bounds values whatever comes in (a softmax, a sigmoid, a clip) to the
tensor that is asked about. Nothing is run, and nothing is concluded from names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from inspector.graph import Graph, attributes, is_standard
from inspector.graph.operators import operator_of
from inspector.tasks.intervals import ROUNDING, UNKNOWN, Values, divide_ranges, multiply_ends, scale_range

if TYPE_CHECKING:
    from onnx import NodeProto

Shapes = Mapping[str, Sequence[Any] | None]

_INF = math.inf
_DEEPEST = 64
"""Nodes that are followed one behind another; tails of classifiers have a handful."""

_LARGEST = 1 << 20
"""Elements of a constant that is read to know its smallest and largest."""


def find_values(graph: Graph, tensor: str, shapes: Shapes) -> Values:
    """What is provable of the values of `tensor`.

    Args:
        graph: The graph.
        tensor: The name of the tensor.
        shapes: The shapes of tensors as far as they are known; see :func:`inspector.layers.layout.infer_shapes`.

    Returns:
        What holds whatever picture comes in; ``Values()`` where nothing is known.
    """
    return ValuesFinder(graph, shapes).of(tensor, 0)


class ValuesFinder:
    """Follows values back through a graph; what was found once is remembered in `known`, by tensor."""

    def __init__(self, graph: Graph, shapes: Shapes) -> None:
        self.graph = graph
        self.shapes = shapes
        self.known: dict[str, Values] = {}

    def of(self, tensor: str, depth: int) -> Values:
        """The values of `tensor`; `depth` nodes have been followed to it."""
        if tensor not in self.known:
            self.known[tensor] = self._of(tensor, depth)
        return self.known[tensor]

    def _of(self, tensor: str, depth: int) -> Values:
        if tensor in self.graph.initializers:
            return self._constant(tensor)
        index = self.graph.producer_of.get(tensor)
        if index is None or depth > _DEEPEST:
            return UNKNOWN
        node = self.graph.nodes[index]
        low, high = operator_of(node).bounds
        rule = self.find_rule(node.op_type) if is_standard(node) else None
        try:
            found = rule(self, node, depth + 1) if rule is not None else UNKNOWN
        except (ValueError, IndexError, TypeError):  # a damaged node, with more or fewer inputs than its operator has
            found = UNKNOWN
        found = replace(found, low=max(low, found.low), high=min(high, found.high))
        single = found.single or self.count(tensor) == 1
        return replace(found, single=single)

    def find_rule(self, op: str) -> RangeRule | None:
        """What is known of an operator of ONNX's own."""
        return _RULES.get(op)

    def _constant(self, name: str) -> Values:
        tensor = self.graph.initializers[name]
        if math.prod(tensor.dims) > _LARGEST:
            return UNKNOWN
        array = np.asarray(self.graph.weight(name))
        if not array.size or array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            return UNKNOWN
        return Values(float(array.min()), float(array.max()), single=array.size == 1)

    def count(self, tensor: str) -> int | None:
        """Values that one picture gives; None where the shape is not known."""
        shape = self.shapes.get(tensor)
        if shape is None or not all(isinstance(size, int) for size in shape[1:]):
            return None
        return math.prod(shape[1:])

    def is_scalar(self, tensor: str) -> bool:
        """Whether it is one constant number."""
        weight = self.graph.initializers.get(tensor)
        return weight is not None and math.prod(weight.dims) == 1

    def made_by(self, tensor: str, op: str) -> NodeProto | None:
        """The node that makes `tensor`, if it is this standard operator."""
        index = self.graph.producer_of.get(tensor)
        node = self.graph.nodes[index] if index is not None else None
        return node if node is not None and node.op_type == op and is_standard(node) else None

    def step_over(self, tensor: str, op: str) -> str:
        """What the node that makes `tensor` reads first, if it is this standard operator; else `tensor`."""
        node = self.made_by(tensor, op)
        return tensor if node is None else str(node.input[0])


RangeRule = Callable[[ValuesFinder, "NodeProto", int], Values]
_RULES: dict[str, RangeRule] = {}


def _rule(*names: str) -> Callable[[RangeRule], RangeRule]:
    def register(rule: RangeRule) -> RangeRule:
        for name in names:
            _RULES[name] = rule
        return rule

    return register


def sums_over_all_classes(graph: Graph, node: NodeProto, shapes: Shapes) -> bool:
    """Whether a softmax sums to one over everything that a picture gives it."""
    shape = shapes.get(node.input[0])
    old = graph.opset < 13  # then all axes from the given one on were taken together
    axis = int(attributes(node).get("axis", 1 if old else -1))
    if shape is None:
        return axis in (1, -1)
    axis = axis + len(shape) if axis < 0 else axis
    wide = [at for at, size in enumerate(shape) if at > 0 and size != 1]
    if len(shape) == 1:  # one picture without a batch axis
        return axis == 0
    return all(at >= axis for at in wide) if old else wide in ([], [axis])


@_rule("Softmax")
def _softmax(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    return Values(0, 1, 1.0 if sums_over_all_classes(find.graph, node, find.shapes) else None)


@_rule("LpNormalization")
def _lp_normalization(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    return Values(-1, 1, unit=attributes(node).get("p", 2) == 2)


@_rule("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout")
def _same(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    return find.of(node.input[0], depth)


@_rule("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "ReduceMean", "GlobalAveragePool", "Gather", "Slice")
def _within(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    inside = find.of(node.input[0], depth)
    return Values(inside.low, inside.high)


@_rule("Split", "Expand", "Tile", "Resize", "TopK", "DepthToSpace", "GatherElements", "GatherND")
def _picked(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    # A resize by cubics leaves the range of its input.
    if node.op_type == "Resize" and attributes(node).get("mode") == "cubic":
        return UNKNOWN
    return _within(find, node, depth)


@_rule("DequantizeLinear")
def _dequantize(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    if not find.is_scalar(node.input[1]):
        return UNKNOWN
    scale = find.of(node.input[1], depth).low
    low, high = -_INF, _INF
    if len(node.input) > 2 and find.is_scalar(node.input[2]):
        offset = np.asarray(find.graph.weight(node.input[2])).reshape(-1)[0]
        if isinstance(offset, np.integer):
            grid = np.iinfo(offset.dtype)
            low, high = (int(grid.min) - int(offset)) * scale, (int(grid.max) - int(offset)) * scale
    if (quantize := find.made_by(node.input[0], "QuantizeLinear")) is not None:
        inside = find.of(quantize.input[0], depth)
        low, high = max(low, inside.low - scale / 2), min(high, inside.high + scale / 2)
    return Values(low, high)


@_rule("Clip")
def _clip(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    settings = attributes(node)
    low, high = settings.get("min", -_INF), settings.get("max", _INF)
    if len(node.input) > 1 and node.input[1]:
        low = find.of(node.input[1], depth).low
    if len(node.input) > 2 and node.input[2]:
        high = find.of(node.input[2], depth).high
    inside = find.of(node.input[0], depth)
    untouched = low <= inside.low + ROUNDING and high >= inside.high - ROUNDING
    return Values(
        max(low, min(inside.low, high)), min(high, max(inside.high, low)), inside.total if untouched else None
    )


@_rule("Relu")
def _relu(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    inside = find.of(node.input[0], depth)
    return Values(max(0, inside.low), max(0, inside.high), inside.total if inside.low >= 0 else None)


@_rule("Round", "Floor", "Ceil")
def _round(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    inside = find.of(node.input[0], depth)
    return Values(float(np.floor(inside.low)), float(np.ceil(inside.high)))


@_rule("Sigmoid")
def _sigmoid(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    return Values(0, 1)


@_rule("Exp")
def _exp(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    if (log := find.made_by(node.input[0], "LogSoftmax")) is not None:
        return Values(0, 1, 1.0 if sums_over_all_classes(find.graph, log, find.shapes) else None)
    inside = find.of(node.input[0], depth)
    return Values(math.exp(min(inside.low, 700)), math.exp(inside.high) if inside.high < 700 else _INF)


@_rule("Neg")
def _neg(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    inside = find.of(node.input[0], depth)
    return Values(-inside.high, -inside.low, None if inside.total is None else -inside.total)


@_rule("Reciprocal")
def _reciprocal(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    return divide_ranges(Values(1, 1), find.of(node.input[0], depth))


@_rule("Add", "Sum")
def _add(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    return _sum(find, node, [find.of(name, depth) for name in node.input])


@_rule("Mean")
def _mean(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    total = _sum(find, node, [find.of(name, depth) for name in node.input])
    return scale_range(total, 1 / len(node.input))


@_rule("Sub")
def _sub(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    right = find.of(node.input[1], depth)
    negative = Values(-right.high, -right.low, None if right.total is None else -right.total)
    return _sum(find, node, [find.of(node.input[0], depth), negative])


def _sum(find: ValuesFinder, node: NodeProto, parts: Sequence[Values]) -> Values:
    totals = [part.total for part in parts]
    alike = len({find.count(name) for name in node.input}) == 1 and not any(map(find.is_scalar, node.input))
    known = [t for t in totals if t is not None]
    total = math.fsum(known) if alike and len(known) == len(totals) else None
    return Values(sum(part.low for part in parts), sum(part.high for part in parts), total)


@_rule("Mul")
def _mul(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    left, right = (find.of(name, depth) for name in node.input)
    for factor, other, name in ((right, left, node.input[1]), (left, right, node.input[0])):
        if find.is_scalar(name):
            return scale_range(other, factor.low)
    if any(_is_inverse_length(find, factor, of) for factor, of in (node.input, reversed(node.input))):
        return Values(-1, 1, unit=True)
    if node.input[0] == node.input[1]:
        largest = max(abs(left.low), abs(left.high))
        return Values(0, largest * largest if largest < _INF else _INF)
    products = [multiply_ends(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    return Values(min(products), max(products))


@_rule("Div")
def _div(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    if (found := _written_out(find, node)) is not None:
        return found
    left, right = (find.of(name, depth) for name in node.input)
    if find.is_scalar(node.input[1]) and right.low != 0:
        return scale_range(left, 1 / right.low)
    return divide_ranges(left, right)


def _written_out(find: ValuesFinder, node: NodeProto) -> Values | None:
    """A quotient by the sum of what is divided (a softmax written out), or by its length (a vector of unit length)."""
    top, bottom = node.input
    total = find.made_by(bottom, "ReduceSum")
    if total is not None and total.input[0] == top and find.made_by(top, "Exp") is not None:
        return Values(0, 1, 1.0 if find.count(bottom) in (1, None) else None)
    return Values(-1, 1, unit=True) if _is_length(find, bottom, top) else None


def _step_back(find: ValuesFinder, tensor: str) -> str:
    """Before what keeps a length from zero by a constant, and lays it along what it divides."""
    for _ in range(6):
        index = find.graph.producer_of.get(tensor)
        if index is None:
            break
        node = find.graph.nodes[index]
        row, read = operator_of(node), [name for name in node.input if name and name not in find.graph.initializers]
        kept = row.moves or row.kind == "activation" or (row.affine and not row.product and not row.ordered)
        if not is_standard(node) or len(read) != 1 or not (row.hands_on or (row.elementwise and kept)):
            break
        tensor = read[0]
    return tensor


def _is_length(find: ValuesFinder, tensor: str, of: str) -> bool:
    """Whether `tensor` is the length of the vector `of`, maybe kept from zero."""
    tensor = _step_back(find, tensor)
    norm, root = find.made_by(tensor, "ReduceL2"), find.made_by(tensor, "Sqrt")
    if norm is not None:
        return bool(norm.input[0] == of)
    squares = root.input[0] if root is not None else _find_base(find, tensor, 0.5)
    return _is_sum_of_squares(find, squares, of)


def _is_sum_of_squares(find: ValuesFinder, tensor: str, of: str) -> bool:
    tensor = _step_back(find, tensor)
    if (squares := find.made_by(tensor, "ReduceSumSquare")) is not None:
        return bool(squares.input[0] == of)
    if (product := find.made_by(tensor, "Einsum")) is not None:
        terms, _, result = attributes(product).get("equation", "").replace(" ", "").partition("->")
        one, _, other = terms.partition(",")
        return list(product.input) == [of, of] and one == other != result and one.startswith(result)
    total = find.made_by(tensor, "ReduceSum")
    if total is None:
        return False
    product = find.made_by(total.input[0], "Mul")
    return (product is not None and list(product.input) == [of, of]) or _find_base(find, total.input[0], 2) == of


def _is_inverse_length(find: ValuesFinder, tensor: str, of: str) -> bool:
    """Whether `tensor` is one over the length of the vector `of`, as a reciprocal, a quotient or a power."""
    tensor = _step_back(find, tensor)
    if (inverse := find.made_by(tensor, "Reciprocal")) is not None:
        return _is_length(find, inverse.input[0], of)
    quotient = find.made_by(tensor, "Div")
    if quotient is not None and find.is_scalar(quotient.input[0]):
        return find.of(quotient.input[0], 0).low == 1 and _is_length(find, quotient.input[1], of)
    return _is_sum_of_squares(find, _find_base(find, tensor, -0.5), of)


def _find_base(find: ValuesFinder, tensor: str, exponent: float) -> str:
    """What is raised to that power, where `tensor` is a power; else nothing."""
    power = find.made_by(tensor, "Pow")
    if power is None or not find.is_scalar(power.input[1]):
        return ""
    return (
        str(power.input[0]) if float(np.asarray(find.graph.weight(power.input[1])).reshape(-1)[0]) == exponent else ""
    )


@_rule("Concat")
def _concat(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    parts = [find.of(name, depth) for name in node.input]
    totals = [part.total for part in parts]
    known = [t for t in totals if t is not None]
    total = math.fsum(known) if len(known) == len(totals) else None
    if len(parts) == 2 and any(_is_rest(find, a, b) for a, b in (node.input, reversed(node.input))):
        total = 1.0 if parts[0].single and parts[1].single else None
    return Values(min(part.low for part in parts), max(part.high for part in parts), total)


def _is_rest(find: ValuesFinder, part: str, other: str) -> bool:
    """Whether `part` is one minus `other`."""
    rest = find.made_by(part, "Sub")
    if rest is None or rest.input[1] != other or not find.is_scalar(rest.input[0]):
        return False
    return float(np.asarray(find.graph.weight(rest.input[0])).reshape(-1)[0]) == 1.0


@_rule("Max", "Min")
def _extreme(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    parts = [find.of(name, depth) for name in node.input]
    take = max if node.op_type == "Max" else min
    return Values(take(part.low for part in parts), take(part.high for part in parts))


@_rule("Where")
def _where(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    parts = [find.of(name, depth) for name in node.input[1:]]
    return Values(min(part.low for part in parts), max(part.high for part in parts))


@_rule("Pow")
def _pow(find: ValuesFinder, node: NodeProto, depth: int) -> Values:
    base, power = (find.of(name, depth) for name in node.input)
    if power.low != power.high:
        return UNKNOWN
    largest = max(abs(base.low), abs(base.high))
    if power.low == 2:
        return Values(0, largest**2 if largest < _INF else _INF)
    return Values(base.low**power.low, base.high**power.low) if base.low >= 0 and 0 < power.low < 8 else UNKNOWN
