"""What the first nodes of a graph do with the pixels, followed channel by channel through all that only moves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.graph import Graph, Operator, attributes, is_standard, operator_of, value_inputs
from inspector.model.constants import find_constant, read_integers, read_setting
from inspector.records import record

if TYPE_CHECKING:
    from onnx import NodeProto

Vector = NDArray[np.float64]
Given = Sequence["_Channels | None"]

_MOST_NODES = 64
"""Nodes that are followed; those that normalise a picture are few."""
_MOST_CHANNELS = 4096
"""Channels that a node may make of those of the picture: joining a tensor with itself doubles them each time."""
_FARTHEST = 1e12
"""A factor or shift beyond this, or a factor below its inverse, normalises no pixels."""


@record
class PixelRange:
    """Between which values a graph takes its pixels, as a node near the input says it.

    Args:
        low: The smallest, in the values of the input.
        high: The largest.
        by: The operator that says it.
        symmetric: The grid of a quantization that lies evenly about 0, whatever signs its values have.
    """

    low: float
    high: float
    by: str
    symmetric: bool = False


@record
class Arithmetic:
    """value = factor * pixel + shift, for each channel of the input as it is declared.

    Args:
        factor: float64 (C,).
        shift: float64 (C,).
        nodes: The operators that do it, in order.
        limits: What else is known of the values of the input.
    """

    factor: Vector
    shift: Vector
    nodes: tuple[str, ...]
    limits: tuple[PixelRange, ...] = ()

    def range_of(self, low: Vector, high: Vector) -> tuple[float, float]:
        """The smallest and the largest value that pixels between `low` and `high` (C,) become."""
        ends = np.stack([self.factor * low + self.shift, self.factor * high + self.shift])
        return float(ends.min()), float(ends.max())


@record
class _Channels:
    """A tensor of pixels: for each of its channels which one of the input it is, and what was done to it.

    Args:
        rank: Number of its axes.
        axis: The one that holds the channels; None where one channel was picked and its axis is gone.
        source: Channels of the input (C,).
        factor: float64 (C,).
        shift: float64 (C,).
        nodes: The operators that did something to the values.
        limits: What they say of the values of the input.
    """

    rank: int
    axis: int | None
    source: NDArray[np.int64]
    factor: Vector
    shift: Vector
    nodes: tuple[str, ...] = ()
    limits: tuple[PixelRange, ...] = ()

    def pick(self, chosen: NDArray[np.int64] | slice, **more: Any) -> _Channels:
        """Some of its channels."""
        parts = (self.source[chosen], self.factor[chosen], self.shift[chosen])
        return replace(self, source=parts[0], factor=parts[1], shift=parts[2], **more)

    def step(self, node: NodeProto, factor: Vector, shift: Vector) -> _Channels | None:
        """Behind factor * value + shift; None where these are no numbers that pixels are normalised by."""
        with np.errstate(all="ignore"):
            changed = (factor * self.factor, factor * self.shift + shift)
        size = np.abs(changed)
        if not (size <= _FARTHEST).all() or ((size[0] > 0) & (size[0] < 1 / _FARTHEST)).any():
            return None
        return replace(self, factor=changed[0], shift=changed[1], nodes=(*self.nodes, node.op_type))

    def limit(self, low: float, high: float, node: NodeProto, symmetric: bool = False) -> _Channels:
        """With what a node says of its values, put in those of the input."""
        ends = (np.array([[low], [high]]) - self.shift) / self.factor
        if not ends.size or not (np.abs(ends) <= _FARTHEST).all():
            return self
        found = PixelRange(float(ends.min()), float(ends.max()), node.op_type, symmetric)
        return replace(self, limits=(*self.limits, found))


def find_arithmetic(graph: Graph, channel_axis: int, channels: int) -> Arithmetic | None:
    """The affine arithmetic with constants that a graph begins with, the same on all ways from the input.

    Args:
        graph: The graph.
        channel_axis: Axis of its input that holds the channels.
        channels: How many there are.

    Returns:
        None where it begins with anything else.
    """
    ends = _follow_all(graph, _Channels(4, channel_axis, np.arange(channels), np.ones(channels), np.zeros(channels)))
    factor, shift = np.full(channels, np.nan), np.zeros(channels)
    for end in ends:
        for channel, *found in zip(end.source, end.factor, end.shift, strict=True):
            if np.isnan(factor[channel]):
                factor[channel], shift[channel] = found
            elif not np.allclose((factor[channel], shift[channel]), found):
                return None
    nodes = tuple(name for end in ends for name in end.nodes)
    limits = tuple(limit for end in ends for limit in end.limits)
    if np.isnan(factor).any() or not (nodes or limits):
        return None
    return Arithmetic(factor, shift, nodes, limits)


def _follow_all(graph: Graph, start: _Channels) -> list[_Channels]:
    """What comes to the first nodes that do something else; nothing where there are too many ways."""
    known = {graph.inputs[0].name: start}
    ends: list[_Channels] = []
    waiting: list[int] = []
    met: set[int] = set()
    for index in graph.consumers_of.get(graph.inputs[0].name, ()):
        heappush(waiting, index)
    while waiting:
        index = heappop(waiting)
        if index in met:
            continue
        if len(met) == _MOST_NODES:
            return []
        met.add(index)
        node = graph.nodes[index]
        made = _try_follow(graph, node, [known.get(name) for name in node.input])
        if made is None:
            ends += [known[name] for name in value_inputs(node) if name in known]
            continue
        for name, channels in zip(node.output, made, strict=False):
            known[name] = channels
            for reader in graph.consumers_of.get(name, ()):
                heappush(waiting, reader)
            if name in graph.outputs:
                ends.append(channels)
    return ends


def _try_follow(graph: Graph, node: NodeProto, given: Given) -> list[_Channels] | None:
    """The same as :func:`_follow`, and None for a node that is not valid: whatever runs it tells what is wrong."""
    try:
        return _follow(graph, node, given) if is_standard(node) else None
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _follow(graph: Graph, node: NodeProto, given: Given) -> list[_Channels] | None:
    """What a node makes of pixels; None where it does anything else with them."""
    operator = operator_of(node)
    if node.op_type == "Concat":
        return _join(node, given)
    first = given[0] if given else None
    if operator.arithmetic:
        done = _compute(graph, node, given)
        return [done] if done is not None else None
    if first is None or any(channels is not None for channels in given[1:]):
        return None
    if node.op_type == "Split":
        return _split(graph, node, first)
    found = _move(graph, node, first)
    if found is None and operator.elementwise and operator.passes:
        found = _quantize(graph, node, first) if operator.requantizes else first
    elif found is None and operator.channelwise and operator.between and operator.keeps_axes:
        found = first
    elif found is None:
        found = _change(graph, node, operator, first)
    return [found] if found is not None else None


# --- what moves channels -----------------------------------------------------------------


def _move(graph: Graph, node: NodeProto, x: _Channels) -> _Channels | None:
    if node.op_type == "Transpose":
        perm = attributes(node).get("perm") or list(range(x.rank))[::-1]
        if x.axis is None or sorted(perm) != list(range(x.rank)):
            return None
        return replace(x, axis=perm.index(x.axis))
    if node.op_type == "Gather":
        return _gather(graph, node, x)
    if node.op_type == "Slice":
        return _slice(graph, node, x)
    if node.op_type == "Pad":
        pads = read_integers(graph, node, 1, "pads")
        if pads is None or len(pads) != 2 * x.rank or x.axis is None or len(node.input) > 3:
            return None
        return None if pads[x.axis] or pads[x.rank + x.axis] else x
    if node.op_type == "Unsqueeze":
        return _lengthen(graph, node, x)
    if node.op_type == "Squeeze":
        gone = _find_axes(graph, node, x.rank)
        if gone is None:
            return None
        kept = [axis for axis in range(x.rank) if axis not in gone]
        if x.axis in gone and len(x.source) != 1:
            return None
        return replace(x, rank=len(kept), axis=kept.index(x.axis) if x.axis in kept else None)
    if node.op_type == "Reshape":
        return x if _says_the_same(graph, read_integers(graph, node, 1, "shape"), x) else None
    return None


def _find_axes(graph: Graph, node: NodeProto, rank: int) -> set[int] | None:
    """The axes that a node names, counted from the first; None where they are not known, or are not there."""
    axes = read_integers(graph, node, 1, "axes")
    if axes is None or not all(-rank <= axis < rank for axis in axes):
        return None
    found = {axis % rank for axis in axes}
    return found if len(found) == len(axes) else None


def _gather(graph: Graph, node: NodeProto, x: _Channels) -> _Channels | None:
    indices = find_constant(graph, node.input[1])
    if indices is None or not indices.size or x.axis is None or int(attributes(node).get("axis", 0)) % x.rank != x.axis:
        return None
    chosen = np.atleast_1d(indices).astype(np.int64)
    if chosen.ndim != 1 or (chosen != indices).any() or np.abs(chosen + 0.5).max() > len(x.source):
        return None
    return x.pick(chosen) if indices.ndim else x.pick(chosen, rank=x.rank - 1, axis=None)


def _slice(graph: Graph, node: NodeProto, x: _Channels) -> _Channels | None:
    starts, ends = read_integers(graph, node, 1, "starts"), read_integers(graph, node, 2, "ends")
    if starts is None or ends is None:
        return None
    axes, steps = read_integers(graph, node, 3, "axes"), read_integers(graph, node, 4, "steps")
    axes, steps = list(range(len(starts))) if axes is None else axes, [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        return None
    for low, high, axis, by in zip(starts, ends, axes, steps, strict=True):
        if axis % x.rank == x.axis:
            end = None if by < 0 and high < -len(x.source) else high
            x = x.pick(slice(low, end, by))
    return x if len(x.source) else None


def _split(graph: Graph, node: NodeProto, x: _Channels) -> list[_Channels] | None:
    if x.axis is None or int(attributes(node).get("axis", 0)) % x.rank != x.axis:
        return None
    sizes = read_integers(graph, node, 1, "split")
    if sizes is None:
        sizes = [-(-len(x.source) // len(node.output))] * len(node.output)
    elif len(sizes) != len(node.output) or min(sizes) < 0 or sum(sizes) != len(x.source):
        return None
    return [x.pick(slice(end - size, end)) for end, size in zip(accumulate(sizes), sizes, strict=True)]


def _join(node: NodeProto, given: Given) -> list[_Channels] | None:
    parts = [x for x in given if x is not None]
    axis = int(attributes(node).get("axis", 0))
    if not parts or len(parts) != len(given) or any(x.axis is None or axis % x.rank != x.axis for x in parts):
        return None
    if sum(len(x.source) for x in parts) > _MOST_CHANNELS:
        return None
    nodes, limits = [k for x in parts for k in x.nodes], [k for x in parts for k in x.limits]
    vectors = [np.concatenate([getattr(x, key) for x in parts]) for key in ("source", "factor", "shift")]
    made = replace(parts[0], nodes=tuple(dict.fromkeys(nodes)), limits=tuple(dict.fromkeys(limits)))
    return [replace(made, source=vectors[0], factor=vectors[1], shift=vectors[2])]


def _lengthen(graph: Graph, node: NodeProto, x: _Channels) -> _Channels | None:
    given = read_integers(graph, node, 1, "axes")
    rank = x.rank + len(given or ())
    new = _find_axes(graph, node, rank)
    if not new:
        return None
    if x.axis is None:
        return replace(x, rank=rank, axis=new.pop()) if len(new) == 1 else None
    return replace(x, rank=rank, axis=[axis for axis in range(rank) if axis not in new][x.axis])


def _says_the_same(graph: Graph, shape: list[int] | None, x: _Channels) -> bool:
    """Whether a new shape is the declared one of the input, in which nothing has moved yet."""
    declared = graph.inputs[0].shape
    if shape is None or declared is None or len(shape) != len(declared) or x.rank != len(declared):
        return False
    if x.axis is None or shape[x.axis] != len(x.source) or declared[x.axis] != len(x.source):
        return False
    return all(new in (0, -1) or new == old for new, old in zip(shape, declared, strict=True))


# --- what changes values -----------------------------------------------------------------


def _change(graph: Graph, node: NodeProto, operator: Operator, x: _Channels) -> _Channels | None:
    if node.op_type == "BatchNormalization":
        return _normalise(graph, node, x)
    if node.op_type == "Clip":
        low, high = read_setting(graph, node, 1, "min"), read_setting(graph, node, 2, "max")
        if low is None or high is None or (x.factor == 0).any():
            return x
        return x.limit(float(low[0]), float(high[0]), node)
    if operator.window and operator.weight is not None and not operator.transposed and not operator.integer:
        return _mix(graph, node, operator, x)
    return None


def _normalise(graph: Graph, node: NodeProto, x: _Channels) -> _Channels | None:
    parts = [find_constant(graph, name) for name in node.input[1:5]]
    if x.axis != 1 or len(parts) != 4 or any(part is None or part.size != len(x.source) for part in parts):
        return None
    scale, bias, mean, variance = (np.asarray(part).reshape(-1) for part in parts)
    spread = variance + float(attributes(node).get("epsilon", 1e-5))
    if not (spread > 0).all() or not np.isfinite([scale, bias, mean, spread]).all():
        return None
    slope = scale / np.sqrt(spread)
    return x.step(node, slope, bias - mean * slope)


def _mix(graph: Graph, node: NodeProto, operator: Operator, x: _Channels) -> _Channels | None:
    """A convolution of 1x1 that takes each of its channels from one, as converters write a normalisation."""
    weight = find_constant(graph, node.input[operator.weight or 1])
    given, count = attributes(node), len(x.source)
    plain = set(given.get("strides", [1])) <= {1} and set(given.get("pads", [0])) <= {0} and x.axis == 1
    if weight is None or not plain or weight.ndim != 4 or weight.shape[0] != count or weight.shape[2:] != (1, 1):
        return None
    table = weight[:, :, 0, 0]
    if given.get("group", 1) == count and table.shape[1] == 1:
        table = np.diag(table[:, 0])
    if table.shape != (count, count) or (np.count_nonzero(table, axis=1) != 1).any():
        return None
    bias = find_constant(graph, node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(count)
    if bias is None or bias.shape != (count,):
        return None
    chosen = np.argmax(table != 0, axis=1)
    return x.pick(chosen).step(node, table[np.arange(count), chosen], bias)


def _compute(graph: Graph, node: NodeProto, given: Given) -> _Channels | None:
    """A sum, difference, product or quotient with a constant."""
    found = [(k, x) for k, x in enumerate(given) if x is not None]
    if len(found) != 1 or len(given) != 2:
        return None
    [(position, x)] = found
    value = find_constant(graph, node.input[1 - position])
    if value is None:
        return None
    if value.size != 1:
        # Shapes are aligned at their ends, so the axis counted from the end tells where the channels lie.
        at = -1 if x.axis is None else x.axis - x.rank + value.ndim
        if value.size != len(x.source) or at < 0 or value.shape[at] != len(x.source):
            return None
    operand = np.broadcast_to(value.reshape(-1), len(x.source))
    one, zero = np.ones(len(x.source)), np.zeros(len(x.source))
    if node.op_type == "Add":
        return x.step(node, one, operand)
    if node.op_type == "Sub":
        return x.step(node, one, -operand) if position == 0 else x.step(node, -one, operand)
    if node.op_type == "Mul":
        return x.step(node, operand, zero)
    if node.op_type == "Div" and position == 0 and (np.abs(operand) >= 1 / _FARTHEST).all():
        return x.step(node, 1 / operand, zero)
    return None


def _quantize(graph: Graph, node: NodeProto, x: _Channels) -> _Channels:
    """The grid of integers tells which values were met when it was laid."""
    scale = find_constant(graph, node.input[1]) if len(node.input) > 1 else None
    zero = graph.initializers.get(node.input[2]) if len(node.input) > 2 else None
    if scale is None or scale.size != 1 or zero is None or (x.factor == 0).any() or not operator_of(node).integer:
        return x
    kind = onnx.helper.tensor_dtype_to_np_dtype(zero.data_type)
    if kind.kind not in "iu" or kind.itemsize > 2 or np.prod(zero.dims, dtype=np.float64) != 1:
        return x
    ends, at = np.iinfo(kind), float(np.asarray(graph.weight(zero.name)).reshape(-1)[0])
    step = float(scale.reshape(-1)[0])
    return x.limit(step * (ends.min - at), step * (ends.max - at), node, kind.kind == "i" and at == 0)
