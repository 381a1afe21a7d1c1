"""Rules for what changes nothing but the arrangement of the elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from inspector.reverse.rule import Array, Gradients, HeadNode, accept_any, gradient_rule, unbroadcast


@gradient_rule("Identity", linear="always", inputs=False, operands=())
def _identity(step: HeadNode, g: Array) -> Gradients:
    return [g]


@gradient_rule(
    "Dropout",
    linear="always",
    inputs=False,
    operands=(),
    # With the third input a graph asks for training mode.
    accepts=lambda step: not step.has(2) and not any(step.moving[1:]),
)
def _dropout(step: HeadNode, g: Array) -> Gradients:
    return [g]


@gradient_rule(
    "Cast", linear="always", inputs=False, operands=(), accepts=lambda step: step.get("to") in (1, 10, 11, 16)
)
def _cast(step: HeadNode, g: Array) -> Gradients:
    return [g]


@gradient_rule("DequantizeLinear", linear="never", inputs=False, operands=(), straight=True)
def _dequantize(step: HeadNode, g: Array) -> Gradients:
    return [g]


@gradient_rule("QuantizeLinear", linear="never", operands=(1, 2), straight=True)
def _quantize(step: HeadNode, g: Array) -> Gradients:
    """Rounding counts as the identity; what the type cannot hold is cut off there, and passes no gradient.

    What is less than a step beyond an end was rounded, not cut. A type that begins at the zero point cuts all below 0,
    as the ReLU did that quantisers drop before it.
    """
    x = step.x
    scale = _spread(step.value(1), step, x)
    zero = _spread(step.value(2), step, x) if step.has(2) else np.zeros((), np.uint8)
    low, high = _limits(step, zero.dtype)
    offset = zero.astype(np.float32)
    moved = np.rint(x / scale) + offset
    passes = (moved >= low - 1) & (moved <= high + 1) & ((x >= 0) | (offset != low))
    return [np.where(passes, g, np.float32(0))]


def _spread(value: Array, step: HeadNode, x: Array) -> Array:
    """A scale or zero point in a shape that broadcasts with x: one for all, per slice of an axis, or per block."""
    if value.size == 1:
        return value.reshape(())
    axis, block = step.get("axis", 1) % x.ndim, step.get("block_size", 0)
    if block:
        return np.repeat(value, block, axis=axis).take(np.arange(x.shape[axis]), axis=axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    return value.reshape(shape)


def _limits(step: HeadNode, kind: np.dtype[Any]) -> tuple[float, float]:
    """The smallest and the largest number of the type that a node quantizes to."""
    import ml_dtypes
    import onnx

    if step.get("output_dtype", 0):
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(step.get("output_dtype")))
    numbers: Any = ml_dtypes
    if kind.name.startswith("float"):
        info = numbers.finfo(kind)
        return (float(info.min), float(info.max)) if step.get("saturate", 1) else (-np.inf, np.inf)
    info = numbers.iinfo(kind)
    return float(info.min), float(info.max)


@gradient_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze", shapes=True, linear="always", operands=())
def _reshape(step: HeadNode, g: Array) -> Gradients:
    return [g.reshape(step.x.shape)]


@gradient_rule("Transpose", linear="always", inputs=False, operands=())
def _transpose(step: HeadNode, g: Array) -> Gradients:
    order = step.get("perm") or list(reversed(range(g.ndim)))
    return [g.transpose(np.argsort(order))]


@gradient_rule("Concat", shapes=True, linear="always", accepts=accept_any)
def _concat(step: HeadNode, g: Array) -> Gradients:
    axis = step.get("axis", 1)
    sizes = [step.value(i).shape[axis] for i in range(len(step.node.input))]
    parts = np.split(g, np.cumsum(sizes)[:-1], axis=axis)
    return [part if moves else None for part, moves in zip(parts, step.moving, strict=True)]


@gradient_rule("Split", shapes=True, linear="always")
def _split(step: HeadNode, g: Array) -> Gradients:
    shape = step.x.shape
    axis = step.get("axis", 0) % len(shape)
    count = len(step.node.output)
    sizes = step.value(1).ravel().tolist() if step.has(1) else step.get("split")
    if not sizes:
        each = -(-shape[axis] // count)  # the last takes what is left
        sizes = [each] * (count - 1) + [shape[axis] - each * (count - 1)]
    parts = [
        np.zeros((*shape[:axis], size, *shape[axis + 1 :]), np.float32) if part is None else part
        for part, size in zip(step.outputs, sizes, strict=True)
    ]
    return [np.concatenate(parts, axis=axis)]


@gradient_rule("Slice", shapes=True, linear="always", accepts=lambda step: step.has(2) and not any(step.moving[1:]))
def _slice(step: HeadNode, g: Array) -> Gradients:
    out = np.zeros(step.x.shape, g.dtype)
    starts, ends = (step.value(i).ravel().tolist() for i in (1, 2))
    axes = step.value(3).ravel().tolist() if step.has(3) else list(range(len(starts)))
    strides = step.value(4).ravel().tolist() if step.has(4) else [1] * len(starts)
    where = [slice(None)] * out.ndim
    for axis, start, end, stride in zip(axes, starts, ends, strides, strict=True):
        size: int = out.shape[axis]
        if stride > 0:
            where[axis] = slice(start, end, stride)
        else:
            # ONNX clamps to -1 ("before the first"), which numpy writes as None.
            where[axis] = slice(min(start, size - 1), None if end < -size else end, stride)
    out[tuple(where)] = g
    return [out]


@gradient_rule("Gather", shapes=True, linear="always")
def _gather(step: HeadNode, g: Array) -> Gradients:
    x, indices = step.x, step.value(1).astype(np.int64)
    axis = step.get("axis", 0) % x.ndim
    out = np.zeros(x.shape, g.dtype)
    moved = np.moveaxis(out, axis, 0)
    rows = np.moveaxis(g.reshape(*x.shape[:axis], indices.size, *x.shape[axis + 1 :]), axis, 0)
    np.add.at(moved, indices.ravel() % x.shape[axis], rows)
    return [out]


@gradient_rule(
    "GatherND",
    shapes=True,
    linear="always",
    accepts=lambda step: not step.get("batch_dims", 0) and not any(step.moving[1:]),
)
def _gather_nd(step: HeadNode, g: Array) -> Gradients:
    indices = step.value(1).astype(np.int64)
    out = np.zeros(step.x.shape, g.dtype)
    np.add.at(out, tuple(np.moveaxis(indices, -1, 0)), g)
    return [out]


@gradient_rule("GatherElements", shapes=True, linear="always")
def _gather_elements(step: HeadNode, g: Array) -> Gradients:
    out, indices = np.zeros(step.x.shape, g.dtype), step.value(1).astype(np.int64)
    axis = step.get("axis", 0) % out.ndim
    where: list[Any] = list(np.indices(indices.shape, sparse=True))
    where[axis] = indices % out.shape[axis]
    np.add.at(out, tuple(where), g)
    return [out]


@gradient_rule("Tile", shapes=True, linear="always")
def _tile(step: HeadNode, g: Array) -> Gradients:
    shape = step.x.shape
    repeated = [part for size, whole in zip(shape, g.shape, strict=True) for part in (whole // max(size, 1), size)]
    return [g.reshape(repeated).sum(axis=tuple(range(0, 2 * len(shape), 2)))]


@gradient_rule("Where", shapes=True, linear="always", accepts=lambda step: not step.moving[0])
def _where(step: HeadNode, g: Array) -> Gradients:
    condition = step.value(0).astype(bool)
    parts = (None, np.where(condition, g, np.float32(0)), np.where(condition, np.float32(0), g))
    return [
        unbroadcast(part, step.value(i).shape) if part is not None and step.moving[i] else None
        for i, part in enumerate(parts)
    ]


@gradient_rule("Expand", shapes=True, linear="always", operands=())
def _expand(step: HeadNode, g: Array) -> Gradients:
    return [unbroadcast(g, step.x.shape)]


@gradient_rule(
    "Pad",
    linear="always",
    accepts=lambda step: (
        step.get("mode", "constant") == "constant" and step.has(1) and not step.has(3) and not any(step.moving[1:])
    ),
    operands=(1,),
)
def _pad(step: HeadNode, g: Array) -> Gradients:
    rank, pads = g.ndim, step.value(1).ravel().tolist()
    out = np.pad(g, [(max(0, -pads[i]), max(0, -pads[i + rank])) for i in range(rank)])
    return [out[tuple(slice(max(0, pads[i]), out.shape[i] - max(0, pads[i + rank])) for i in range(rank))]]
