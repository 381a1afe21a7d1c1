"""Integers between floats: the pairs of nodes that a quantized network has around its tensors."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np

from inspector.graph import attributes
from inspector.slimming.channels import ChannelFacts, CutConstant, Doubles
from inspector.slimming.evaluate import choose_integers
from inspector.slimming.walk import ChannelWalk, slim_rule

if TYPE_CHECKING:
    from onnx import NodeProto

_HAIR = 1e-5
"""Steps, and share of them, within which a number that lies between two integers may be rounded to either."""


def round_low(steps: Doubles) -> Doubles:
    """To the nearest whole number; to the lower one where a runtime's rounding in float32 may decide."""
    return np.asarray(np.rint(steps - _HAIR * (1 + np.abs(steps))), np.float64)


def round_high(steps: Doubles) -> Doubles:
    """To the nearest whole number; to the higher one where a runtime's rounding in float32 may decide."""
    return -round_low(-steps)


def _read_grid(walk: ChannelWalk, node: NodeProto, inside: ChannelFacts) -> tuple[Doubles, Doubles, np.dtype] | None:
    """Scale and zero point, (1,) or (C,) each, and the type of the integers; None where they are computed."""
    scale = walk.constant(node.input[1])
    if len(node.input) > 2 and node.input[2]:
        zero = walk.constant(node.input[2])
    else:
        kind = choose_integers(node)
        zero = None if kind is None else np.zeros((), kind)
    if scale is None or zero is None or attributes(node).get("block_size", 0) or zero.dtype.kind not in "iu":
        return None
    if scale.size not in (1, len(inside)) or zero.size not in (1, len(inside)):
        return None
    if scale.size > 1 and int(attributes(node).get("axis", 1)) % inside.rank != inside.axis:
        return None
    return scale.reshape(-1), zero.reshape(-1).astype(np.float64), zero.dtype


def _give_grid(
    walk: ChannelWalk, index: int, node: NodeProto, inside: ChannelFacts, ends: tuple[Doubles, Doubles]
) -> None:
    about = (node.op_type, *node.input[1:])
    keys: list[Hashable] = [
        (*about, int(n), float(f"{f:.6e}")) for n, f in zip(inside.number, inside.factor, strict=True)
    ]
    made = walk.give(node.output[0], inside.axis, inside.rank, *ends, walk.numbers.of_keys(keys))
    walk.tie(inside.units, made.units)
    for position, name in enumerate(node.input[1:], 1):
        value = walk.constant(name) if name else None
        if value is not None and value.size == len(made) > 1:
            walk.edit(CutConstant(index, position, 0, made.units))


@slim_rule("QuantizeLinear")
def _quantize(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Doubles to integers: rounded, and clipped to what the type holds."""
    inside = walk.of(node.input[0])
    grid = _read_grid(walk, node, inside) if inside is not None else None
    if inside is None or grid is None:
        return False
    scale, zero, kind = grid
    info = np.iinfo(kind)
    with np.errstate(all="ignore"):
        steps = [x.astype(np.float64) / scale.astype(np.float64) for x in (inside.low, inside.high)]
        ends = [np.clip(x + zero, info.min, info.max) for x in (round_low(steps[0]), round_high(steps[1]))]
    _give_grid(walk, index, node, inside, (ends[0].astype(np.float64), ends[1].astype(np.float64)))
    return True


@slim_rule("DequantizeLinear")
def _dequantize(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Integers to floats."""
    inside = walk.of(node.input[0])
    grid = _read_grid(walk, node, inside) if inside is not None else None
    if inside is None or grid is None:
        return False
    scale, zero, _ = grid
    ends = [(x - zero) * scale.astype(np.float64) for x in (inside.low, inside.high)]
    _give_grid(walk, index, node, inside, (ends[0], ends[1]))
    return True
