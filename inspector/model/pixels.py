"""What the first nodes of a graph do with the pixels: their arithmetic.

Constants of the first nodes tell what values a network wants: who subtracts 123.68 wants bytes, who divides by 0.229
wants numbers from 0 to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.graph import Graph, attributes, operator_of
from inspector.image import IMAGENET_MEAN, IMAGENET_STD
from inspector.layers import find_first_nodes
from inspector.records import record

if TYPE_CHECKING:
    from onnx import NodeProto

Vector = NDArray[np.float64]

_USUAL = (
    (-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5), (-2.118, 2.64), (-123.68, 151.061), (-127.5, 127.5),
)  # fmt: skip
"""Ranges that networks are trained on: signed, unit, ImageNet's mean and std, caffe's mean."""

_IDENTICAL = 0.05
"""A factor so near to 1, and a shift so near to 0, normalise nothing: a norm that learned ImageNet's own statistics."""

_FARTHEST, _FARTHEST_LEARNED = 0.1, 0.6
"""How far from all usual ranges, relative to their widths, an outcome may lie to tell anything; what a norm has learned
of its pictures is less exact than what somebody wrote down."""

_SMALLEST = 0.02
"""Part of the range of pixels below which neither a mean nor a deviation of pictures lies."""


@record
class Arithmetic:
    """value = factor * pixel + shift, for each channel of the input as it is declared.

    Args:
        factor: float64 (C,).
        shift: float64 (C,).
        nodes: The operators that do it, in order.
    """

    factor: Vector
    shift: Vector
    nodes: tuple[str, ...]

    @property
    def learned(self) -> bool:
        """Whether a norm with statistics of its own takes part."""
        return "BatchNormalization" in self.nodes

    def range_of(self, low: Vector, high: Vector) -> tuple[float, float]:
        """The smallest and the largest value that pixels between `low` and `high` (C,) become."""
        ends = np.stack([self.factor * low + self.shift, self.factor * high + self.shift])
        return float(ends.min()), float(ends.max())


def find_arithmetic(graph: Graph, channel_axis: int, channels: int) -> Arithmetic | None:
    """The affine arithmetic with constants that a graph begins with; None where it begins with anything else.

    Args:
        graph: The graph.
        channel_axis: Axis of its input that holds the channels.
        channels: How many there are.
    """
    factor, shift = np.ones(channels), np.zeros(channels)
    order = np.arange(channels)  # for each channel of the tensor at hand the one of the input that it is
    axis, done = channel_axis, []
    for node in find_first_nodes(graph):
        operator = operator_of(node)
        if node.op_type == "Transpose":
            perm = attributes(node).get("perm") or [3, 2, 1, 0]
            if axis not in perm:
                break
            axis = perm.index(axis)
        elif (turned := _reorder(graph, node, axis, channels)) is not None:
            order = order[turned]
        elif node.op_type == "BatchNormalization":
            if axis != 1 or (step := _norm(graph, node, channels)) is None:
                break
            factor[order], shift[order] = factor[order] * step[0], shift[order] * step[0] + step[1]
            done.append(node.op_type)
        elif operator.arithmetic:
            if (step := _constant_step(graph, node, axis, channels)) is None:
                break
            factor[order], shift[order] = factor[order] * step[0], shift[order] * step[0] + step[1]
            done.append(node.op_type)
        elif not (operator.elementwise and operator.passes):
            break
    return Arithmetic(factor, shift, tuple(done)) if done else None


def _values(graph: Graph, name: str) -> NDArray[Any] | None:
    return np.asarray(graph.weight(name), np.float64) if name in graph.initializers else None


def _norm(graph: Graph, node: NodeProto, channels: int) -> tuple[Vector, Vector] | None:
    parts = [_values(graph, name) for name in node.input[1:5]]
    if any(part is None or part.size != channels for part in parts):
        return None
    scale, bias, mean, variance = (np.asarray(part).reshape(-1) for part in parts)
    slope = scale / np.sqrt(variance + float(attributes(node).get("epsilon", 1e-5)))
    return slope, bias - mean * slope


