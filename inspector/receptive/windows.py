"""Rules for what slides a window over the maps, enlarges them or trades channels for places."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from inspector.graph import attributes, operator_of
from inspector.receptive.reach import (
    Pair,
    Span,
    change_spans,
    unite_pairs,
)
from inspector.receptive.walk import FieldWalk, field_rule, mix_places

if TYPE_CHECKING:
    from onnx import NodeProto


def slide_window(walk: FieldWalk, node: NodeProto) -> Pair:
    """Convolutions and pools: a window of `kernel` elements that moves by `stride`."""
    operator, values = operator_of(node), attributes(node)
    first = 1 if operator.is_channels_last(node) else 2
    kernel = values.get("kernel_shape")
    if kernel is None:
        position = operator.weight
        weight = walk.shape(node.input[position]) if position is not None and len(node.input) > position else None
        if weight is None or not all(isinstance(d, int) for d in weight):
            return mix_places(walk, node)
        kernel = [int(d or 1) for d in weight[2:]]
    count = len(kernel)
    strides = values.get("strides") or [1] * count
    dilations = values.get("dilations") or [1] * count
    pads = values.get("pads") or [0] * (2 * count)
    auto = values.get("auto_pad", "NOTSET")

    def widen(span: Span) -> Span | None:
        k = span.axis - first
        if not 0 <= k < count:
            return None
        reach, stride = dilations[k] * (kernel[k] - 1), strides[k]
        begin = _same_pad(walk, node.input[0], span.axis, reach + 1, stride, auto) if "SAME" in auto else pads[k]
        begin = 0 if auto == "VALID" else begin
        return replace(
            span,
            low=span.low - span.jump * begin,
            high=span.high + span.jump * (reach - begin),
            jump=span.jump * stride,
        )

    made = change_spans(walk.reach_of(node.input[0]), widen)
    if operator.bias is not None:
        # A fused convolution adds another tensor to what it makes.
        for name in node.input[operator.bias + 1 :]:
            made = unite_pairs(made, walk.reach_of(name))
    return made


def _same_pad(walk: FieldWalk, name: str, axis: int, kernel: int, stride: int, auto: str) -> int:
    """What SAME_UPPER and SAME_LOWER pad in front; for an unknown size, one that the stride divides."""
    size = walk.size(name, axis)
    over = (-size % stride) if size is not None else 0
    total = max(kernel - stride + over, 0)
    return total // 2 if auto == "SAME_UPPER" else total - total // 2


@field_rule("ConvTranspose")
def _conv_transpose(walk: FieldWalk, node: NodeProto) -> Pair:
    values = attributes(node)
    kernel = values.get("kernel_shape")
    weight = walk.shape(node.input[1])
    if kernel is None and weight is not None:
        kernel = [int(d or 1) for d in weight[2:]]
    if kernel is None or "SAME" in values.get("auto_pad", "") or values.get("output_shape"):
        return mix_places(walk, node)
    count = len(kernel)
    strides = values.get("strides") or [1] * count
    dilations = values.get("dilations") or [1] * count
    pads = values.get("pads") or [0] * (2 * count)

    def widen(span: Span) -> Span | None:
        k = span.axis - 2
        if not 0 <= k < count:
            return None
        # Output p reads the input q with p = stride * q - pad + dilation * tap.
        step = span.jump / strides[k]
        return replace(
            span,
            low=span.low + step * (pads[k] - dilations[k] * (kernel[k] - 1)),
            high=span.high + step * pads[k],
            jump=step,
        )

    return change_spans(walk.reach_of(node.input[0]), widen)


@field_rule("Resize", "Upsample")
def _resize(walk: FieldWalk, node: NodeProto) -> Pair:
    source, result = walk.shape(node.input[0]), walk.shape(node.output[0])
    position = 1 if node.op_type == "Upsample" or len(node.input) == 2 else 2
    values = attributes(node)
    factors = values.get("scales") or walk.constants(node, position, float)
    if factors and values.get("axes") is not None:
        rank = walk.rank(node.input[0]) or 4
        placed = [1.0] * rank
        for axis, factor in zip(values["axes"], factors, strict=True):
            placed[axis % rank] = factor
        factors = placed
    support = {"nearest": 1, "linear": 1, "cubic": 2}.get(values.get("mode", "nearest"), 2)

    def widen(span: Span) -> Span | None:
        factor: Fraction | None = None
        if factors and span.axis < len(factors):
            factor = Fraction(float(factors[span.axis])).limit_denominator(4096)
        elif source is not None and result is not None and span.axis < min(len(source), len(result)):
            before, after = source[span.axis], result[span.axis]
            if isinstance(before, int) and isinstance(after, int):
                factor = Fraction(after, before)
        if factor is None or factor <= 0:
            return None
        if factor == 1:
            return span
        # Whatever the rule for coordinates, an element reads no farther than this from p / factor.
        reach = support + (math.ceil(1 / factor) if values.get("antialias") else 0)
        shift = abs(1 - 1 / factor) / 2
        return replace(
            span,
            low=span.low - span.jump * (reach + shift),
            high=span.high + span.jump * (reach + shift),
            jump=span.jump / factor,
        )

    return change_spans(walk.reach_of(node.input[0]), widen)


@field_rule("DepthToSpace")
def _depth_to_space(walk: FieldWalk, node: NodeProto) -> Pair:
    block = attributes(node)["blocksize"]

    def change(span: Span) -> Span:
        return replace(span, jump=span.jump / block, low=span.low - span.jump * Fraction(block - 1, block))

    return change_spans(walk.reach_of(node.input[0]), change)


@field_rule("SpaceToDepth")
def _space_to_depth(walk: FieldWalk, node: NodeProto) -> Pair:
    block = attributes(node)["blocksize"]
    return change_spans(
        walk.reach_of(node.input[0]),
        lambda s: replace(s, jump=s.jump * block, high=s.high + s.jump * (block - 1)),
    )
