"""Between which values a tensor lies, for every picture that there can be: intervals from the picture's own range on.

They are those of interval arithmetic (Moore 1966): no value lies outside, and not every value inside need be reached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.graph import Graph, attributes, is_standard, operator_of
from inspector.tasks.intervals import UNKNOWN, Values
from inspector.tasks.values import RangeRule, Shapes, ValuesFinder

if TYPE_CHECKING:
    from onnx import NodeProto

_INF = math.inf


@dataclass(frozen=True)
class Range:
    """Between which values a tensor lies.

    Attributes:
        low: No value is smaller, for any picture; -inf where nothing is known.
        high: No value is larger; inf where nothing is known.
        exact: Some picture has an element at each end, and by continuity one at each value between them.
    """

    low: float
    high: float
    exact: bool = False


def find_ranges(graph: Graph, tensors: list[str], shapes: Shapes, known: Mapping[str, Range]) -> dict[str, Range]:
    """Follow intervals through the graph.

    Args:
        graph: The graph.
        tensors: What is asked about.
        shapes: The shapes of tensors as far as they are known; see :func:`inspector.layers.layout.infer_shapes`.
        known: What the inputs lie between, by name.

    Returns:
        The interval of each of `tensors`.
    """
    finder = _RangeFinder(graph, shapes)
    finder.known |= {name: Values(x.low, x.high) for name, x in known.items()}
    exact = {name for name, x in known.items() if x.exact}
    needed, _ = graph.needed(tensors)
    # One after the other, since the graph may be deeper than Python's stack.
    for index in sorted(needed):
        node = graph.nodes[index]
        for name in node.output:
            finder.of(name, 0)
        if _stays_exact(graph, node, exact):
            exact.add(node.output[0])
    found = {name: finder.of(name, 0) for name in tensors}
    return {name: Range(x.low, x.high, name in exact) for name, x in found.items()}


def _stays_exact(graph: Graph, node: NodeProto, exact: set[str]) -> bool:
    """Whether a node applies one continuous function to every element of a tensor whose range is reached."""
    row = operator_of(node)
    if not (row.elementwise and is_standard(node)) or row.compares or row.logical or row.requantizes:
        return False
    moving = [name for name in node.input if name and name not in graph.initializers]
    # A constant for each channel goes with the range of that channel alone, which is not known.
    single = all(graph.initializers[n].dims in ([], [1]) for n in node.input if n in graph.initializers)
    return len(moving) == 1 and moving[0] in exact and single


class _RangeFinder(ValuesFinder):
    """What is followed to a probability, and what a picture's values become in convolutions, norms and sums."""

    def find_rule(self, op: str) -> RangeRule | None:
        return _RULES.get(op) or super().find_rule(op)

    def constant(self, name: str) -> NDArray[Any] | None:
        """A finite constant of any size; None for anything else."""
        if name not in self.graph.initializers:
            return None
        array = np.asarray(self.graph.weight(name))
        return array if array.size and array.dtype.kind in "fiu" and np.isfinite(array).all() else None


_RULES: dict[str, RangeRule] = {}


def _rule(*names: str) -> Callable[[Callable[..., Values]], Callable[..., Values]]:
    def register(rule: Callable[..., Values]) -> Callable[..., Values]:
        for name in names:
            _RULES[name] = rule
        return rule

    return register


def _combine(inside: Values, weight: NDArray[Any], bias: NDArray[Any] | None) -> Values:
    """Rows of weights (C, n) over values that lie in one interval."""
    if inside == UNKNOWN or math.isinf(inside.low) or math.isinf(inside.high):
        # Nothing but the sign is left of an interval without an end.
        if bias is not None or not (inside.low >= 0 and (weight >= 0).all()):
            return UNKNOWN
        return Values(0, _INF)
    up = np.where(weight > 0, weight, 0).sum(axis=1, dtype=np.float64)
    down = np.where(weight < 0, weight, 0).sum(axis=1, dtype=np.float64)
    offset = 0.0 if bias is None else np.asarray(bias, np.float64).reshape(-1)
    low = up * inside.low + down * inside.high + offset
    high = up * inside.high + down * inside.low + offset
    return Values(float(low.min()), float(high.max()))