def _constant_step(graph: Graph, node: NodeProto, axis: int, channels: int) -> tuple[Vector, Vector] | None:
    """(factor, shift) per channel of a sum, difference, product or quotient with a constant."""
    constants = [(k, value) for k, name in enumerate(node.input) if (value := _values(graph, name)) is not None]
    if len(constants) != 1:
        return None
    [(position, value)] = constants
    if value.size != 1:
        # Shapes are aligned at their ends, so the axis counted from the end tells where the channels lie.
        at = axis - 4 + value.ndim
        if value.size != channels or at < 0 or value.shape[at] != channels:
            return None
    operand = np.broadcast_to(value.reshape(-1), channels)
    one, zero = np.ones(channels), np.zeros(channels)
    if node.op_type == "Add":
        return one, operand
    if node.op_type == "Sub":
        return (one, -operand) if position == 1 else (-one, operand)
    if node.op_type == "Mul":
        return operand, zero
    if node.op_type == "Div" and position == 1 and (operand != 0).all():
        return 1 / operand, zero
    return None


def _reorder(graph: Graph, node: NodeProto, axis: int, channels: int) -> NDArray[np.int64] | None:
    """The order in which a node takes the channels, where it does nothing but turn them round."""
    if node.op_type == "Gather" and attributes(node).get("axis", 0) in (axis, axis - 4):
        indices = _values(graph, node.input[1])
        if indices is not None and sorted(indices.reshape(-1)) == list(range(channels)):
            return indices.reshape(-1).astype(np.int64)
    if node.op_type == "Slice" and len(node.input) == 5:
        axes, steps = _values(graph, node.input[3]), _values(graph, node.input[4])
        if axes is not None and steps is not None and steps.tolist() == [-1] and int(axes[0]) in (axis, axis - 4):
            return np.arange(channels)[::-1].copy()
    return None


def choose_range(arithmetic: Arithmetic) -> tuple[str, tuple[float, float], bool] | None:
    """Which pixels make sense of an arithmetic: (name of a preprocess, what they become, whether that is usual).

    Returns:
        ``raw``, ``unit``, ``signed`` or ``imagenet`` with the smallest and largest value behind the arithmetic, also
        where no pixels come near what networks are trained on: then bytes, which most networks of that kind take. None
        where the arithmetic changes next to nothing.
    """
    if np.abs(arithmetic.factor - 1).max() < _IDENTICAL and np.abs(arithmetic.shift).max() < _IDENTICAL:
        return None
    count = len(arithmetic.factor)
    zero, one = np.zeros(count), np.ones(count)
    mean = np.resize(IMAGENET_MEAN, count)
    std = np.resize(IMAGENET_STD, count)
    pixels = {
        "raw": (zero, 255 * one),
        "unit": (zero, one),
        "signed": (-one, one),
        "imagenet": (-mean / std, (1 - mean) / std),
    }
    found = []
    for name, (low, high) in pixels.items():
        ends = arithmetic.range_of(low, high)
        far = min((abs(ends[0] - a) + abs(ends[1] - b)) / (b - a) for a, b in _USUAL)
        found.append((far, name, ends))
    limit = _FARTHEST_LEARNED if arithmetic.learned else _FARTHEST
    far, name, ends = min(found)
    if far <= limit:
        return name, ends, True
    by_constants = {"raw": found[0], "unit": found[1]}.get(_read_constants(arithmetic))
    return (*by_constants[1:], True) if by_constants else (*found[0][1:], False)


def _read_constants(arithmetic: Arithmetic) -> str:
    """Which pixels the constants alone tell of: "unit", "raw" or "" where they tell nothing.

    (x - 0.5) / 0.25 takes off a mean between 0 and 1 and divides by a deviation that fits it, whatever comes out.
    """
    if arithmetic.learned or (arithmetic.factor == 0).any():
        return ""
    mean, deviation = -arithmetic.shift / arithmetic.factor, 1 / np.abs(arithmetic.factor)
    for name, largest in (("unit", 1.0), ("raw", 255.0)):
        inside = (mean > _SMALLEST * largest) & (mean < largest)
        if (inside & (deviation > _SMALLEST * largest) & (deviation <= largest)).all():
            return name
    return ""
