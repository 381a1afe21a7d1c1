"""Rules for what works element by element, and for what sums up: norms, reductions and products."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from inspector.graph import attributes, operator_of, value_inputs
from inspector.receptive.reach import (
    NEITHER,
    Pair,
    Reach,
    Span,
    change_reaches,
    change_spans,
    unite_pairs,
)
from inspector.receptive.walk import FieldWalk, field_rule, mix_places

if TYPE_CHECKING:
    from onnx import NodeProto


@field_rule("Expand", "LRN")
def combine_elements(walk: FieldWalk, node: NodeProto) -> Pair:
    """What an element's own place in each input sees; inputs of lower rank are broadcast."""
    ranks = {name: walk.rank(name) for name in (*node.input, node.output[0]) if name}
    rank = max((r for r in ranks.values() if r is not None), default=None)
    made = NEITHER
    for name in value_inputs(node):
        own = ranks.get(name)
        shift = rank - own if rank is not None and own is not None else 0
        pair = change_spans(walk.reach_of(name), lambda s, by=shift: replace(s, axis=s.axis + by))  # type: ignore[misc]
        made = unite_pairs(made, pair)
    return made


def reduce_axes(walk: FieldWalk, node: NodeProto) -> Pair:
    """Reductions: a spatial axis that they sum up sees everything."""
    values = attributes(node)
    rank = walk.rank(node.input[0])
    single = operator_of(node).positions
    axes = [int(values.get("axis", 0))] if single else walk.integers(node, "axes", 1)
    if rank is None:
        return mix_places(walk, node)
    if not axes:
        if values.get("noop_with_empty_axes"):
            return walk.reach_of(node.input[0])
        axes = list(range(rank))
    gone = {a % rank for a in axes}
    kept = values.get("keepdims", 1)

    def change(span: Span) -> Span | None:
        if span.axis in gone:
            return None
        return span if kept else replace(span, axis=span.axis - sum(a < span.axis for a in gone))

    return change_spans(walk.reach_of(node.input[0]), change)


@field_rule("Softmax", "LogSoftmax", "Hardmax")
def _softmax(walk: FieldWalk, node: NodeProto) -> Pair:
    rank = walk.rank(node.input[0])
    values = attributes(node)
    if walk.graph.opset < 13:
        # Until then all axes from `axis` on were normalised together.
        axes = set(range(values.get("axis", 1), rank or 8))
    else:
        axes = {values.get("axis", -1) % rank} if rank else set(range(8))
    return _normalise(walk, node, axes)


@field_rule("InstanceNormalization", "GroupNormalization", "GroupNorm", "MeanVarianceNormalization")
def _norm_of_maps(walk: FieldWalk, node: NodeProto) -> Pair:
    """Norms by the statistics of whole maps."""
    return change_reaches(walk.reach_of(node.input[0]), lambda r: Reach(r.span, True))


@field_rule("LayerNormalization", "RMSNormalization", "SkipLayerNormalization")
def _layer_norm(walk: FieldWalk, node: NodeProto) -> Pair:
    rank = walk.rank(node.input[0])
    axis = attributes(node).get("axis", -1)
    if rank is None:
        return _normalise(walk, node, set(range(8)) if axis >= 0 else set())
    return _normalise(walk, node, set(range(axis % rank, rank)))


@field_rule("LpNormalization")
def _lp_norm(walk: FieldWalk, node: NodeProto) -> Pair:
    rank = walk.rank(node.input[0])
    return _normalise(walk, node, {attributes(node).get("axis", -1) % rank} if rank else set(range(8)))


def _normalise(walk: FieldWalk, node: NodeProto, axes: set[int]) -> Pair:
    """Elementwise, and by a statistic over `axes`: over a spatial one that is the whole picture."""
    return change_reaches(
        combine_elements(walk, node),  # some add a shortcut first
        lambda r: Reach(r.span, r.everything or (r.span is not None and r.span.axis in axes)),
    )


@field_rule("MatMul")
def _matmul(walk: FieldWalk, node: NodeProto) -> Pair:
    left, right = walk.reach_of(node.input[0]), walk.reach_of(node.input[1])
    ranks = walk.rank(node.input[0]), walk.rank(node.input[1])
    if right == NEITHER and ranks[0] is not None:
        return change_spans(left, lambda s: None if s.axis == ranks[0] - 1 else s)  # type: ignore[operator]
    if left == NEITHER and ranks[1] is not None:
        return change_spans(right, lambda s: None if s.axis == ranks[1] - 2 else s)  # type: ignore[operator]
    return mix_places(walk, node)