@_rule("Conv")
def _conv(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    weight = find.constant(node.input[1])
    bias = find.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if weight is None or (len(node.input) > 2 and node.input[2] and bias is None):
        return UNKNOWN
    inside = find.of(node.input[0], depth)
    settings = attributes(node)
    if any(settings.get("pads", ())) or settings.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        inside = Values(min(inside.low, 0), max(inside.high, 0))
    return _combine(inside, weight.reshape(len(weight), -1), bias)


@_rule("Gemm")
def _gemm(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    settings, weight = attributes(node), find.constant(node.input[1])
    given = len(node.input) > 2 and bool(node.input[2])
    bias = find.constant(node.input[2]) if given else None
    if weight is None or weight.ndim != 2 or (given and bias is None) or settings.get("transA", 0):
        return UNKNOWN
    rows = weight if settings.get("transB", 0) else weight.T
    if bias is not None and (bias.size not in (1, len(rows)) or settings.get("beta", 1.0) != 1.0):
        return UNKNOWN
    return _combine(find.of(node.input[0], depth), rows * settings.get("alpha", 1.0), bias)


@_rule("MatMul")
def _matmul(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    weight = find.constant(node.input[1])
    if weight is not None and weight.ndim == 2:
        return _combine(find.of(node.input[0], depth), weight.T, None)
    left, right = (find.of(name, depth) for name in node.input)
    return Values(0, _INF) if left.low >= 0 and right.low >= 0 else UNKNOWN


@_rule("BatchNormalization")
def _batch_norm(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    parts = [find.constant(name) for name in node.input[1:5]]
    inside = find.of(node.input[0], depth)
    if any(part is None for part in parts) or math.isinf(inside.low) or math.isinf(inside.high):
        return UNKNOWN
    scale, bias, mean, variance = (np.asarray(part, np.float64) for part in parts)
    factor = scale / np.sqrt(np.maximum(variance, 0) + attributes(node).get("epsilon", 1e-5))
    ends = np.stack([(x - mean) * factor + bias for x in (inside.low, inside.high)])
    return Values(float(ends.min()), float(ends.max()))


@_rule("AveragePool")
def _average(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    inside = find.of(node.input[0], depth)
    return Values(min(inside.low, 0), max(inside.high, 0))


@_rule("Pad")
def _pad(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    inside, value = find.of(node.input[0], depth), float(attributes(node).get("value", 0.0))
    if len(node.input) > 2 and node.input[2]:
        given = find.of(node.input[2], depth)
        return Values(min(inside.low, given.low), max(inside.high, given.high))
    return Values(min(inside.low, value), max(inside.high, value))


@_rule("ReduceSum")
def _reduce_sum(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    inside = find.of(node.input[0], depth)
    before, after = find.count(node.input[0]), find.count(node.output[0])
    if before and after and before % after == 0:
        times = before // after
        return Values(inside.low * times, inside.high * times)
    return Values(0 if inside.low >= 0 else -_INF, 0 if inside.high <= 0 else _INF)


@_rule("Abs")
def _abs(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    inside = find.of(node.input[0], depth)
    least = 0 if inside.low <= 0 <= inside.high else min(abs(inside.low), abs(inside.high))
    return Values(least, max(abs(inside.low), abs(inside.high)))


@_rule("Sqrt")
def _sqrt(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    inside = find.of(node.input[0], depth)
    return Values(math.sqrt(max(inside.low, 0)), math.sqrt(max(inside.high, 0)))


@_rule("Log")
def _log(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    ends = find.of(node.input[0], depth)
    low, high = (-_INF if x <= 0 else math.log(x) if x < _INF else _INF for x in (ends.low, ends.high))
    return Values(low, high)


@_rule("LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Mish", "HardSwish", "Swish", "Softplus", "PRelu")
def _activation(find: _RangeFinder, node: NodeProto, depth: int) -> Values:
    """Activations that are about their input where it is large and about zero or a share of it where it is small."""
    inside = find.of(node.input[0], depth)
    if operator_of(node).operands > 1 or attributes(node):
        return replace(UNKNOWN, low=0) if inside.low >= 0 and operator_of(node).operands == 1 else UNKNOWN
    return Values(min(inside.low, -2.0) if inside.low < 0 else 0.0, max(inside.high, 0.0) + 1)
