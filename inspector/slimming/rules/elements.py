"""Element by element: what is tied, and between which values the result lies."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.graph import attributes, operator_of
from inspector.slimming.channels import ChannelFacts, CutConstant, Doubles, FixedOperand, Units
from inspector.slimming.walk import ChannelWalk

if TYPE_CHECKING:
    from onnx import NodeProto

Ends = tuple[Doubles, Doubles]

_NEAR = 2.0**-20
"""How far a runtime's float32 may be from what is computed here, relative to it."""

_SMOOTH = 1e-3
"""How far a function may go within that, relative to its value, and count as one without a step there."""


@dataclass
class Operand:
    """One input of an elementwise node, as its channels are seen along the axis of the output's.

    Attributes:
        position: Which input.
        low: float64 (C,) or (1,).
        high: float64 (C,) or (1,).
        channels: What is known of it, where it has a channel for each of the output's.
        value: Its value, where it is a constant.
        fixed: Its value, where it is one for every picture, though the graph computes it.
    """

    position: int
    low: Doubles
    high: Doubles
    channels: ChannelFacts | None = None
    value: NDArray[Any] | None = None
    fixed: NDArray[Any] | None = None


def pass_elements(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Any operator that works element by element: channels of one place are tied."""
    row = operator_of(node)
    count = len(node.input) if row.operands == 0 else row.operands
    data = [name for name in node.input[:count] if name]
    tracked = [c for c in map(walk.of, data) if c is not None]
    if not tracked or any(walk.of(name) for name in node.input[count:]):
        return False
    ranks = [_rank(walk, name) for name in data]
    if None in ranks:
        return False
    rank = max(r for r in ranks if r is not None)
    leading = max(tracked, key=lambda each: (len(each), not each.constant.all()))
    axis = leading.axis + rank - leading.rank
    whole = walk.sizes.get(node.output[0])
    rest = [k for k, name in enumerate(data) if not _is_fixed(walk, name)]
    # What is the same for every picture may become a constant, where another operand has the size of the output.
    replaced = not walk.graph.half_precision and any(
        walk.sizes.get(data[k]) == whole is not None and walk.of(data[k]) for k in rest
    )
    operands = [
        _take_fixed(walk, k, name, axis, rank, len(leading)) if replaced and k not in rest and walk.of(name) else
        _take_operand(walk, k, name, axis, rank, len(leading))
        for k, name in enumerate(data)
    ]  # fmt: skip
    if any(part is None for part in operands):
        return False
    parts = [part for part in operands if part is not None]
    low, high = _bound(walk, node, parts, len(leading))
    number, factor = _number(walk, node, parts, len(leading))
    made = walk.give(node.output[0], axis, rank, low, high, number, factor)
    for part, name in zip(parts, data, strict=True):
        if part.fixed is not None:
            walk.found.fixed.append(_fix(node, index, part, len(parts)))
        if part.channels is not None:
            walk.tie(part.channels.units, made.units)
        elif part.value is not None and len(part.low) == len(made) > 1:
            walk.edit(CutConstant(index, part.position, axis - rank + part.value.ndim, made.units))
        elif part.value is None:
            walk.pin(name, f"the same for all channels of {node.output[0]!r}")
    return True


def _rank(walk: ChannelWalk, name: str) -> int | None:
    if (channels := walk.of(name)) is not None:
        return channels.rank
    if (value := walk.constant(name)) is not None:
        return value.ndim
    return len(walk.sizes[name]) if name in walk.sizes else None


def _is_fixed(walk: ChannelWalk, name: str) -> bool:
    """Whether a tensor is one and the same for every picture."""
    channels = walk.of(name)
    return walk.constant(name) is not None or (channels is not None and bool(channels.constant.all()))


# Wide: an operand, and where the channels lie.
def _take_fixed(walk: ChannelWalk, position: int, name: str, axis: int, rank: int, count: int) -> Operand | None:
    """An operand whose channels are all constant, as a constant of one value for each."""
    channels = walk.of(name)
    fits = channels is not None and channels.axis + rank - channels.rank == axis and len(channels) in (1, count)
    if channels is None or not fits or name in walk.others:
        return _take_operand(walk, position, name, axis, rank, count)
    shape = [len(channels) if k == channels.axis else 1 for k in range(channels.rank)]
    value = channels.low.astype(np.float32).reshape(shape)
    return Operand(position, channels.low, channels.high, value=value, fixed=value)


def _fix(node: NodeProto, index: int, part: Operand, count: int) -> FixedOperand:
    """The note that an operand becomes a constant, and whether the node then does nothing."""
    assert part.fixed is not None
    row = operator_of(node)
    sums = row.affine and not row.product and count == 2 and (part.position == 1 or not row.ordered)
    idle = 1 - part.position if sums and not part.fixed.any() else None
    return FixedOperand(index, part.position, part.fixed, idle)


# Wide: an operand, and where the channels lie.
def _take_operand(walk: ChannelWalk, position: int, name: str, axis: int, rank: int, count: int) -> Operand | None:
    """An input as it is seen along the axis of the output; None where it has other channels there."""
    value = walk.constant(name)
    if value is not None:
        own = axis - rank + value.ndim
        if value.dtype.kind not in "fiub" or not value.size:
            return None
        if own < 0 or value.shape[own] == 1:
            low, high = np.array([float(value.min())]), np.array([float(value.max())])
            return Operand(position, low, high, value=value)
        if value.shape[own] != count:
            return None
        rest = tuple(k for k in range(value.ndim) if k != own)
        ends = (np.asarray(value.min(axis=rest), np.float64), np.asarray(value.max(axis=rest), np.float64))
        return Operand(position, *ends, value=value)
    channels = walk.of(name)
    if channels is not None and channels.axis + rank - channels.rank == axis:
        if len(channels) == count:
            return Operand(position, channels.low, channels.high, channels)
        return Operand(position, channels.low, channels.high) if len(channels) == 1 else None
    size = walk.sizes.get(name)
    if size is None:
        return None
    own = axis - rank + len(size)
    if own >= 0 and size[own] != 1:
        return None
    if channels is None:
        return Operand(position, np.array([-np.inf]), np.array([np.inf]))
    return Operand(position, channels.low.min(keepdims=True), channels.high.max(keepdims=True))


def _bound(walk: ChannelWalk, node: NodeProto, parts: Sequence[Operand], count: int) -> Ends:
    """Bounds of the output, (C,) each."""
    row = operator_of(node)
    low, high = np.full(count, row.bounds[0]), np.full(count, row.bounds[1])
    lows = [np.broadcast_to(part.low, count) for part in parts]
    highs = [np.broadcast_to(part.high, count) for part in parts]
    with np.errstate(all="ignore"):
        rule = _INTERVALS.get(node.op_type) if not node.domain or node.domain == "ai.onnx" else None
        ends = None
        if rule is not None:
            ends = rule(lows, highs)
        elif len(parts) == 1:
            ends = _bound_unary(walk, node, lows[0], highs[0])
        if ends is not None:
            low, high = np.fmax(low, ends[0]), np.fmin(high, ends[1])
    fixed = np.all([(a == b) & np.isfinite(a) for a, b in zip(lows, highs, strict=True)], axis=0)
    if fixed.any() and not (low[fixed] == high[fixed]).all():
        values, *near = (_run(walk, node, [x[fixed] * by for x in lows]) for by in (1, 1 - _NEAR, 1 + _NEAR))
        shape = (int(fixed.sum()),)
        if values is not None and values.shape == shape and np.isfinite(values).all():
            sure = np.ones(shape, bool)
            for beside in near:
                sure &= beside is not None and np.isclose(beside, values, rtol=_SMOOTH, atol=_NEAR)
            fixed[fixed] = sure
            low, high = low.copy(), high.copy()
            low[fixed] = high[fixed] = values[sure]
    return low, high


def _run(walk: ChannelWalk, node: NodeProto, values: Sequence[Doubles]) -> Doubles | None:
    """The node on these numbers; its settings are those that it has."""
    settings = [walk.constant(name) if name else None for name in node.input[len(values) :]]
    if any(x is None for x, name in zip(settings, node.input[len(values) :], strict=True) if name):
        return None
    settings = [x.astype(np.float64) if x is not None and x.dtype.kind == "f" else x for x in settings]
    found = walk.evaluator.run(node, [*values, *settings])
    return None if found is None else np.asarray(found, np.float64)


def _bound_unary(walk: ChannelWalk, node: NodeProto, low: Doubles, high: Doubles) -> Ends | None:
    """One function of one number, where the row says how it runs."""
    row = operator_of(node)
    turned = any(a.name in ("alpha", "gamma") and a.f < 0 for a in node.attribute)
    if row.domain or turned or not (row.increasing or row.valley is not None):
        return None
    first, last = _run(walk, node, [low]), _run(walk, node, [high])
    if first is None or last is None:
        return None
    if row.increasing:
        # Rounded by a hair, a number may fall to the other side of a step.
        under, over = _run(walk, node, [low - np.abs(low) * _NEAR]), _run(walk, node, [high + np.abs(high) * _NEAR])
        if under is None or over is None:
            return None
        down, up = (~np.isclose(a, b, rtol=_SMOOTH, atol=_NEAR) for a, b in ((under, first), (over, last)))
        return np.where(down, under, first), np.where(up, over, last)
    if row.valley is None or attributes(node).get("alpha", 1.0) != 1.0:
        return None
    # Far below, such a function comes back to zero; the reference has no number for it at minus infinity.
    first = np.where(np.isneginf(low), 0.0, first)
    bottom = _run(walk, node, [np.full(len(low), row.valley)])
    if bottom is None:
        return None
    least = np.where(high <= row.valley, last, np.where(low >= row.valley, first, bottom - 1e-6))
    return least, np.fmax(first, last)


_INTERVALS: dict[str, Callable[[Sequence[Doubles], Sequence[Doubles]], Ends]] = {}


def _interval(*names: str) -> Callable[[Callable[..., Ends]], Callable[..., Ends]]:
    def register(rule: Callable[..., Ends]) -> Callable[..., Ends]:
        _INTERVALS.update(dict.fromkeys(names, rule))
        return rule

    return register


@_interval("Add", "Sum")
def _add(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    return np.sum(lows, axis=0), np.sum(highs, axis=0)


@_interval("Mean")
def _mean(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    return np.mean(lows, axis=0), np.mean(highs, axis=0)


@_interval("Sub")
def _sub(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    return lows[0] - highs[1], highs[0] - lows[1]


@_interval("Neg")
def _neg(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    return -highs[0], -lows[0]


@_interval("Mul")
def _mul(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    # Nothing times anything is nothing, as long as values are finite.
    products = [np.where((a == 0) | (b == 0), 0.0, a * b) for a in (lows[0], highs[0]) for b in (lows[1], highs[1])]
    return np.min(products, axis=0), np.max(products, axis=0)


@_interval("Div")
def _div(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    ends = [np.where(a == 0, 0.0, a / b) for a in (lows[0], highs[0]) for b in (lows[1], highs[1])]
    unsure = (lows[1] <= 0) & (highs[1] >= 0) | np.isnan(ends).any(axis=0)
    return np.where(unsure, -np.inf, np.min(ends, axis=0)), np.where(unsure, np.inf, np.max(ends, axis=0))


@_interval("Max")
def _max(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    return np.max(lows, axis=0), np.max(highs, axis=0)


@_interval("Min")
def _min(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    return np.min(lows, axis=0), np.min(highs, axis=0)


@_interval("Where")
def _where(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    return np.min(lows[1:], axis=0), np.max(highs[1:], axis=0)


@_interval("PRelu")
def _prelu(lows: Sequence[Doubles], highs: Sequence[Doubles]) -> Ends:
    down, up = (np.where(x[0] >= 0, x[0], x[0] * lows[1]) for x in (lows, highs))
    sure = (lows[1] == highs[1]) & (lows[1] >= 0)
    return np.where(sure, down, np.where(lows[0] >= 0, lows[0], -np.inf)), np.where(
        sure, up, np.where(lows[0] >= 0, highs[0], np.inf)
    )


def _number(
    walk: ChannelWalk, node: NodeProto, parts: Sequence[Operand], count: int
) -> tuple[Units | None, Doubles | None]:
    """Value numbers and factors of the output; (None, None) for new ones."""
    row = operator_of(node)
    if row.random or row.domain:
        return None, None
    scaled = _scale(walk, node, parts, count)
    if scaled is not None:
        return scaled
    about = b"".join(sorted(a.SerializeToString() for a in node.attribute))
    settings = tuple(node.input[len(parts) :])
    moving = [part for part in parts if part.channels is not None]
    if row.homogeneous and len(parts) == 1:
        channels = moving[0].channels
        assert channels is not None
        signs = np.sign(channels.factor)
        keys: list[Hashable] = [
            (node.op_type, about, settings, int(n), float(s)) for n, s in zip(channels.number, signs, strict=True)
        ]
        return walk.numbers.of_keys(keys), np.abs(channels.factor)
    together = _number_together(walk, node, parts, count)
    if together is not None:
        return together
    return walk.numbers.of_keys(list(_list_keys(node, about, settings, parts, count))), None


def _number_together(
    walk: ChannelWalk, node: NodeProto, parts: Sequence[Operand], count: int
) -> tuple[Units, Doubles] | None:
    """Sums and products: what all operands are multiplied by comes out of a sum, and what each is out of a product."""
    row = operator_of(node)
    known = [part.channels is not None or (part.value is not None and (part.low == part.high).all()) for part in parts]
    if not row.affine or len(parts) < 2 or not all(known) or parts[0].channels is None:
        return None
    first = parts[0].channels.factor
    factor = first.copy()
    columns: list[list[Hashable]] = []
    for at, part in enumerate(parts):
        if part.channels is None:
            offsets = np.broadcast_to(part.low, count) / (1 if row.product else first)
            columns.append([("constant", f"{x:.6e}") for x in offsets])
            continue
        ratio = np.ones(count) if row.product else part.channels.factor / first
        if row.product and at:
            factor = factor / part.channels.factor if row.ordered else factor * part.channels.factor
        columns.append([(int(n), f"{r:.6e}") for n, r in zip(part.channels.number, ratio, strict=True)])
    keys: list[Hashable] = [(node.op_type, "together", *cells) for cells in zip(*columns, strict=True)]
    return walk.numbers.of_keys(keys), factor


def _list_keys(
    node: NodeProto, about: bytes, settings: tuple[str, ...], parts: Sequence[Operand], count: int
) -> Sequence[Hashable]:
    """For each channel, what it is computed from and how."""
    columns: list[list[Hashable]] = []
    for part in parts:
        if part.channels is not None:
            columns.append(
                [(int(n), float(f"{f:.6e}")) for n, f in zip(part.channels.number, part.channels.factor, strict=True)]
            )
        elif part.value is not None and len(part.low) > 1 and (part.low == part.high).all():
            columns.append([("constant", float(x)) for x in part.low])
        elif part.value is not None and len(part.low) > 1:
            columns.append([("own", node.input[part.position], k) for k in range(count)])
        else:
            columns.append([node.input[part.position]] * count)
    return [(node.op_type, about, settings, *cells) for cells in zip(*columns, strict=True)]


def _scale(walk: ChannelWalk, node: NodeProto, parts: Sequence[Operand], count: int) -> tuple[Units, Doubles] | None:
    """A product with a constant for each channel: the same number with another factor."""
    row = operator_of(node)
    if not (row.arithmetic and row.product) or len(parts) != 2:
        return None
    moving = [part for part in parts if part.channels is not None]
    fixed = [part for part in parts if part.value is not None and (part.low == part.high).all()]
    if len(moving) != 1 or len(fixed) != 1 or (row.ordered and moving[0].position != 0):
        return None
    channels = moving[0].channels
    assert channels is not None
    by = np.broadcast_to(fixed[0].low, count)
    by = 1 / np.where(by == 0, 1, by) if row.ordered else np.where(by == 0, 1, by)
    # A product with zero is a constant, and is known as one.
    return channels.number, channels.factor * by
