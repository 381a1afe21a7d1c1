"""Convolutions and matrix products: the channels that they read may go without those that they make."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.graph import attributes, operator_of
from inspector.slimming.channels import ChannelFacts, ChannelReader, CutConstant, CutNumber, Doubles, Units
from inspector.slimming.walk import ChannelWalk, slim_rule

if TYPE_CHECKING:
    from onnx import NodeProto

_UNIT = 2.0**-24
"""Half the distance of neighbours among float32 numbers, relative to them."""

_MOST = 1 << 24
"""Weights of one layer among which duplicates are looked for; more are a fully connected layer of old."""


_EXACT = 1e-3
"""How far a number of steps may be from a whole one: scales are float32."""

_FEW = 2.0**24
"""Steps that a bias takes over at most, far from the ends of int32."""


@dataclass(frozen=True)
class WeightFacts:
    """The weights of one node.

    Attributes:
        weights: (O, I / groups, taps), outputs first, as the file has them.
        bias: float64 (O,).
        axes: Axes of the weights in the file along which outputs and inputs lie.
        groups: Groups of the convolution.
        pads: Whether some of what it sees may be padding.
        shared: Whether every place of the output sees every weight, but for padding.
        about: What else it computes with, for comparison.
    """

    weights: NDArray[Any]
    bias: Doubles
    axes: tuple[int, int]
    groups: int
    pads: bool
    shared: bool
    about: Hashable


@slim_rule("Conv")
def _convolve(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    weights, bias = walk.constant(node.input[1]), _read_bias(walk, node)
    if weights is None or weights.ndim < 3 or bias is None:
        return False
    settings = attributes(node)
    groups = int(settings.get("group", 1))
    flat = weights.reshape(len(weights), weights.shape[1], -1)
    about = tuple(sorted(a.SerializeToString() for a in node.attribute)), weights.shape[1:]
    kernel = WeightFacts(flat, _spread_bias(bias, len(flat)), (0, 1), groups, has_pads(settings), True, about)
    inside = walk.of(node.input[0])
    if groups > 1 and weights.shape[1] == 1:
        return _convolve_by_channel(walk, index, kernel, inside, weights.ndim)
    return _weigh(walk, index, kernel, (1, weights.ndim))


@slim_rule("ConvTranspose")
def _convolve_back(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    weights, bias, settings = walk.constant(node.input[1]), _read_bias(walk, node), attributes(node)
    if weights is None or weights.ndim < 3 or bias is None or int(settings.get("group", 1)) > 1:
        return False
    flat = np.swapaxes(weights.reshape(len(weights), weights.shape[1], -1), 0, 1)
    shared = flat.shape[2] == 1 and all(step == 1 for step in settings.get("strides", ()))
    about = tuple(sorted(a.SerializeToString() for a in node.attribute)), weights.shape[2:]
    kernel = WeightFacts(flat, _spread_bias(bias, len(flat)), (1, 0), 1, True, shared, about)
    return _weigh(walk, index, kernel, (1, weights.ndim))


@slim_rule("Gemm")
def _multiply_general(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    weights, bias, settings = walk.constant(node.input[1]), _read_bias(walk, node), attributes(node)
    if weights is None or weights.ndim != 2 or bias is None or settings.get("transA", 0):
        return False
    turned = bool(settings.get("transB", 0))
    rows = weights if turned else weights.T
    if bias.ndim > 1 and bias.size != bias.shape[-1]:
        return False  # a bias for each picture of the batch
    alpha, beta = settings.get("alpha", 1.0), settings.get("beta", 1.0)
    if alpha != 1 or beta != 1:
        return False
    flat = rows[:, :, None]
    kernel = WeightFacts(flat, _spread_bias(bias, len(flat)), (0, 1) if turned else (1, 0), 1, False, True, "linear")
    return _weigh(walk, index, kernel, (1, 2))


@slim_rule("MatMul")
def _multiply(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    weights, inside = walk.constant(node.input[1]), walk.of(node.input[0])
    size = walk.sizes.get(node.input[0])
    rank = inside.rank if inside is not None else len(size) if size is not None else 0
    if weights is None or weights.ndim != 2 or rank < 2:
        return False
    flat = weights.T[:, :, None]
    kernel = WeightFacts(flat, np.zeros(len(flat)), (1, 0), 1, False, True, "linear")
    return _weigh(walk, index, kernel, (rank - 1, rank))


def _read_bias(walk: ChannelWalk, node: NodeProto) -> Doubles | None:
    position = operator_of(node).bias
    if position is None or len(node.input) <= position or not node.input[position]:
        return np.zeros(1)
    value = walk.constant(node.input[position])
    return None if value is None else np.asarray(value, np.float64)


def _spread_bias(bias: Doubles, count: int) -> Doubles:
    return np.array(np.broadcast_to(bias.reshape(-1), count))


def has_pads(settings: dict[str, Any]) -> bool:
    """Whether some of what a convolution with these attributes sees may be padding."""
    return any(settings.get("pads", ())) or settings.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")


def _weigh(walk: ChannelWalk, index: int, kernel: WeightFacts, where: tuple[int, int]) -> bool:
    """A product that mixes the channels of each of its groups; `where` are axis and rank of what it reads and gives."""
    node = walk.graph.nodes[index]
    row, inside = operator_of(node), walk.of(node.input[0])
    count = kernel.weights.shape[1] * kernel.groups
    if inside is not None and (inside.axis != where[0] or len(inside) != count or inside.rank != where[1]):
        walk.pin(node.input[0], f"{node.op_type} {node.output[0]!r} reads them along another axis")
        inside = None
    low, high = bound_sums(kernel, inside)
    if walk.graph.half_precision:  # how much rounding adds there is not reckoned with
        low, high = np.where(low == high, low, -np.inf), np.where(low == high, high, np.inf)
    number, factor = _number_rows(walk, node, kernel)
    made = walk.give(node.output[0], *where, low, high, number, factor)
    bias = row.bias
    given = bias is not None and len(node.input) > bias and bool(node.input[bias])
    if given and bias is not None:
        value = walk.constant(node.input[bias])
        if value is not None and value.size == len(made):
            walk.edit(CutConstant(index, bias, value.ndim - 1, made.units))
        elif len(made) > 1:
            walk.found.pins.append((made.units, "its bias is shared"))
    plain = (
        walk.is_plain(node.input[1])
        and not walk.graph.half_precision
        and (not given or bias is None or walk.is_plain(node.input[bias]))
    )
    step = None if plain or not given or bias is None else _read_step(walk, node.input[bias], len(made))
    shared = kernel.shared and not kernel.pads
    sums, adds = find_additions(kernel, inside, shared and (plain or step is not None), step)
    walk.read(
        ChannelReader(
            node=index, data=node.input[0], units=None if inside is None else inside.units, rows=made.units, position=1,
            bias=bias, axes=kernel.axes, groups=kernel.groups, touches=find_touches(kernel), shared=shared,
            foldable=plain, adds=adds, sums=sums, step=step,
        )
    )  # fmt: skip
    return True


def _read_step(walk: ChannelWalk, name: str, count: int) -> Doubles | None:
    """What one step of a bias is worth that is dequantized from integers; None for any other."""
    index = walk.graph.producer_of.get(name)
    node = walk.graph.nodes[index] if index is not None else None
    if node is None or not operator_of(node).requantizes or node.input[0] not in walk.graph.initializers:
        return None
    scale = walk.constant(node.input[1])
    if scale is None or scale.size not in (1, count) or walk.graph.weight(node.input[0]).dtype != np.int32:
        return None
    return np.broadcast_to(scale.reshape(-1).astype(np.float64), count)


def find_additions(
    kernel: WeightFacts, inside: ChannelFacts | None, possible: bool, step: Doubles | None, zero: float = 0.0
) -> tuple[Doubles | None, NDArray[np.bool_]]:
    """What constant inputs add to the outputs, and which of them a bias can take over.

    Args:
        kernel: The weights.
        inside: What is known of the inputs.
        possible: Whether the bias can take over anything at all.
        step: What one step of a bias in integers is worth; None for one in floating point.
        zero: The value of an input that adds nothing.

    Returns:
        The weights added up over the taps, float64 (O, I / groups), where a constant asks for them; bool (I,).
    """
    none = np.zeros(kernel.weights.shape[1] * kernel.groups, bool)
    if inside is None or not possible:
        return None, none
    asked = inside.constant & (inside.low != zero)
    if not asked.any():
        return None, none
    sums = np.asarray(kernel.weights, np.float64).sum(axis=2)
    if step is None:
        return sums, asked
    each, inputs = len(sums) // kernel.groups, sums.shape[1]
    for place in np.flatnonzero(asked):
        rows = slice(place // inputs * each, (place // inputs + 1) * each)
        steps = sums[rows, place % inputs] * (inside.low[place] - zero) / step[rows]
        asked[place] = bool((np.abs(steps - np.rint(steps)) < _EXACT).all() and (np.abs(steps) < _FEW).all())
    return sums, asked


def _convolve_by_channel(
    walk: ChannelWalk, index: int, kernel: WeightFacts, inside: ChannelFacts | None, rank: int
) -> bool:
    """A depthwise convolution: each channel by itself, maybe to several."""
    node = walk.graph.nodes[index]
    count = len(kernel.weights)
    if inside is None or inside.axis != 1 or len(inside) != kernel.groups or count % kernel.groups:
        return False
    each = count // kernel.groups
    source = np.repeat(np.arange(kernel.groups), each)
    rows = kernel.weights[:, 0].astype(np.float64)
    low, high = _bound_rows(rows, inside.low[source], inside.high[source], kernel)
    if walk.graph.half_precision:
        low, high = np.where(low == high, low, -np.inf), np.where(low == high, high, np.inf)
    table = rows * inside.factor[source][:, None]
    keys: list[Hashable] = [("depthwise", kernel.about, int(inside.number[k])) for k in source]
    number, factor = walk.numbers.of_rows(keys, table, kernel.bias)
    made = walk.give(node.output[0], 1, rank, low, high, number, factor)
    walk.tie(inside.units[source], made.units)
    walk.edit(CutConstant(index, 1, 0, made.units))
    if len(node.input) > 2 and node.input[2]:
        walk.edit(CutConstant(index, 2, 0, made.units))
    walk.edit(CutNumber(index, "group", None, inside.units))
    return True


def _bound_rows(rows: Doubles, low: Doubles, high: Doubles, kernel: WeightFacts) -> tuple[Doubles, Doubles]:
    """Bounds of channels that each see one channel: rows (O, taps) over values between (O,) and (O,)."""
    if kernel.pads:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    up, down = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        ends = [np.where(a == 0, 0, a * x) + np.where(b == 0, 0, b * y) for a, x, b, y in
                ((up, low, down, high), (up, high, down, low))]  # fmt: skip
        size = np.where(up - down == 0, 0, (up - down) * np.maximum(np.abs(low), np.abs(high)))
        slack = (rows.shape[1] + 1) * _UNIT * (np.where(np.isfinite(size), size, 0) + np.abs(kernel.bias))
    slack = np.where(ends[0] == ends[1], 0, slack)
    return ends[0] + kernel.bias - slack, ends[1] + kernel.bias + np.where(ends[1] <= 0, 0, slack)


def bound_sums(kernel: WeightFacts, inside: ChannelFacts | None) -> tuple[Doubles, Doubles]:
    """Bounds of weighted sums, with what rounding in float32 may add to them.

    Args:
        kernel: The weights.
        inside: What is known of the channels that they weigh; None for nothing.

    Returns:
        The lower and the upper bound of each output, float64 (O,).
    """
    outputs, inputs, taps = kernel.weights.shape
    low = np.full(inputs * kernel.groups, -np.inf) if inside is None else inside.low
    high = np.full(inputs * kernel.groups, np.inf) if inside is None else inside.high
    if kernel.pads:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    each = outputs // kernel.groups
    if kernel.weights.size > _MOST or not (np.isfinite(low) | np.isfinite(high)).any():
        # Nothing is known of what comes in, or it is too much to look into: only a row of zeros has bounds.
        used = (kernel.weights != 0).any(axis=(1, 2))
        return np.where(used, -np.inf, kernel.bias), np.where(used, np.inf, kernel.bias)
    made = []
    step = max(1, (1 << 22) // max(1, inputs * taps))
    for start in range(0, outputs, step):
        for group in range(start // each, min((start + step - 1) // each, kernel.groups - 1) + 1):
            rows = slice(max(start, group * each), min(start + step, (group + 1) * each, outputs))
            if rows.start >= rows.stop:
                continue
            columns = slice(group * inputs, (group + 1) * inputs)
            part = np.asarray(kernel.weights[rows], np.float64)
            made.append(_bound_block(part, low[columns], high[columns], kernel.bias[rows]))
    return np.concatenate([m[0] for m in made]), np.concatenate([m[1] for m in made])


def _bound_block(weights: Doubles, low: Doubles, high: Doubles, bias: Doubles) -> tuple[Doubles, Doubles]:
    up, down = np.maximum(weights, 0).sum(axis=2), np.minimum(weights, 0).sum(axis=2)
    finite_low, finite_high = np.where(np.isfinite(low), low, 0), np.where(np.isfinite(high), high, 0)
    least = up @ finite_low + down @ finite_high
    most = up @ finite_high + down @ finite_low
    open_low, open_high = np.isneginf(low), np.isposinf(high)
    no_least = (up[:, open_low] > 0).any(axis=1) | (down[:, open_high] < 0).any(axis=1)
    no_most = (up[:, open_high] > 0).any(axis=1) | (down[:, open_low] < 0).any(axis=1)
    used = (up != 0) | (down != 0)
    varies = (used & (low != high)).any(axis=1)
    size = (up - down) @ np.maximum(np.abs(finite_low), np.abs(finite_high)) + np.abs(bias)
    slack = np.where(varies, (weights.shape[1] * weights.shape[2] + 1) * _UNIT * size, 0)
    # A sum of which no part is above zero is not, however it is rounded.
    above = up @ np.maximum(finite_high, 0) - down @ np.maximum(-finite_low, 0)
    most = most + bias + np.where(above > 0, slack, 0)
    least = least + bias - slack
    return np.where(no_least, -np.inf, least), np.where(no_most, np.inf, most)


def _number_rows(walk: ChannelWalk, node: NodeProto, kernel: WeightFacts) -> tuple[Units | None, Doubles | None]:
    """Value numbers by the rows of weights; none for very large layers."""
    outputs, inputs, taps = kernel.weights.shape
    if outputs * inputs * taps > _MOST:
        return None, None
    table = np.asarray(kernel.weights, np.float64).reshape(outputs, -1)
    each = outputs // kernel.groups
    keys: list[Hashable] = [
        ("sum", node.op_type, kernel.about, node.input[0], k // each if kernel.groups > 1 else 0)
        for k in range(outputs)
    ]
    return walk.numbers.of_rows(keys, table, kernel.bias)


def find_touches(kernel: WeightFacts) -> NDArray[np.bool_]:
    """bool (O, I): where there is a weight other than 0."""
    outputs, inputs, _ = kernel.weights.shape
    own = np.asarray((kernel.weights != 0).any(axis=-1), bool)
    if kernel.groups == 1:
        return own
    found = np.zeros((outputs, inputs * kernel.groups), bool)
    each = outputs // kernel.groups
    for group in range(kernel.groups):
        rows = slice(group * each, (group + 1) * each)
        found[rows, group * inputs : (group + 1) * inputs] = own[rows]
    return found
