"""Operators that move values: joins, splits, slices, and what gives a tensor another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from inspector.graph import attributes, operator_of
from inspector.slimming.channels import ChannelFacts, CutConstant, CutNumber, Doubles, Units
from inspector.slimming.walk import ChannelWalk, slim_rule

if TYPE_CHECKING:
    from onnx import NodeProto

_LARGEST = 1 << 25
"""Elements of a tensor whose reshaping is followed place by place."""


@slim_rule("Concat")
def _join(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Channels one behind another, or maps beside each other."""
    parts = [walk.of(name) for name in node.input]
    known = [part for part in parts if part is not None]
    if not known:
        return False
    rank, own = known[0].rank, known[0].axis
    axis = int(attributes(node).get("axis", 1)) % rank
    if any(part.rank != rank or part.axis != own for part in known):
        return False
    if axis != own:
        return _join_maps(walk, node, known) if len(known) == len(parts) else False
    pieces = [_take_piece(walk, name, axis, rank) for name in node.input]
    if any(piece is None for piece in pieces):
        return False
    there = [piece for piece in pieces if piece is not None]
    low, high = np.concatenate([piece[0] for piece in there]), np.concatenate([piece[1] for piece in there])
    number, factor = np.concatenate([piece[2] for piece in there]), np.concatenate([piece[3] for piece in there])
    made = walk.give(node.output[0], axis, rank, low, high, number, factor)
    start = 0
    for position, (name, part, piece) in enumerate(zip(node.input, parts, pieces, strict=True)):
        assert piece is not None
        units = made.units[start : start + len(piece[0])]
        start += len(units)
        if part is not None:
            walk.tie(part.units, units)
        elif walk.constant(name) is not None:
            walk.edit(CutConstant(index, position, axis, units))
        else:
            walk.found.pins.append((units, f"{name!r}, of whose channels nothing is known, is joined with others"))
    return True


def _take_piece(walk: ChannelWalk, name: str, axis: int, rank: int) -> tuple[Doubles, Doubles, Units, Doubles] | None:
    """Bounds, numbers and factors of one part of a join."""
    part, value = walk.of(name), walk.constant(name)
    if part is not None:
        return part.low, part.high, part.number, part.factor
    if value is not None and value.ndim == rank and value.dtype.kind in "fiu":
        rest = tuple(k for k in range(rank) if k != axis)
        low, high = value.min(axis=rest).astype(np.float64), value.max(axis=rest).astype(np.float64)
        return low, high, walk.numbers.fresh(len(low)), np.ones(len(low))
    size = walk.sizes.get(name)
    if size is None or len(size) != rank:
        return None
    count = size[axis]
    return np.full(count, -np.inf), np.full(count, np.inf), walk.numbers.fresh(count), np.ones(count)


def _join_maps(walk: ChannelWalk, node: NodeProto, parts: Sequence[ChannelFacts]) -> bool:
    if len({len(part) for part in parts}) > 1:
        return False
    low, high = np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0)
    made = walk.give(node.output[0], parts[0].axis, parts[0].rank, low, high)
    for part in parts:
        walk.tie(part.units, made.units)
    return True


