"""Operators that compute with integers: the values are followed as they are stored, zero points and all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from inspector.graph import attributes, operator_of
from inspector.graph.operators.contributed import MICROSOFT
from inspector.slimming.channels import ChannelFacts, ChannelReader, CutConstant, CutNumber, Doubles, Units
from inspector.slimming.rules.quantized import round_high, round_low
from inspector.slimming.rules.weighing import WeightFacts, bound_sums, find_additions, find_touches, has_pads
from inspector.slimming.walk import ChannelWalk, slim_rule

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass(frozen=True)
class IntegerGrid:
    """What integers stand for: ``(value - zero) * scale``.

    Attributes:
        scale: float64 (1,) or (C,).
        zero: float64 (1,) or (C,).
        low: The smallest integer of the type.
        high: The largest.
    """

    scale: Doubles
    zero: Doubles
    low: float
    high: float

    def to_integers(self, low: Doubles, high: Doubles) -> tuple[Doubles, Doubles]:
        """Round bounds to the grid, as integers in float64; what is beyond it becomes its end."""
        with np.errstate(all="ignore"):
            ends = round_low(low / self.scale) + self.zero, round_high(high / self.scale) + self.zero
            return np.clip(ends[0], self.low, self.high), np.clip(ends[1], self.low, self.high)

    def to_numbers(self, values: Doubles) -> Doubles:
        """What integers stand for."""
        return (values - self.zero) * self.scale


def read_grid(walk: ChannelWalk, node: NodeProto, position: int) -> IntegerGrid | None:
    """The scale at an input, and the zero point behind it; None where they are computed."""
    scale, zero = walk.constant(node.input[position]), walk.constant(node.input[position + 1])
    if scale is None or zero is None or zero.dtype.kind not in "iu":
        return None
    info = np.iinfo(zero.dtype)
    return IntegerGrid(
        scale.reshape(-1).astype(np.float64), zero.reshape(-1).astype(np.float64), float(info.min), float(info.max)
    )


@slim_rule("QLinearConv")
def _convolve(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """A convolution of integers: inputs at 0, weights at 3, the output's grid at 6, bias at 8."""
    weights, settings = walk.constant(node.input[3]), attributes(node)
    grids = read_grid(walk, node, 1), read_grid(walk, node, 4), read_grid(walk, node, 6)
    if weights is None or weights.ndim < 3 or None in grids or settings.get("channels_last", 0):
        return False
    count, groups = len(weights), int(settings.get("group", 1))
    return _weigh(walk, index, weights, (grids[0], grids[1], grids[2]), 8, groups, has_pads(settings), count)  # type: ignore[arg-type]


