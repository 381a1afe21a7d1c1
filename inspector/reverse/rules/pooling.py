"""Rules for pools and reductions."""

from __future__ import annotations

import math

import numpy as np

from inspector.reverse.rule import Array, Gradients, HeadNode, gradient_rule
from inspector.reverse.windows import Windows


@gradient_rule("GlobalAveragePool", shapes=True, linear="always")
def _global_average(step: HeadNode, g: Array) -> Gradients:
    shape = step.x.shape
    return [np.broadcast_to(g / np.float32(math.prod(shape[2:])), shape)]


def _axes(step: HeadNode, rank: int) -> tuple[int, ...]:
    listed = step.value(1).ravel().tolist() if step.has(1) else step.get("axes")
    if not listed:
        return () if step.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(int(a) % rank for a in listed)


def _keep_axes(step: HeadNode, g: Array) -> tuple[Array, tuple[int, ...]]:
    """The gradient with the reduced axes kept, and those axes."""
    axes = _axes(step, step.x.ndim)
    return g.reshape([1 if i in axes else size for i, size in enumerate(step.x.shape)]), axes


@gradient_rule("ReduceMean", "ReduceSum", shapes=True, linear="always", operands=(1,))
def _reduce_mean(step: HeadNode, g: Array) -> Gradients:
    kept, axes = _keep_axes(step, g)
    count = math.prod(step.x.shape[a] for a in axes) if step.node.op_type == "ReduceMean" else 1
    return [np.broadcast_to(kept / np.float32(count), step.x.shape)]


@gradient_rule("ReduceMax", operands=(1,))
def _reduce_max(step: HeadNode, g: Array) -> Gradients:
    kept, axes = _keep_axes(step, g)
    return [_to_maximum(step.x, kept, axes)]


@gradient_rule("GlobalMaxPool")
def _global_max(step: HeadNode, g: Array) -> Gradients:
    return [_to_maximum(step.x, g, tuple(range(2, step.x.ndim)))]


def _to_maximum(x: Array, kept: Array, axes: tuple[int, ...]) -> Array:
    """The gradient to the elements that attain the maximum, in equal parts (torch.amax)."""
    if not axes:
        return kept
    hit = x == x.max(axis=axes, keepdims=True)
    return np.asarray(kept * hit / hit.sum(axis=axes, keepdims=True), np.float32)


@gradient_rule("AveragePool", shapes=True, linear="always")
def _average_pool(step: HeadNode, g: Array) -> Gradients:
    size = step.x.shape[2:]
    windows = Windows.of(step, size, g.shape[2:], step.get("kernel_shape"))
    inside = windows.make_padded((), np.float32)
    windows.strip(inside)[...] = 1
    if step.get("count_include_pad", 0):
        declared = list(step.get("pads") or [0] * 2 * len(size))[len(size) :]
        reach = [b + n + p for b, n, p in zip(windows.before, size, declared, strict=True)]
        # With auto_pad nothing is declared: the padding is what the windows need.
        same = step.get("auto_pad", "NOTSET").startswith("SAME")
        inside[tuple(slice(0, None if same else r) for r in reach)] = 1
    count = sum(inside[windows.slices(at)] for at in windows.offsets())
    share = g / count
    out = windows.make_padded(g.shape[:2], g.dtype)
    for at in windows.offsets():
        out[windows.slices(at)] += share
    return [windows.strip(out)]


@gradient_rule("MaxPool", accepts=lambda step: len(step.node.output) == 1 or not step.node.output[1])
def _max_pool(step: HeadNode, g: Array) -> Gradients:
    x = step.x
    windows = Windows.of(step, x.shape[2:], g.shape[2:], step.get("kernel_shape"))
    padded = windows.make_padded(x.shape[:2], x.dtype, -np.inf)
    windows.strip(padded)[...] = x
    best = np.full(g.shape, -np.inf, x.dtype)
    owner = np.full(g.shape, -1, np.int32)
    places = list(windows.offsets())
    for k, at in enumerate(places):
        seen = padded[windows.slices(at)]
        better = seen > best
        best[better], owner[better] = seen[better], k
    out = windows.make_padded(g.shape[:2], g.dtype)
    for k, at in enumerate(places):
        out[windows.slices(at)] += np.where(owner == k, g, np.float32(0))
    return [windows.strip(out)]