@slim_rule("Split")
def _split(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Pieces of the channels, or of the maps."""
    inside, settings = walk.of(node.input[0]), attributes(node)
    if inside is None or not all(node.output):
        return False
    if int(settings.get("axis", 0)) % inside.rank != inside.axis:
        for name in node.output:
            _give_same(walk, name, inside, inside.axis, inside.rank)
        return True
    given = settings.get("split")
    if len(node.input) > 1 and node.input[1]:
        value = walk.constant(node.input[1])
        if value is None:
            return False
        given = [int(x) for x in value]
    if given is None:
        each = math.ceil(len(inside) / len(node.output))
        given = [min(each, len(inside) - k * each) for k in range(len(node.output))]
    if sum(given) != len(inside) or len(given) != len(node.output) or min(given) < 1:
        return False
    where: int | str = 1 if walk.graph.opset >= 13 else "split"
    start = 0
    for k, (name, count) in enumerate(zip(node.output, given, strict=True)):
        made = _give_picked(walk, name, inside, np.arange(start, start + count))
        walk.edit(CutNumber(index, where, k, made.units))
        start += count
    return True


def _give_picked(walk: ChannelWalk, name: str, inside: ChannelFacts, places: Units) -> ChannelFacts:
    """Note a tensor that holds some channels of another."""
    number, factor = inside.number[places], inside.factor[places]
    made = walk.give(name, inside.axis, inside.rank, inside.low[places], inside.high[places], number, factor)
    walk.tie(inside.units[places], made.units)
    return made


def _give_same(walk: ChannelWalk, name: str, inside: ChannelFacts, axis: int, rank: int) -> ChannelFacts:
    """Note a tensor that holds values of another's channels, in other places."""
    made = walk.give(name, axis, rank, inside.low, inside.high)
    walk.tie(inside.units, made.units)
    return made


@slim_rule("Slice")
def _slice(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """A range of channels, or of the maps."""
    inside = walk.of(node.input[0])
    bounds = _read_bounds(walk, node)
    if inside is None or bounds is None:
        return False
    starts, ends, axes, steps = bounds
    own = [k for k, axis in enumerate(axes) if axis % inside.rank == inside.axis]
    if not own:
        _give_same(walk, node.output[0], inside, inside.axis, inside.rank)
        return True
    place = own[0]
    first, last, _ = slice(starts[place], ends[place], 1).indices(len(inside))
    if steps[place] != 1 or first >= last:
        return False
    made = _give_picked(walk, node.output[0], inside, np.arange(first, last))
    if len(axes) > 1:
        # Another axis is sliced too, so that these are other values.
        walk.found.channels[node.output[0]] = made.__class__(
            made.axis, made.rank, made.first, made.low, made.high, walk.numbers.fresh(len(made)), np.ones(len(made))
        )
    old = walk.graph.opset < 10
    walk.edit(CutNumber(index, "starts" if old else 1, place, inside.units[:first], among=inside.units))
    walk.edit(CutNumber(index, "ends" if old else 2, place, inside.units[:last], among=inside.units))
    return True


def _read_bounds(walk: ChannelWalk, node: NodeProto) -> tuple[list[int], list[int], list[int], list[int]] | None:
    """Starts, ends, axes and steps of a slice; None where they are computed."""
    settings, given = attributes(node), []
    if "starts" in settings:
        starts, ends = settings["starts"], settings["ends"]
        axes = settings.get("axes", range(len(starts)))
        return list(starts), list(ends), list(axes), [1] * len(starts)
    for position in range(1, 5):
        name = node.input[position] if len(node.input) > position else ""
        value = walk.constant(name) if name else None
        if name and value is None:
            return None
        given.append(None if value is None else [int(x) for x in value.reshape(-1)])
    starts, ends, axes, steps = given
    if starts is None or ends is None:
        return None
    return starts, ends, axes or list(range(len(starts))), steps or [1] * len(starts)


@slim_rule("Transpose")
def _transpose(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    inside = walk.of(node.input[0])
    if inside is None:
        return False
    perm = [int(x) for x in attributes(node).get("perm", range(inside.rank - 1, -1, -1))]
    made = _give_same(walk, node.output[0], inside, perm.index(inside.axis), inside.rank)
    _keep_numbers(walk, made, inside, f"transpose {perm}")
    return True


def _keep_numbers(walk: ChannelWalk, made: ChannelFacts, inside: ChannelFacts, how: str) -> None:
    """Give channels that were moved in one way the same numbers wherever that happens."""
    number = walk.numbers.of_keys([(how, int(n)) for n in inside.number])
    name = next(reversed(walk.found.channels))
    walk.found.channels[name] = ChannelFacts(
        made.axis, made.rank, made.first, made.low, made.high, number, inside.factor.copy()
    )


@slim_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Another shape, where every place along one axis of it belongs to one channel."""
    inside, size = walk.of(node.input[0]), walk.sizes.get(node.input[0])
    target = walk.sizes.get(node.output[0])
    if inside is None or size is None or target is None or math.prod(size) > _LARGEST:
        return False
    if math.prod(size) != math.prod(target) or size[inside.axis] != len(inside):
        return False
    numbers = np.arange(len(inside), dtype=np.int32)
    numbers = numbers.reshape([-1 if axis == inside.axis else 1 for axis in range(len(size))])
    places = np.broadcast_to(numbers, size).reshape(target)
    axis = _find_axis(places, len(inside))
    if axis is None:
        return False
    line = places[tuple(slice(None) if k == axis else 0 for k in range(places.ndim))]
    edits = _cut_shape(walk, index, axis, len(line))
    if edits is None:
        return False
    within = _count_within(line, len(inside))
    number = walk.numbers.of_keys(
        [("reshape", node.op_type, target, int(inside.number[c]), int(w)) for c, w in zip(line, within, strict=True)]
    )
    made = walk.give(
        node.output[0], axis, len(target), inside.low[line], inside.high[line], number, inside.factor[line]
    )
    walk.tie(inside.units[line], made.units)
    for position in edits:
        walk.edit(CutNumber(index, position, axis, made.units))
    return True


def _count_within(line: Any, count: int) -> Units:
    """For each place along an axis, how many places of its channel come before it."""
    order = np.argsort(line, kind="stable")
    within = np.empty(len(line), np.int64)
    within[order] = np.arange(len(line)) - np.searchsorted(line[order], line[order])
    return within


def _find_axis(places: Any, count: int) -> int | None:
    """The one axis along which the channel changes, where no other does."""
    if count == 1:
        return 1 if places.ndim > 1 else None
    varying = [k for k in range(places.ndim) if places.shape[k] > 1 and (np.diff(places, axis=k) != 0).any()]
    return varying[0] if len(varying) == 1 else None


def _cut_shape(walk: ChannelWalk, index: int, axis: int, length: int) -> list[int] | None:
    """Positions of the inputs that hold the length of `axis`; None where it cannot be changed."""
    node = walk.graph.nodes[index]
    if node.op_type != "Reshape":
        return []
    value = walk.constant(node.input[1]) if len(node.input) > 1 else None
    if value is None or axis >= value.size:
        return None
    lengths, own = [int(x) for x in value.reshape(-1)], walk.found.channels[node.input[0]].axis
    said = lengths[axis]
    if axis != own and (said == 0 or (own < len(lengths) and lengths[own] == 0)):
        return None  # a length that is copied from an axis of the same number, of which only one has channels
    if said in (0, -1):
        return []
    return [1] if said == length else None


@slim_rule("Shape")
def _read_sizes(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Only the sizes are read; channels stay where theirs is used."""
    inside = walk.of(node.input[0])
    if inside is None or attributes(node):
        return inside is None
    if _uses_length(walk, node.output[0], inside.axis):
        walk.pin(node.input[0], f"{node.op_type} {node.output[0]!r} reads how many there are")
    return True


def _uses_length(walk: ChannelWalk, name: str, axis: int) -> bool:
    """Whether a shape's entry `axis` is read."""
    for reader in walk.graph.consumers_of.get(name, ()):
        node = walk.graph.nodes[reader]
        if operator_of(node).transparent:
            if _uses_length(walk, node.output[0], axis):
                return True
            continue
        if node.op_type == "Gather" and (places := walk.constant(node.input[1])) is not None:
            if axis in np.asarray(places).reshape(-1) or (np.asarray(places) < 0).any():
                return True
            continue
        bounds = _read_bounds(walk, node) if node.op_type == "Slice" else None
        if bounds is None or len(bounds[0]) != 1:
            return True
        start, end, _, step = (x[0] for x in bounds)
        if start < 0 or end < 0 or step != 1 or start <= axis < end:
            return True
    return name in walk.graph.outputs
