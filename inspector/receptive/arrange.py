"""Rules for what puts the elements in another order or shape, or keeps a part of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from inspector.graph import attributes
from inspector.receptive.reach import (
    NEITHER,
    Pair,
    Span,
    change_spans,
    unite_pairs,
)
from inspector.receptive.walk import FieldWalk, field_rule, mix_places

if TYPE_CHECKING:
    from onnx import NodeProto


@field_rule("Pad")
def _pad(walk: FieldWalk, node: NodeProto) -> Pair:
    pads = walk.integers(node, "pads", 1)
    axes = walk.constants(node, 3, int)
    rank = walk.rank(node.input[0]) or (len(pads) // 2 if pads and axes is None else None)
    if pads is None or rank is None:
        return mix_places(walk, node)
    begin = dict(zip(axes if axes is not None else range(rank), pads[: len(pads) // 2], strict=False))
    begin = {axis % rank: by for axis, by in begin.items()}

    def change(span: Span) -> Span:
        by = span.jump * begin.get(span.axis, 0)
        return replace(span, low=span.low - by, high=span.high - by)

    return change_spans(walk.reach_of(node.input[0]), change)


@field_rule("Slice")
def _slice(walk: FieldWalk, node: NodeProto) -> Pair:
    starts, ends = walk.integers(node, "starts", 1), walk.integers(node, "ends", 2)
    axes, steps = walk.integers(node, "axes", 3), walk.integers(node, "steps", 4)
    rank = walk.rank(node.input[0])
    if starts is None or ends is None or rank is None:
        return mix_places(walk, node)
    axes = [a % rank for a in axes] if axes is not None else list(range(len(starts)))
    begin = dict(zip(axes, starts, strict=True))
    step = dict(zip(axes, steps or [1] * len(starts), strict=True))

    def change(span: Span) -> Span | None:
        at, by = begin.get(span.axis, 0), step.get(span.axis, 1)
        if at < 0:
            size = walk.size(node.input[0], span.axis)
            if size is None:
                return None
            at = max(at + size, 0)
        if by < 1:
            return None
        shift = span.jump * at
        return replace(span, low=span.low + shift, high=span.high + shift, jump=span.jump * by)

    return change_spans(walk.reach_of(node.input[0]), change)


@field_rule("Transpose")
def _transpose(walk: FieldWalk, node: NodeProto) -> Pair:
    perm = attributes(node).get("perm")
    rank = walk.rank(node.input[0])
    if perm is None:
        if rank is None:
            return mix_places(walk, node)
        perm = list(reversed(range(rank)))
    return change_spans(walk.reach_of(node.input[0]), lambda s: replace(s, axis=perm.index(s.axis)))


@field_rule("Concat", "QLinearConcat")
def _concat(walk: FieldWalk, node: NodeProto) -> Pair:
    axis = attributes(node).get("axis", 1)
    # The scales between quantized inputs have a lower rank.
    rank = max((r for r in map(walk.rank, node.input) if r is not None), default=None)
    axis = axis % rank if rank is not None else axis
    made = NEITHER
    for name in node.input:
        pair = change_spans(walk.reach_of(name), lambda s: None if s.axis == axis else s)
        made = unite_pairs(made, pair)
    return made


@field_rule("Split")
def _split(walk: FieldWalk, node: NodeProto) -> Pair:
    axis = attributes(node).get("axis", 0)
    rank = walk.rank(node.input[0])
    axis = axis % rank if rank is not None else axis
    return change_spans(walk.reach_of(node.input[0]), lambda s: None if s.axis == axis else s)


@field_rule("Gather")
def _gather(walk: FieldWalk, node: NodeProto) -> Pair:
    axis = attributes(node).get("axis", 0)
    rank, indices = walk.rank(node.input[0]), walk.rank(node.input[1])
    if rank is None or indices is None or walk.reach_of(node.input[1]) != NEITHER:
        return mix_places(walk, node)
    axis %= rank

    def change(span: Span) -> Span | None:
        if span.axis == axis:
            return None
        return replace(span, axis=span.axis + (indices - 1 if span.axis > axis else 0))

    return change_spans(walk.reach_of(node.input[0]), change)


@field_rule("Reshape")
def _reshape(walk: FieldWalk, node: NodeProto) -> Pair:
    """A spatial axis survives when everything before it, or everything behind it, keeps its size."""
    before, after = walk.shape(node.input[0]), walk.shape(node.output[0])
    if before is None or after is None:
        return mix_places(walk, node)

    def same(left: Iterable[Any], right: Iterable[Any]) -> bool:
        return all(a == b and a is not None for a, b in zip(left, right, strict=True))

    def change(span: Span) -> Span | None:
        head, tail = span.axis + 1, len(before) - span.axis
        if head <= len(after) and same(before[:head], after[:head]):
            return span
        if tail <= len(after) and same(before[-tail:], after[-tail:]):
            return replace(span, axis=len(after) - tail)
        return None

    return change_spans(walk.reach_of(node.input[0]), change)


@field_rule("Squeeze")
def _squeeze(walk: FieldWalk, node: NodeProto) -> Pair:
    axes, rank = walk.integers(node, "axes", 1), walk.rank(node.input[0])
    if axes is None or rank is None:
        return mix_places(walk, node)
    gone = {a % rank for a in axes}
    return change_spans(
        walk.reach_of(node.input[0]),
        lambda s: None if s.axis in gone else replace(s, axis=s.axis - sum(a < s.axis for a in gone)),
    )


@field_rule("Unsqueeze")
def _unsqueeze(walk: FieldWalk, node: NodeProto) -> Pair:
    axes, rank = walk.integers(node, "axes", 1), walk.rank(node.input[0])
    if axes is None or rank is None:
        return mix_places(walk, node)
    new = sorted(a % (rank + len(axes)) for a in axes)

    def change(span: Span) -> Span:
        axis = span.axis
        for a in new:
            axis += a <= axis
        return replace(span, axis=axis)

    return change_spans(walk.reach_of(node.input[0]), change)


@field_rule("ReorderInput")
def _reorder_input(walk: FieldWalk, node: NodeProto) -> Pair:
    """Into channels in blocks, which count as one axis: (N, C, H, W) whatever it was before."""
    shift = 1 if attributes(node).get("channels_last") else 0
    return change_spans(walk.reach_of(node.input[0]), lambda s: replace(s, axis=s.axis + shift))


@field_rule("ReorderOutput")
def _reorder_output(walk: FieldWalk, node: NodeProto) -> Pair:
    """Out of channels in blocks."""
    shift = 1 if attributes(node).get("channels_last") else 0
    return change_spans(walk.reach_of(node.input[0]), lambda s: replace(s, axis=s.axis - shift))
