"""Rules for pools and reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from exporters.attaching.rule import Array, BackStep, Names, emit_rule
from exporters.attaching.writer import ZERO
from inspector.reverse.windows import Windows

_SCATTER_ADDS = 16
"""First operator set whose ScatterElements can add up what meets in one place."""


def _count(step: BackStep, axes: list[int]) -> str:
    """How many elements the axes of the first input hold together: float32 (1,)."""
    write = step.write
    sizes = [step.fixed()[axis] for axis in axes]
    if all(size is not None for size in sizes):
        return write.constant(np.array([math.prod(size for size in sizes if size is not None)], np.float32))
    chosen = write.emit("Gather", write.emit("Shape", step.node.input[0]), write.ints(*axes), axis=0)
    return write.reduce("ReduceProd", write.to_float(chosen), [0])


@emit_rule("GlobalAveragePool")
def _global_average(step: BackStep, g: str) -> Names:
    share = step.write.emit("Div", g, _count(step, list(range(2, len(step.shape())))))
    return [step.spread(share)]


def _reduced(step: BackStep) -> list[int] | None:
    """The axes that are reduced; None where the file does not say them."""
    rank = len(step.shape())
    given: Any = step.get("axes")
    if step.has(1):
        known = step.known(1)
        if known is None:
            return None
        given = known.ravel().tolist()
    if not given:
        return [] if step.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(axis) % rank for axis in given)


def _kept(step: BackStep, g: str, axes: list[int]) -> str:
    """The gradient with the reduced axes kept."""
    if step.get("keepdims", 1) or not axes:
        return g
    return step.write.emit("Unsqueeze", g, step.write.ints(*axes))


@emit_rule("ReduceMean", "ReduceSum", accepts=lambda step: _reduced(step) is not None)
def _reduce_mean(step: BackStep, g: str) -> Names:
    axes = _reduced(step) or []
    kept = _kept(step, g, axes)
    if step.node.op_type == "ReduceMean" and axes:
        kept = step.write.emit("Div", kept, _count(step, axes))
    return [step.spread(kept) if axes else kept]


def _to_maximum(step: BackStep, kept: str, best: str, axes: list[int]) -> str:
    """The gradient to the elements that attain the maximum, in equal parts."""
    write = step.write
    hit = write.to_float(write.emit("Equal", step.value(), best))
    share = write.emit("Div", kept, write.reduce("ReduceSum", hit, axes))
    return write.emit("Mul", hit, share)


@emit_rule("ReduceMax", accepts=lambda step: _reduced(step) is not None)
def _reduce_max(step: BackStep, g: str) -> Names:
    axes = _reduced(step) or []
    if not axes:
        return [g]
    return [_to_maximum(step, _kept(step, g, axes), _kept(step, step.result, axes), axes)]


@emit_rule("GlobalMaxPool")
def _global_max(step: BackStep, g: str) -> Names:
    return [_to_maximum(step, g, step.result, list(range(2, len(step.shape()))))]


def find_windows(step: BackStep, kernel: Sequence[int]) -> Windows | None:
    """Where the windows of a pool or convolution lie; None where the sizes of the maps are open."""
    size, out = step.fixed()[2:], step.sizes.fixed(step.node.output[0])[2:]
    known = [tuple(n for n in lengths if n is not None) for lengths in (size, out)]
    if (len(known[0]), len(known[1])) != (len(size), len(out)):
        return None
    return Windows.of(step, known[0], known[1], kernel)


def _counts(step: BackStep, windows: Windows) -> Array:
    """How many elements each window of an average pool divides by: float32 (1, 1, h, w)."""
    inside = windows.make_padded((1, 1), np.float32)
    windows.strip(inside)[...] = 1
    if step.get("count_include_pad", 0):
        rank = len(windows.size)
        declared = list(step.get("pads") or [0] * 2 * rank)[rank:]
        same = step.get("auto_pad", "NOTSET").startswith("SAME")
        reach = [b + n + p for b, n, p in zip(windows.before, windows.size, declared, strict=True)]
        there: tuple[Any, ...] = (..., *(slice(0, None if same else r) for r in reach))
        inside[there] = 1
    return np.asarray(sum(inside[windows.slices(at)] for at in windows.offsets()), np.float32)


def _average_windows(step: BackStep) -> Windows | None:
    return find_windows(step, step.get("kernel_shape")) if step.fixed()[1] is not None else None


@emit_rule("AveragePool", accepts=lambda step: _average_windows(step) is not None)
def _average_pool(step: BackStep, g: str) -> Names:
    """What is gathered forwards is spread backwards: a transposed convolution of ones, channel by channel."""
    windows = _average_windows(step)
    assert windows is not None
    write = step.write
    counts = _counts(step, windows)
    same = bool((counts == counts.flat[0]).all())
    share = write.emit("Div", g, write.constant(counts.reshape(-1)[:1] if same else counts))
    alone = write.reshape(share, -1, 1, *windows.out)
    ones = write.constant(np.ones((1, 1, *windows.kernel), np.float32))
    back = write.emit("ConvTranspose", alone, ones, **make_transposed_settings(windows))
    return [write.reshape(back, -1, step.shape()[1], *windows.size)]


def make_transposed_settings(windows: Windows) -> dict[str, Any]:
    """The attributes of the transposed convolution that goes back through windows."""
    reach = [
        (m - 1) * s + (k - 1) * d + 1
        for m, s, k, d in zip(windows.out, windows.stride, windows.kernel, windows.dilation, strict=True)
    ]
    # What lies behind the last window got nothing from it; where a window reaches beyond the map, it is cut off.
    beyond = [r - b - n for r, b, n in zip(reach, windows.before, windows.size, strict=True)]
    return {
        "strides": list(windows.stride),
        "dilations": list(windows.dilation),
        "pads": [*windows.before, *(max(0, extra) for extra in beyond)],
        "output_padding": [max(0, -extra) for extra in beyond],
    }


def _pools_apart(step: BackStep) -> bool:
    """Whether no two windows overlap, so that no two gradients meet."""
    kernel = step.get("kernel_shape")
    strides, dilations = (step.get(key) or [1] * len(kernel) for key in ("strides", "dilations"))
    return all(s >= (k - 1) * d + 1 for s, k, d in zip(strides, kernel, dilations, strict=True))


@emit_rule("MaxPool", accepts=lambda step: _pools_apart(step) or step.write.opset >= _SCATTER_ADDS)
def _max_pool(step: BackStep, g: str) -> Names:
    """To the element that is the maximum, the first of equal ones: the pool itself says where it lies."""
    write = step.write
    _, places = write.emit_many("MaxPool", [step.value()], 2, **{**step.settings, "storage_order": 0})
    zeros = write.emit("ConstantOfShape", write.emit("Shape", write.reshape(step.value(), -1)), value=ZERO)
    extra = {} if _pools_apart(step) else {"reduction": "add"}
    put = write.emit("ScatterElements", zeros, write.reshape(places, -1), write.reshape(g, -1), axis=0, **extra)
    return [step.like(put)]
