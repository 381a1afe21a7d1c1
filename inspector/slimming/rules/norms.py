"""Norms whose channels do not mix."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np

from inspector.graph import attributes, normalises_by_batch
from inspector.slimming.channels import CutConstant
from inspector.slimming.walk import ChannelWalk, slim_rule

if TYPE_CHECKING:
    from onnx import NodeProto


@slim_rule("BatchNormalization")
def _batch_norm(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """An affine function of each channel; constant where its scale is 0."""
    inside, parts = walk.of(node.input[0]), [walk.constant(name) for name in node.input[1:5]]
    if inside is None or inside.axis != 1 or any(part is None for part in parts):
        return False
    if normalises_by_batch(node, walk.graph.opset) or any(node.output[1:]):
        return False
    gamma, beta, mean, variance = (np.asarray(part, np.float64).reshape(-1) for part in parts)
    factor = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    offset = beta - mean * factor
    with np.errstate(invalid="ignore"):
        ends = np.where(factor == 0, 0.0, np.stack([inside.low, inside.high]) * factor) + offset
    changed = inside.factor * np.where(factor == 0, 1, factor)
    keys: list[Hashable] = [
        ("affine", int(n), f"{b / f:.6e}") for n, b, f in zip(inside.number, offset, changed, strict=True)
    ]
    number = walk.numbers.of_keys(keys)
    made = walk.give(node.output[0], 1, inside.rank, ends.min(axis=0), ends.max(axis=0), number, changed)
    walk.tie(inside.units, made.units)
    for position in range(1, 5):
        walk.edit(CutConstant(index, position, 0, made.units))
    return True


@slim_rule("InstanceNormalization")
def _instance_norm(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """A channel by its own mean and deviation: its bias where it is 0 everywhere or its scale is."""
    inside, scale, bias = walk.of(node.input[0]), walk.constant(node.input[1]), walk.constant(node.input[2])
    if inside is None or inside.axis != 1 or scale is None or bias is None:
        return False
    fixed = (scale == 0) | (inside.constant & (inside.low == 0))
    columns = zip(inside.number, inside.factor, scale, bias, strict=True)
    keys: list[Hashable] = [("instance", int(n), f"{f:.6e}", float(s), float(b)) for n, f, s, b in columns]
    low, high = np.where(fixed, bias, -np.inf), np.where(fixed, bias, np.inf)
    made = walk.give(node.output[0], 1, inside.rank, low, high, walk.numbers.of_keys(keys))
    walk.tie(inside.units, made.units)
    for position in (1, 2):
        walk.edit(CutConstant(index, position, 0, made.units))
    return True
