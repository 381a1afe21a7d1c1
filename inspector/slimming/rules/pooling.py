"""Pools, resizes and reductions: a channel stays a channel."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np

from inspector.graph import attributes, operator_of
from inspector.slimming.channels import ChannelFacts, CutConstant, CutNumber
from inspector.slimming.walk import ChannelWalk, slim_rule

if TYPE_CHECKING:
    from onnx import NodeProto


def pass_maps(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """An operator that slides over the maps of each channel by itself."""
    row, inside = operator_of(node), walk.of(node.input[0])
    if inside is None or inside.axis != 1 or row.domain or any(node.output[1:]):
        return False
    settings = attributes(node)
    if any(int(axis) % inside.rank == 1 for axis in settings.get("axes", ())):
        return False  # a resize whose sizes stand for axes of their own
    filled = None
    if settings.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        filled = float(settings.get("extrapolation_value", 0.0))
    low, high = inside.low, inside.high
    if not row.between or settings.get("mode") == "cubic":
        low, high = np.full(len(low), row.bounds[0]), np.full(len(high), row.bounds[1])
    elif settings.get("count_include_pad") or settings.get("ceil_mode"):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if filled is not None:
        low, high = np.fmin(low, filled), np.fmax(high, filled)
    made = _give_alike(walk, node, inside, 1, inside.rank, (low, high), filled or 0.0)
    for position, name in enumerate(node.input[1:], 1):
        if name and not _cut_sizes(walk, index, position, made):
            return False
    return True


def _cut_sizes(walk: ChannelWalk, index: int, position: int, made: ChannelFacts) -> bool:
    """Sizes or scales of a resize: a number for each axis, where that of the channels is known."""
    node = walk.graph.nodes[index]
    value = walk.constant(node.input[position])
    if value is None:
        walk.found.pins.append((made.units, f"the sizes that {node.op_type} {node.output[0]!r} gives are computed"))
        return True
    if value.dtype.kind != "f" and value.size == made.rank:
        if int(value[1]) != len(made):
            return False
        walk.edit(CutNumber(index, position, 1, made.units))
    elif value.dtype.kind == "f" and value.size == made.rank and float(value[1]) != 1:
        return False
    return True


def _give_alike(
    walk: ChannelWalk,
    node: NodeProto,
    inside: ChannelFacts,
    axis: int,
    rank: int,
    ends: tuple[np.ndarray, np.ndarray],
    filled: float = 0.0,
) -> ChannelFacts:
    """The output of a node that treats all channels alike and each by itself, and writes `filled` beside the maps."""
    homogeneous = operator_of(node).homogeneous and filled == 0
    about = b"".join(sorted(a.SerializeToString() for a in node.attribute))
    signs = np.sign(inside.factor) if homogeneous else inside.factor
    keys: list[Hashable] = [
        (node.op_type, about, tuple(node.input[1:]), int(n), float(f"{s:.6e}"))
        for n, s in zip(inside.number, signs, strict=True)
    ]
    factor = np.abs(inside.factor) if homogeneous else None
    made = walk.give(node.output[0], axis, rank, *ends, walk.numbers.of_keys(keys), factor)
    walk.tie(inside.units, made.units)
    return made


def pass_reduction(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """A reduction over other axes than that of the channels."""
    row, inside = operator_of(node), walk.of(node.input[0])
    if inside is None or row.domain:
        return False
    settings = attributes(node)
    axes = settings.get("axes")
    if len(node.input) > 1 and node.input[1]:
        given = walk.constant(node.input[1])
        axes = None if given is None else [int(x) for x in given.reshape(-1)]
    gone = {int(axis) % inside.rank for axis in axes or ()}
    if not gone or inside.axis in gone:
        return False
    keeps = bool(settings.get("keepdims", 1))
    axis = inside.axis if keeps else inside.axis - sum(x < inside.axis for x in gone)
    ends = (inside.low, inside.high)
    if not row.between:
        zero = inside.constant & (inside.low == 0) & row.homogeneous
        ends = (np.where(zero, 0, row.bounds[0]), np.where(zero, 0, row.bounds[1]))
    _give_alike(walk, node, inside, axis, inside.rank if keeps else inside.rank - len(gone), ends)
    return True


@slim_rule("Pad")
def _pad(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """Pads of the maps; what is put there joins the bounds."""
    inside, settings = walk.of(node.input[0]), attributes(node)
    given = walk.constant(node.input[1]) if len(node.input) > 1 else settings.get("pads", settings.get("paddings"))
    if inside is None or given is None or (len(node.input) > 3 and node.input[3]):
        return False
    pads = [int(x) for x in np.asarray(given).reshape(-1)]
    if len(pads) != 2 * inside.rank or pads[inside.axis] or pads[inside.axis + inside.rank]:
        return False
    low, high, filled = inside.low, inside.high, float(settings.get("value", 0.0))
    if len(node.input) > 2 and node.input[2]:
        value = walk.constant(node.input[2])
        filled = float(np.asarray(value).reshape(-1)[0]) if value is not None and value.size else np.nan
    if settings.get("mode", "constant") == "constant" and any(pads):
        low, high = np.fmin(low, filled), np.fmax(high, filled)
        if np.isnan(filled):
            low, high = np.full(len(low), -np.inf), np.full(len(low), np.inf)
    about = tuple(pads), settings.get("mode", "constant"), filled
    keys: list[Hashable] = [
        ("pad", *about, int(n), float(f"{f:.6e}")) for n, f in zip(inside.number, inside.factor, strict=True)
    ]
    made = walk.give(node.output[0], inside.axis, inside.rank, low, high, walk.numbers.of_keys(keys))
    walk.tie(inside.units, made.units)
    return True


@slim_rule("LayerNormalization")
def _layer_norm(walk: ChannelWalk, index: int, node: NodeProto) -> bool:
    """A norm over the channels, which stay; they are constant behind it where its scale is 0."""
    inside, scale = walk.of(node.input[0]), walk.constant(node.input[1])
    axis = int(attributes(node).get("axis", -1))
    if inside is None or scale is None or axis not in (-1, inside.rank - 1) or inside.axis != inside.rank - 1:
        return False
    bias = walk.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(len(inside))
    if bias is None or any(node.output[1:]):
        return False
    walk.pin(node.input[0], f"{node.op_type} {node.output[0]!r} takes its mean over all channels")
    low, high = np.where(scale == 0, bias, -np.inf), np.where(scale == 0, bias, np.inf)
    made = walk.give(node.output[0], inside.axis, inside.rank, low, high)
    walk.tie(inside.units, made.units)
    for position in (1, 2):
        if position < len(node.input) and node.input[position]:
            walk.edit(CutConstant(index, position, 0, made.units))
    return True
