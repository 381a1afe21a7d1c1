"""Depthwise convolutions with wide kernels, whose gradient to the weights oneDNN has no quick routine for.

Up to three columns it has one. A kernel of 5x5 is therefore worked out as strips of 5x3 and 5x2, one of 7x7 as three.
`python tests/benchmarks/bench_twin.py depthwise` measures what that gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

STRIP = 3
"""Columns of a kernel that oneDNN's quick routine takes at most."""

WIDEST = 9
"""Kernels wider than this are left to torch, as those of one row are: there strips gain nothing."""


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] | int = 0,
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """What `torch.nn.functional.conv2d` gives, with a quicker gradient to wide depthwise weights on processors.

    Stride and dilation are two numbers each, as are the paddings unless one stands for both.
    """
    if (
        STRIP < weight.shape[-1] <= WIDEST
        and weight.shape[-2] > 1
        and 1 < groups == x.shape[1] == len(weight)
        and weight.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.ndim == 4
        and x.dtype == torch.float32
        and tuple(dilation) == (1, 1)
        and not torch.is_autocast_enabled("cpu")
        and not _tracing()
    ):
        pads = (padding, padding) if isinstance(padding, int) else tuple(padding)
        made: Tensor = _Depthwise.apply(x, weight, bias, tuple(stride), pads)
        return made
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _tracing() -> bool:
    """Whether torch.jit.trace is at work, which could not save a function of Python."""
    # Documented by torch, but without types and not among the names that torch.jit exports.
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


class _Depthwise(torch.autograd.Function):
    """x (N, C, H, W), weight (C, 1, h, w), bias (C,) or None."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], pads: tuple[int, ...]
    ) -> Tensor:
        return F.conv2d(x, weight, bias, stride, pads, 1, len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.stride, ctx.pads = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        ctx.bias = bias is not None

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad[:3]
        found: list[Tensor | None] = [None, None, None]
        if to_x:
            found[0] = _backward(grad, x, weight, ctx.stride, ctx.pads, [True, False, False])[0]
        if to_weight:
            found[1] = _to_weight(grad, x, weight, ctx.stride, ctx.pads)
        if to_bias and ctx.bias:
            found[2] = grad.sum((0, 2, 3))  # asked of the call above, it would work out the weights' gradient too
        return found[0], found[1], found[2], None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = tangents[:3]
        found = torch.zeros((), dtype=x.dtype)
        if to_x is not None:
            found = found + F.conv2d(to_x, weight, None, ctx.stride, ctx.pads, 1, len(weight))
        if to_weight is not None:
            found = found + F.conv2d(x, to_weight, None, ctx.stride, ctx.pads, 1, len(weight))
        if to_bias is not None:
            found = found + to_bias[:, None, None]
        return found


def _to_weight(grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, ...], pads: tuple[int, ...]) -> Tensor:
    wide = F.pad(x, (pads[1], pads[1], 0, 0))
    reach = stride[1] * (grad.shape[3] - 1)  # from the first column that a column of the kernel meets to the last
    strips = []
    for first in range(0, weight.shape[3], STRIP):
        part = weight[..., first : first + STRIP]
        seen = wide[..., first : first + reach + part.shape[3]]
        strips.append(_backward(grad, seen, part, stride, (pads[0], 0), [False, True, False])[1])
    return torch.cat(strips, -1)


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, ...], pads: tuple[int, ...], wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, [len(weight)], stride, pads, [1, 1], False, [0, 0], len(weight), wanted
    )
    return found
