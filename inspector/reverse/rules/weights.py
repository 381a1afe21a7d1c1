"""Rules for convolutions, matrix products and batch norms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inspector.reverse.rule import Array, Gradients, HeadNode, accept_any, gradient_rule, unbroadcast
from inspector.reverse.windows import Windows

_FEW = 256
"""Cells of a gradient that are few."""


def _times(g: Array, matrix: Array) -> Array:
    """g (M, K) @ matrix (K, C). One class alone has a gradient at first: only its row is then read."""
    columns = np.flatnonzero(g.any(axis=0))
    if 4 * len(columns) < g.shape[1]:
        return g[:, columns] @ np.asarray(matrix[columns], np.float32)
    return g @ np.asarray(matrix, np.float32)


@gradient_rule(
    "Gemm",
    linear="product",
    inputs=False,
    operands=(1,),
    accepts=lambda step: step.moving[0] and not any(step.moving[1:]),
)
def _gemm(step: HeadNode, g: Array) -> Gradients:
    weight = step.value(1)
    out = _times(g, weight if step.get("transB", 0) else weight.T)
    alpha = step.get("alpha", 1.0)
    out = out if alpha == 1 else out * np.float32(alpha)
    return [out.T if step.get("transA", 0) else out]


@gradient_rule("MatMul", linear="product", accepts=accept_any)
def _matmul(step: HeadNode, g: Array) -> Gradients:
    a, b = step.value(0), step.value(1)
    if step.moving == (True, False) and b.ndim == 2 and a.ndim >= 2:
        return [_times(g.reshape(-1, g.shape[-1]), b.T).reshape(a.shape), None]
    if a.ndim == 1 or b.ndim == 1:
        # numpy's and ONNX's rule: a vector is a row on the left, a column on the right, and the axis is dropped after.
        g = g[..., None] if b.ndim == 1 else g
        g = g[..., None, :] if a.ndim == 1 else g
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    to_a = unbroadcast(g @ right.swapaxes(-1, -2), left.shape).reshape(a.shape) if step.moving[0] else None
    to_b = unbroadcast(left.swapaxes(-1, -2) @ g, right.shape).reshape(b.shape) if step.moving[1] else None
    return [to_a, to_b]


@gradient_rule(
    "BatchNormalization",
    linear="always",
    inputs=False,
    operands=(1, 2, 3, 4),
    accepts=lambda step: not step.get("training_mode", 0) and not any(step.moving[1:]),
)
def _batch_norm(step: HeadNode, g: Array) -> Gradients:
    scale, variance = step.value(1).astype(np.float64), step.value(4).astype(np.float64)
    factor = (scale / np.sqrt(variance + step.get("epsilon", 1e-5))).astype(np.float32)
    return [g * factor.reshape(-1, *[1] * (g.ndim - 2))]


@gradient_rule(
    "Conv",
    shapes=True,
    linear="product",
    operands=(1,),
    accepts=lambda step: step.moving[0] and not any(step.moving[1:]),
)
def _conv(step: HeadNode, g: Array) -> Gradients:
    weight = step.value(1)
    batch, channels, size, groups = len(g), step.x.shape[1], step.x.shape[2:], step.get("group", 1)
    windows = Windows.of(step, size, g.shape[2:], weight.shape[2:])
    out = windows.make_padded((batch, groups, channels // groups), g.dtype)
    split = g.reshape(batch, groups, g.shape[1] // groups, -1)
    chosen = np.flatnonzero(g.any(axis=(0, *range(2, g.ndim))))
    if groups == 1 and 4 * len(chosen) < g.shape[1]:
        weight, split = weight[chosen], split[:, :, chosen]
    if groups == 1 and split.shape[-1] <= _FEW:
        # All places of the kernel in one product: for a few cells their number costs more than the numbers.
        flat = np.asarray(weight, np.float32).reshape(len(weight), channels * math.prod(weight.shape[2:]))
        shares = (flat.T @ split[:, 0]).reshape(batch, 1, channels, *weight.shape[2:], *g.shape[2:])
        for at in windows.offsets():
            spread: tuple[Any, ...] = (slice(None), slice(None), slice(None), *at)
            out[windows.slices(at)] += shares[spread]
        return [windows.strip(out.reshape(batch, channels, *out.shape[3:]))]
    per_group = np.asarray(weight, np.float32).reshape(groups, -1, *weight.shape[1:])
    for at in windows.offsets():
        place: tuple[Any, ...] = (..., *at)
        share = per_group[place].swapaxes(-1, -2) @ split  # (N, groups, C / groups, outputs)
        out[windows.slices(at)] += share.reshape(batch, groups, channels // groups, *g.shape[2:])
    return [windows.strip(out.reshape(batch, channels, *out.shape[3:]))]
