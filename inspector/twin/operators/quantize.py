"""Quantisation.

In a twin of a given type a quantized tensor is carried as the integers it holds, but in the twin's floating type, so
that a gradient can pass: rounding counts as the identity, saturation as a clip (the straight-through estimator,
https://arxiv.org/abs/1308.3432). With the file's own types (dtype=None) it is the integers themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inspector.twin.operators.convolution import convolution
from inspector.twin.operators.pooling import average_pool
from inspector.twin.table import Node, NotSupported, Run, operator
from inspector.twin.types import DTYPES

_FLOAT8 = frozenset(d for d in DTYPES.values() if d.itemsize == 1 and d.is_floating_point)


def _rounded(x: Tensor) -> Tensor:
    """x rounded half to even; its derivative is 1."""
    # Not x + (round(x) - x): that sum may miss the integer by its last bit, and fall out of the type's range.
    return x.detach().round() + (x - x.detach()) if x.requires_grad else x.round()


def _along(value: Tensor, x: Tensor, axis: int, block: int = 0) -> Tensor:
    """A scale or zero point in a shape that broadcasts with x: one value for all, per slice of `axis`, or per block."""
    if value.numel() == 1:
        return value.reshape(())
    if block:
        return value.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    if value.dim() > 1:
        return value
    shape = [1] * x.dim()
    shape[axis] = -1
    return value.reshape(shape)


def _target(node: Node, zero_point: int) -> torch.dtype | None:
    """The type that a node quantizes to; None when it is that of a zero point that is given at run time."""
    number = node.get("output_dtype", 0)
    if number:
        return node.dtype(number)[0]
    value = node.constant(zero_point)
    if value is not None:
        return value.dtype
    return None if node.has(zero_point) else torch.uint8


def _finished(node: Node, y: Tensor, zero: Tensor | None, dtype: torch.dtype | None) -> Tensor:
    """y (already divided by its scale) rounded, moved by the zero point and saturated to the type.

    Rounding has the derivative 1, saturation 0.
    """
    kind = dtype if dtype is not None else zero.dtype if zero is not None else torch.uint8
    if kind in _FLOAT8:
        limit = torch.finfo(kind).max
        return (y.clamp(-limit, limit) if node.get("saturate", 1) else y).to(kind)
    if kind.is_floating_point:
        raise ValueError("a quantized zero point that is computed at run time")
    info = torch.iinfo(kind)
    offset = torch.zeros((), dtype=y.dtype) if zero is None else zero.to(y.dtype)
    moved = y.detach().round() + offset
    limited = torch.clamp(moved, info.min, info.max)
    if y.requires_grad:
        # What is less than a step beyond an end was rounded, not cut. A type that begins at the zero point cuts all
        # below 0, as the ReLU did that quantisers drop before it.
        passes = (moved >= info.min - 1) & (moved <= info.max + 1) & ((y >= 0) | (offset != info.min))
        limited = limited + torch.where(passes, y - y.detach(), 0)
    return limited.to(kind) if node.exact else limited


@operator("QuantizeLinear", since=10)
@operator("QuantizeLinear", domain="com.microsoft")
def _quantize(node: Node) -> Run:
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    dtype = _target(node, 2)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        if not x.is_floating_point():
            x = x.to(scale.dtype)
        zero = None if zero is None else _along(zero, x, axis, block)
        return _finished(node, x / _along(scale, x, axis, block), zero, dtype)

    return run


@operator("DequantizeLinear", since=10)
@operator("DequantizeLinear", domain="com.microsoft")
def _dequantize(node: Node) -> Run:
    axis, block = node.get("axis", 1), node.get("block_size", 0)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        y = x.to(scale.dtype) if x.dtype != scale.dtype else x
        if zero is not None:
            y = y - _along(zero.to(scale.dtype), x, axis, block)
        return y * _along(scale, x, axis, block)

    return run


@operator("DynamicQuantizeLinear", since=11)
def _dynamic_quantize(node: Node) -> Run:
    def run(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        high, low = x.max().clamp(min=0), x.min().clamp(max=0)
        scale = ((high - low) / 255).detach()
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        zero = torch.clamp((-low / scale).round(), 0, 255).detach()
        y = torch.clamp(_rounded(x / scale) + zero, 0, 255)
        return (y.to(torch.uint8), scale, zero.to(torch.uint8)) if node.exact else (y, scale, zero)

    return run


def _wide(node: Node, x: Tensor, like: Tensor | None = None) -> Tensor:
    """Integers as floating-point numbers that hold their products exactly; a carried tensor is left in its type."""
    if node.exact:
        return x.to(torch.float64)
    if x.is_floating_point() or like is None or not like.is_floating_point():
        return x if x.is_floating_point() else x.to(torch.float32)
    return x.to(like.dtype)


def _centred(node: Node, x: Tensor, zero: Tensor | None, axis: int, like: Tensor | None = None) -> Tensor:
    wide = _wide(node, x, like)
    return wide if zero is None else wide - _along(zero.to(wide.dtype), x, axis)


@operator("MatMulInteger", since=10)
def _matmul_integer(node: Node) -> Run:
    def run(a: Tensor, b: Tensor, za: Tensor | None = None, zb: Tensor | None = None) -> Tensor:
        y = _centred(node, a, za, -2) @ _centred(node, b, zb, -1, a)
        return y.to(torch.int32) if node.exact else y

    return run


@operator("ConvInteger", since=10)
def _conv_integer(node: Node) -> Run:
    conv = convolution(node)

    def run(x: Tensor, w: Tensor, zx: Tensor | None = None, zw: Tensor | None = None) -> Tensor:
        y = conv(_centred(node, x, zx, 1), _centred(node, w, zw, 0, x))
        return y.to(torch.int32) if node.exact else y  # type: ignore[no-any-return]

    return run


def _requantizer(node: Node, zero_point: int, axis: int = 1) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The function (y, scale, zero point) that quantizes a result; the zero point's position tells the type."""
    dtype = _target(node, zero_point)

    def requantized(y: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        return _finished(node, y / _along(scale.to(y.dtype), y, axis), _along(zero, y, axis), dtype)

    return requantized


@operator("QLinearConv", since=10)
def _qlinear_conv(node: Node) -> Run:
    conv = convolution(_as_conv(node))
    finish = _requantizer(node, 7)

    def run(
        x: Tensor, sx: Tensor, zx: Tensor, w: Tensor, sw: Tensor, zw: Tensor, sy: Tensor, zy: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        wide = _centred(node, x, zx, 1)
        kernel = _centred(node, w, zw, 0, wide)
        y = conv(wide, kernel, None if bias is None else bias.to(wide.dtype))
        y = y * (sx * sw).to(wide.dtype).reshape(-1, *[1] * (y.dim() - 2))
        return finish(y, sy, zy)

    return run


def _as_conv(node: Node) -> Node:
    """The node with its weight at position 1, where a convolution looks for it."""
    conv = Node(**{**vars(node), "extras": []})
    conv.inputs = [node.inputs[0], node.inputs[3]]
    return conv


@operator("QLinearMatMul", since=10)
def _qlinear_matmul(node: Node) -> Run:
    finish = _requantizer(node, 7, -2)

    def run(a: Tensor, sa: Tensor, za: Tensor, b: Tensor, sb: Tensor, zb: Tensor, sy: Tensor, zy: Tensor) -> Tensor:
        y = _centred(node, a, za, -2) @ _centred(node, b, zb, -1, a)
        scale_a, scale_b = _along(sa.to(y.dtype), a, -2), _along(sb.to(y.dtype), b, -1)
        return finish(y * scale_a * scale_b, sy, zy)

    return run


def _dequantized(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    wide = _centred(node, x, zero, 1, scale)
    return wide * scale.to(wide.dtype)


def _two_operands(node: Node, function: Any) -> Run:
    finish = _requantizer(node, 7)

    def run(
        a: Tensor,
        sa: Tensor,
        za: Tensor | None,
        b: Tensor,
        sb: Tensor,
        zb: Tensor | None,
        sy: Tensor,
        zy: Tensor,
    ) -> Tensor:
        y = function(_dequantized(node, a, sa, za), _dequantized(node, b, sb, zb))
        return finish(y, sy, zy)

    return run


@operator("QLinearAdd", domain="com.microsoft")
def _qlinear_add(node: Node) -> Run:
    return _two_operands(node, torch.add)


@operator("QLinearMul", domain="com.microsoft")
def _qlinear_mul(node: Node) -> Run:
    return _two_operands(node, torch.mul)


def _one_operand(node: Node, function: Any) -> Run:
    finish = _requantizer(node, 4)

    def run(x: Tensor, sx: Tensor, zx: Tensor | None, sy: Tensor, zy: Tensor) -> Tensor:
        return finish(function(_dequantized(node, x, sx, zx)), sy, zy)

    return run


@operator("QLinearSigmoid", domain="com.microsoft")
def _qlinear_sigmoid(node: Node) -> Run:
    return _one_operand(node, torch.sigmoid)


@operator("QLinearLeakyRelu", domain="com.microsoft")
def _qlinear_leaky_relu(node: Node) -> Run:
    slope = node.get("alpha", 0.01)
    return _one_operand(node, functools.partial(torch.nn.functional.leaky_relu, negative_slope=slope))


@operator("QLinearGlobalAveragePool", domain="com.microsoft")
def _qlinear_global_average(node: Node) -> Run:
    if node.get("channels_last", 0):
        raise NotSupported("channels last")
    return _one_operand(node, lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True))


@operator("QLinearAveragePool", domain="com.microsoft")
def _qlinear_average(node: Node) -> Run:
    if node.get("channels_last", 0):
        raise NotSupported("channels last")
    return _one_operand(node, average_pool(node))


@operator("QGemm", domain="com.microsoft")
def _qgemm(node: Node) -> Run:
    trans_a, trans_b, alpha = node.get("transA", 0), node.get("transB", 0), node.get("alpha", 1.0)
    finish = _requantizer(node, 8) if node.has(7) else None

    def run(
        a: Tensor, sa: Tensor, za: Tensor, b: Tensor, sb: Tensor, zb: Tensor, c: Tensor | None = None,
        sy: Tensor | None = None, zy: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        left = _centred(node, a, za, 1, sa)
        right = _centred(node, b, zb, 0 if trans_b else 1, sb)
        y = (left.t() if trans_a else left) @ (right.t() if trans_b else right)
        if c is not None:  # the bias has the scale of the product
            y = y + c.to(y.dtype)
        y = y * (alpha * sa * sb).to(y.dtype)
        return y if finish is None or sy is None or zy is None else finish(y, sy, zy)

    return run


@operator("QLinearConcat", domain="com.microsoft")
def _qlinear_concat(node: Node) -> Run:
    axis, finish = node.need("axis"), _requantizer(node, 1)

    def run(sy: Tensor, zy: Tensor, *rest: Tensor) -> Tensor:
        parts = [_dequantized(node, *rest[i : i + 3]) for i in range(0, len(rest), 3)]
        return finish(torch.cat(parts, axis), sy, zy)

    return run
