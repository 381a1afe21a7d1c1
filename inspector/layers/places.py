"""Where the places of the picture lie in every tensor, also where no axis is rows or columns any more.

A transformer lays the places of its picture in rows of tokens, cuts them into windows, folds the windows into the
batch and turns them round again. All of that only moves elements. So each place gets a number, and the numbers are
moved as the graph moves the elements: the same Reshape, Transpose, Slice and Concat, on integers. Where the numbers of
a tensor do not change along an axis, it holds channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.graph import Graph, attributes, infer_types, operator_of, read_shape
from inspector.layers.layout import find_picture_axis
from inspector.layers.track import Numbers, Track, contract, nowhere, reshape

if TYPE_CHECKING:
    from onnx import NodeProto

_USUAL_SIDE = 224
"""Side of the picture where neither the graph nor anybody else says it."""
_MOST_CONSTANTS, _DEEPEST = 1 << 20, 200
"""Elements of a constant that is worked out, and how long a chain of nodes behind it may be."""
_MOST_RUNS = 6000
"""Nodes that are worked out for one graph."""
_MOST_NUMBERS = 1 << 26
"""Elements of a tensor whose numbers are moved; a larger one is told to have none."""


class PlaceWalk:
    """Follows the places of the picture through a graph.

    Args:
        graph: The graph.
        size: (H, W) of the picture where the graph does not fix it.
    """

    def __init__(self, graph: Graph, size: tuple[int, int] | None = None) -> None:
        self.graph = graph
        self.tracks: dict[str, Track] = {}
        self._constants: dict[str, NDArray[Any] | None] = {}
        self._runs = 0
        if len(graph.inputs) != 1 or len(graph.inputs[0].shape or ()) != 4:
            return
        given, shape = graph.inputs[0], graph.inputs[0].shape or ()
        channel = find_picture_axis(graph)
        # Two pictures tell the axis of the batch from others of length one; a graph with a fixed batch knows its own.
        self.pictures = shape[0] if isinstance(shape[0], int) else 2
        sides = iter(size or (_USUAL_SIDE, _USUAL_SIDE))
        own: list[int] = [self.pictures, 0, 0, 0]
        for axis in (1, 2, 3):
            own[axis] = 3 if axis == channel else next(sides)
        own = [known if isinstance(known, int) else s for s, known in zip(own, shape, strict=True)]
        self._shapes = self._infer(own)
        if prod(own) > _MOST_NUMBERS:
            return
        self.tracks[given.name] = self._number(tuple(own), channel)
        for node in graph.nodes:
            if node.output[0] in graph.from_picture and any(name in self.tracks for name in node.input):
                try:
                    self.tracks.update(self._pass(node))
                except (ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError):
                    continue  # sizes that do not fit each other: what a damaged graph makes is not known

    def _infer(self, own: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The shapes that are known once the picture has this shape."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.graph.proto)
        del proto.graph.value_info[:]
        for value in (*proto.graph.input, *proto.graph.output):
            if value.name == self.graph.inputs[0].name:
                for axis, length in zip(value.type.tensor_type.shape.dim, own, strict=True):
                    axis.dim_value = length
            elif value.name not in self.graph.initializers:
                value.type.tensor_type.ClearField("shape")
        found = {value.name: read_shape(value) for value in infer_types(proto)}
        # mypy does not see through all().
        return {n: s for n, s in found.items() if s is not None and all(isinstance(x, int) for x in s)}  # type: ignore[misc]

    def _number(self, shape: tuple[int, ...], channel: int) -> Track:
        """A tensor of maps, numbered afresh: two axes of places, one of channels, the batch first."""
        height, width = (s for a, s in enumerate(shape) if a not in (0, channel))
        count = np.arange(shape[0] * height * width, dtype=np.int32).reshape(shape[0], height, width)
        return Track(np.broadcast_to(np.expand_dims(count, channel), shape), (height, width), channel)

    # --- one node -------------------------------------------------------------------------------------------------

    def _pass(self, node: NodeProto) -> dict[str, Track]:
        """What is known of the tensors that a node makes."""
        operator = operator_of(node)
        given = [self.tracks[name] for name in node.input if name in self.tracks]
        first = given[0]
        if operator.moves and not (operator.elementwise or operator.kind in ("pool", "norm") or operator.reduction):
            return self._move(node, given)
        made: Track | None
        if node.op_type == "Pad":
            made = self._pad(node, first)
        elif operator.elementwise:
            made = self._combine(node, given)
        elif operator.weighted and not operator.window:
            made = self._multiply(node)
        elif operator.reduction:
            made = self._reduce(node, first)
        elif operator.normalises_last and attributes(node).get("axis", -1) in (-1, len(first.shape) - 1):
            made = self._take_channels(first, len(first.shape) - 1)
        elif operator.keeps_axes and self._shape(node, first.shape) == first.shape:
            made = first
        else:
            made = self._draw(node, first)
        return {} if made is None else {node.output[0]: made}

    def _shape(self, node: NodeProto, otherwise: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
        return self._shapes.get(node.output[0], otherwise)

    def _constant(self, name: str, depth: int = 0) -> NDArray[Any] | None:
        """A tensor that does not depend on the picture, or on nothing but its shape; None where it is not worked out.

        Exporters compute sizes and class tokens so; only what is asked for is worked out.
        """
        if name not in self._constants:
            self._constants[name] = self._work_out(name, depth) if depth < _DEEPEST else None
        return self._constants[name]

    def _work_out(self, name: str, depth: int) -> NDArray[Any] | None:
        if name in self.graph.initializers:
            return np.asarray(self.graph.weight(name))
        index = self.graph.producer_of.get(name)
        if index is None or name in self.graph.from_picture:
            return None
        node = self.graph.nodes[index]
        if node.op_type == "Shape":
            shape = (
                self.tracks[node.input[0]].shape if node.input[0] in self.tracks else self._shapes.get(node.input[0])
            )
            options = attributes(node)
            return None if shape is None else np.array(shape, np.int64)[options.get("start") : options.get("end")]
        feeds = {source: self._constant(source, depth + 1) for source in node.input if source}
        if any(value is None or value.size > _MOST_CONSTANTS for value in feeds.values()):
            return None
        values = self._run_node(node, feeds)
        return dict(zip(node.output, values, strict=False)).get(name)

    def _move(self, node: NodeProto, given: Sequence[Track]) -> dict[str, Track]:
        """What only moves elements moves their numbers."""
        first, operator = given[0], operator_of(node)
        if node.op_type == "Transpose":
            perm = attributes(node).get("perm") or list(reversed(range(len(first.shape))))
            channel = perm.index(first.channel) if first.channel in perm else None
            return {node.output[0]: replace(first, number=first.number.transpose(perm), channel=channel)}
        if operator.passes:
            shape = self._shape(node) or self._find_target(node, first)
            if shape is None and (found := self._run(node, given)):
                shape = found[0].shape
            if shape is None or prod(shape) != first.number.size or first.number.size > _MOST_NUMBERS:
                return {}
            return {node.output[0]: reshape(first, shape)}
        if operator.counts or operator.ranks or first.number.size > _MOST_NUMBERS:
            return {}
        values = self._run(node, given)
        axis = attributes(node).get("axis")
        joined = operator.joins and axis is not None and not any(t.changes_along(axis) for t in given)
        made = {}
        for name, number in zip(node.output, values, strict=False):
            kept = first.channel if number.ndim == len(first.shape) else None
            track = replace(first, number=number, channel=kept).thin_out()
            # Channels of several tensors side by side: each belongs to the place that the first one's belong to.
            made[name] = self._take_channels(track, axis % number.ndim) if joined and axis is not None else track
        return made

    def _run(self, node: NodeProto, given: Sequence[Track]) -> list[Numbers]:
        """The outputs of a node for numbers in place of values; nothing where it does not run on them."""
        feeds: dict[str, NDArray[Any] | None] = {}
        for position, name in enumerate(node.input):
            constant = self._constant(name) if name not in self.tracks else None
            if name in self.tracks:
                feeds[name] = self.tracks[name].number
            elif constant is not None and position and not operator_of(node).joins:
                feeds[name] = constant
            elif name:  # values beside the picture, as those of a class token
                shape = constant.shape if constant is not None else self._shapes.get(name)
                if shape is None:
                    return []
                feeds[name] = np.full(shape, -1, np.int32)
        if any(track.sides != given[0].sides and track.has_places() for track in given[1:]):
            return []
        return self._run_node(node, feeds)

    def _run_node(self, node: NodeProto, feeds: Mapping[str, NDArray[Any] | None]) -> list[NDArray[Any]]:
        """The outputs of one node in numpy; nothing where the reference of the onnx package does not compute it."""
        from onnx.reference import ReferenceEvaluator

        self._runs += 1
        if self._runs > _MOST_RUNS or not self._fits(node, [v for v in feeds.values() if v is not None]):
            return []
        try:
            with np.errstate(all="ignore"):
                found = ReferenceEvaluator(node, opsets={"": self.graph.opset}).run(None, dict(feeds))
        except Exception:  # of many kinds, by whatever the reference does not know
            return []
        return [np.asarray(value) for value in found]

    def _fits(self, node: NodeProto, given: Sequence[NDArray[Any]]) -> bool:
        """Whether the output is small: some nodes make gigabytes of a few numbers."""
        known = self._shape(node)
        if known is not None:
            return prod(known) <= _MOST_NUMBERS
        operator = operator_of(node)
        sizes = [max(1, value.size) for value in given]
        asked = [value for value in given if value.dtype.kind in "iu" and value.size <= 16]
        if operator.joins or operator.passes or node.op_type == "Slice":
            return sum(sizes) <= _MOST_NUMBERS
        return prod(sizes) * prod(prod(max(1, abs(int(v))) for v in value.ravel()) for value in asked) <= _MOST_NUMBERS

    def _find_target(self, node: NodeProto, first: Track) -> tuple[int, ...] | None:
        """The shape that a Reshape with constant sizes gives."""
        sizes = self._constant(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if sizes is None:
            return first.shape if operator_of(node).elementwise else None
        try:
            wanted = [first.shape[k] if s == 0 else int(s) for k, s in enumerate(sizes.ravel())]
            return np.broadcast_to(np.int8(0), first.shape).reshape(wanted).shape
        except (ValueError, IndexError):
            return None

    def _pad(self, node: NodeProto, first: Track) -> Track | None:
        pads = attributes(node).get("pads")
        constant = self._constant(node.input[1]) if len(node.input) > 1 else None
        axes = self._constant(node.input[3]) if len(node.input) > 3 else None
        widths = pads if constant is None else constant.tolist()
        rank = len(first.shape)
        if (
            widths is None
            or (axes is None and len(widths) != 2 * rank)
            or not 0 <= min(widths) <= max(widths) < 1 << 16
        ):
            return None
        by = [(0, 0)] * rank
        for k, axis in enumerate(range(rank) if axes is None else axes.tolist()):
            by[axis % rank] = (int(widths[k]), int(widths[k + len(widths) // 2]))
        if prod(s + a + b for s, (a, b) in zip(first.shape, by, strict=True)) > _MOST_NUMBERS:
            return None
        return replace(first, number=np.pad(first.number, by, constant_values=-1)).thin_out()

    def _combine(self, node: NodeProto, given: Sequence[Track]) -> Track | None:
        """Element by element: the places of the operand that has them, of the larger where both have."""
        shapes = [t.shape for t in given]
        for name in node.input:
            constant = self.graph.initializers.get(name)
            shapes += [tuple(constant.dims)] if constant is not None else []
        try:
            shape = self._shape(node) or np.broadcast_shapes(*shapes)
            best = max(given, key=lambda t: (t.has_places(), t.number.size, not t.attention))
            number = np.broadcast_to(best.number, shape)
        except ValueError:
            return None
        channel = None if best.channel is None else best.channel + len(shape) - len(best.shape)
        if operator_of(node).per_channel and len(shape) > 2 and operator_of(node).kind == "norm":
            channel = 1
        return replace(best, number=number, channel=channel)

    def _multiply(self, node: NodeProto) -> Track | None:
        """A product with weights, which puts its channels last; or of two tensors of the network."""
        position = operator_of(node).weight
        tracks = [self.tracks.get(name) for name in node.input]
        other = tracks[position] if position is not None and position < len(tracks) else None
        left = tracks[0]
        if left is not None and other is not None:
            return contract(left, other)
        if left is None or not left.shape:
            made = self._shape(node)
            return Track(nowhere(made), other.sides, None) if other is not None and made is not None else None
        shape = self._shape(node)
        weight = self.graph.initializers.get(node.input[position or 1])
        if shape is None and weight is not None and len(weight.dims) == 2:
            shape = (*left.shape[:-1], weight.dims[0 if attributes(node).get("transB") else 1])
        if shape is None or shape[:-1] != left.shape[:-1]:
            return None
        taken = self._take_channels(left, len(left.shape) - 1)
        return replace(taken, number=np.broadcast_to(taken.number[..., :1], shape), attention=False)

    def _take_channels(self, track: Track, axis: int) -> Track:
        """The tensor with channels on `axis`: each position of the others belongs to the place of its first channel.

        Where the places lie on `axis` and nowhere else, it is they that are mixed, and no place is left.
        """
        if not track.changes_along(axis):
            return replace(track, channel=axis)
        one = replace(track, number=track.number.take([0], axis))
        spread = any(one.changes_along(a) for a in range(len(one.shape)) if a != axis and (a or self.pictures == 1))
        number = one.number if spread else nowhere(one.shape)
        return replace(track, number=np.broadcast_to(number, track.shape), channel=axis)

    def _reduce(self, node: NodeProto, first: Track) -> Track | None:
        options = attributes(node)
        axes = options.get("axes")
        if axes is None and len(node.input) > 1:
            constant = self._constant(node.input[1])
            axes = None if constant is None else constant.ravel().tolist()
        if not axes:
            return None
        axes = sorted({int(a) % len(first.shape) for a in axes})
        lost = any(first.changes_along(a) for a in axes)
        number = first.number
        for axis in axes:
            number = number.take([0], axis)
        number = nowhere(number.shape) if lost else number
        channel = first.channel if first.channel not in axes else None
        if not options.get("keepdims", 1):
            number = number.reshape([s for a, s in enumerate(number.shape) if a not in axes])
            channel = None if channel is None else channel - sum(a < channel for a in axes)
        return replace(first, number=number, channel=channel)

    def _slide(self, node: NodeProto, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape behind a convolution or a pool, where inference lost its way before it."""
        operator, options = operator_of(node), attributes(node)
        weight = self.graph.initializers.get(node.input[operator.weight]) if operator.weight is not None else None
        kernel = options.get("kernel_shape") or (list(weight.dims[2:]) if weight is not None else None)
        padded = options.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        if not operator.window or operator.transposed or operator.channels_last or kernel is None or not padded:
            return None
        count = len(kernel)
        ones, pads = [1] * count, options.get("pads") or [0] * (2 * count)
        steps, wide = options.get("strides") or ones, options.get("dilations") or ones
        channels = weight.dims[0] if weight is not None else given[1]
        up = [s - 1 if options.get("ceil_mode", 0) else 0 for s in steps]
        sides = [
            (given[2 + k] + pads[k] + pads[count + k] - (wide[k] * (kernel[k] - 1) + 1) + up[k]) // steps[k] + 1
            for k in range(count)
        ]
        return (given[0], int(channels), *sides) if len(given) == count + 2 and min(sides) > 0 else None

    def _draw(self, node: NodeProto, first: Track) -> Track | None:
        """Whatever makes other maps of maps: a convolution, a pool, a resize."""
        shape, operator = self._shape(node) or self._slide(node, first.shape), operator_of(node)
        if shape is None or len(shape) != len(first.shape):
            return None
        channel = 1
        if operator.is_channels_last(node):
            channel = len(shape) - 1
        elif not operator.window and operator.kind != "pool" and first.channel is not None:
            channel = first.channel
        if [s for a, s in enumerate(shape) if a != channel] == [s for a, s in enumerate(first.shape) if a != channel]:
            one = self._take_channels(first, channel)
            return replace(one, number=np.broadcast_to(one.number.take([0], channel), shape))
        if (
            len(shape) != 4
            or not shape[0]
            or shape[0] % self.pictures
            or prod(shape) // max(1, shape[channel]) > _MOST_NUMBERS
        ):
            return None
        heads = shape[0] // self.pictures
        if heads > 1 and (first.number[0::heads] != first.number[1::heads]).any():
            return None  # windows that are folded into the batch, no maps of the whole picture one by one
        made = self._number((self.pictures, *shape[1:]), channel)
        return made if heads == 1 else replace(made, number=np.repeat(made.number, heads, axis=0)).thin_out()