@slim_rule("QGemm", domain=MICROSOFT)
def _multiply(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """A matrix product of integers: inputs at 0, weights at 3, bias at 6, the output's grid at 7."""
    weights, settings = walk.constant(node.input[3]), attributes(node)
    if weights is None or weights.ndim != 2 or settings.get("transA", 0) or settings.get("alpha", 1.0) != 1:
        return False
    grids = [read_grid(walk, node, position) for position in (1, 4)]
    grids.append(read_grid(walk, node, 7) if len(node.input) > 8 and node.input[7] else IntegerGrid(*_FLOATS))
    if None in grids:
        return False
    turned = bool(settings.get("transB", 0))
    rows = weights if turned else weights.T
    return _weigh(walk, index, rows, (grids[0], grids[1], grids[2]), 6, 1, False, len(rows), turned)  # type: ignore[arg-type]


_FLOATS = np.ones(1), np.zeros(1), -np.inf, np.inf


# Wide: what a product of integers is made of.
def _weigh(
    walk: ChannelWalk,
    index: int,
    weights: Units,
    grids: Sequence[IntegerGrid],
    bias: int,
    groups: int,
    pads: bool,
    count: int,
    turned: bool = True,
) -> bool:
    """Weights (O, I / groups, ...) of integers over an input of integers."""
    node = walk.graph.nodes[index]
    inside, (given, own, made_on) = walk.of(node.input[0]), grids
    value = walk.constant(node.input[bias]) if len(node.input) > bias and node.input[bias] else np.zeros(count)
    depthwise = groups > 1 and weights.shape[1] == 1
    if value is None or given.zero.size != 1 or made_on.zero.size != 1:
        return False
    flat = weights.reshape(count, weights.shape[1], -1).astype(np.float64) - np.broadcast_to(own.zero, count).reshape(
        -1, 1, 1
    )
    about = "integers"
    kernel = WeightFacts(
        flat, np.broadcast_to(value.astype(np.float64).reshape(-1), count), (0, 1) if turned else (1, 0), groups, pads,
        True, about,
    )  # fmt: skip
    inputs = weights.shape[1] * groups
    if inside is not None and (inside.axis != 1 or len(inside) != inputs):
        walk.pin(node.input[0], f"{node.op_type} {node.output[0]!r} reads them along another axis")
        inside = None
    if depthwise and inside is None:
        return False
    shifted = None if inside is None else _shift(inside, float(given.zero[0]))
    low, high = bound_sums(kernel, shifted)
    step = np.broadcast_to(given.scale * own.scale, count)
    ends = low * step, high * step
    ends = made_on.to_integers(*ends) if np.isfinite(made_on.low) else ends
    made = walk.give(node.output[0], 1, weights.ndim, ends[0], ends[1])
    for position in (4, 5, bias):
        constant = walk.constant(node.input[position]) if len(node.input) > position and node.input[position] else None
        if constant is not None and constant.size == count > 1:
            walk.edit(CutConstant(index, position, 0, made.units))
    if depthwise:
        assert inside is not None
        walk.tie(inside.units[np.repeat(np.arange(groups), count // groups)], made.units)
        walk.edit(CutConstant(index, 3, 0, made.units))
        walk.edit(CutNumber(index, "group", None, inside.units))
        return True
    sums, adds = find_additions(kernel, shifted, not pads, np.ones(count))
    walk.read(
        ChannelReader(
            node=index, data=node.input[0], units=None if inside is None else inside.units, rows=made.units, position=3,
            bias=bias, axes=kernel.axes, groups=groups, touches=find_touches(kernel), shared=not pads, foldable=False,
            adds=adds, sums=sums, step=np.ones(count), zero=float(given.zero[0]),
        )
    )  # fmt: skip
    return True


def _shift(inside: ChannelFacts, zero: float) -> ChannelFacts:
    return replace(inside, low=inside.low - zero, high=inside.high - zero)


@slim_rule("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def _combine(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """A sum or product of two tensors on grids of their own: (a, scale, zero, b, scale, zero, scale, zero)."""
    parts, sizes = [walk.of(node.input[k]) for k in (0, 3)], [walk.sizes.get(node.input[k]) for k in (0, 3)]
    grids = [read_grid(walk, node, k) for k in (1, 4, 6)]
    if None in parts or None in grids or None in sizes:
        return False
    known = [part for part in parts if part is not None]
    if known[0].rank != known[1].rank or known[0].axis != known[1].axis or len(known[0]) != len(known[1]):
        return False
    first, second, out = (grid for grid in grids if grid is not None)
    ends = [(first.to_numbers(x), second.to_numbers(y)) for x, y in
            ((known[0].low, known[1].low), (known[0].high, known[1].high))]  # fmt: skip
    with np.errstate(all="ignore"):
        if operator_of(node).product:
            products = [np.where((a == 0) | (b == 0), 0, a * b) for a in (ends[0][0], ends[1][0])
                        for b in (ends[0][1], ends[1][1])]  # fmt: skip
            low, high = np.min(products, axis=0), np.max(products, axis=0)
        else:
            low, high = ends[0][0] + ends[0][1], ends[1][0] + ends[1][1]
    low, high = (np.nan_to_num(x, nan=y) for x, y in ((low, -np.inf), (high, np.inf)))
    made = walk.give(node.output[0], known[0].axis, known[0].rank, *out.to_integers(low, high))
    for part in known:
        walk.tie(part.units, made.units)
    return True


@slim_rule("QLinearSigmoid", "QLinearLeakyRelu", "QLinearGlobalAveragePool", "QLinearAveragePool", domain=MICROSOFT)
def _pass(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """One tensor from its grid to another: (x, scale, zero, scale, zero)."""
    inside, settings = walk.of(node.input[0]), attributes(node)
    given, out = read_grid(walk, node, 1), read_grid(walk, node, 3)
    if inside is None or given is None or out is None or settings.get("channels_last", 0):
        return False
    low, high = given.to_numbers(inside.low), given.to_numbers(inside.high)
    row = operator_of(node)
    if settings.get("count_include_pad") or settings.get("ceil_mode"):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if row.ending:
        with np.errstate(all="ignore"):
            low, high = 1 / (1 + np.exp(-low)), 1 / (1 + np.exp(-high))
    elif row.kind == "activation":
        slope = float(settings.get("alpha", 0.01))
        if slope < 0:
            return False
        low, high = np.where(low < 0, low * slope, low), np.where(high < 0, high * slope, high)
    made = walk.give(node.output[0], inside.axis, inside.rank, *out.to_integers(low, high))
    walk.tie(inside.units, made.units)
    return True


@slim_rule("QLinearConcat", domain=MICROSOFT)
def _join(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Channels one behind another, all brought to one grid: (scale, zero, then x, scale, zero of each)."""
    places = range(2, len(node.input), 3)
    parts, out = [walk.of(node.input[k]) for k in places], read_grid(walk, node, 0)
    grids = [read_grid(walk, node, k + 1) for k in places]
    known = [part for part in parts if part is not None]
    if out is None or None in grids or len(known) != len(parts):
        return False
    rank, axis = known[0].rank, int(attributes(node).get("axis", 1)) % known[0].rank
    if any(part.rank != rank or part.axis != axis for part in known):
        return False
    ends = [
        np.concatenate([grid.to_numbers(x) for grid, x in zip(grids, line, strict=True) if grid])
        for line in ([part.low for part in known], [part.high for part in known])
    ]
    ends = list(out.to_integers(*ends))
    made = walk.give(node.output[0], axis, rank, ends[0], ends[1])
    start = 0
    for part in known:
        walk.tie(part.units, made.units[start : start + len(part)])
        start += len(part)
    return True
