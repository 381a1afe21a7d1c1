"""Shapes: what changes the form of a tensor and not its values, and what makes tensors from shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.table import Node, Run, operator

_LARGEST = 1 << 31
"""Elements that a tensor made from nothing but a shape may have; a damaged or hostile file can ask for any number."""


@operator("Shape", makes_shape=True)
def _shape(node: Node) -> Run:
    part = slice(node.get("start", 0), node.get("end"))
    return lambda x: torch.tensor(x.shape[part], dtype=torch.int64)


@operator("Size", makes_shape=True)
def _size(node: Node) -> Run:
    return lambda x: torch.tensor(x.numel(), dtype=torch.int64)


@operator("Reshape", settings=(1,), view=True)
def _reshape(node: Node) -> Run:
    fixed = node.integers(1)
    allow_zero = bool(node.get("allowzero", 0))
    if fixed is not None and not node.host:
        if node.batch is not None and fixed and fixed[0] == node.batch:
            node.with_batch()
            return _reshape_any_batch(fixed, node.batch, allow_zero)
        if 0 not in fixed:
            return lambda x, shape: x.reshape(fixed)

    def run(x: Tensor, shape: Tensor) -> Tensor:
        return x.reshape(_filled(x, fixed if fixed is not None else shape.tolist(), allow_zero))

    return run


def _filled(x: Tensor, target: Sequence[int], allow_zero: bool) -> list[int]:
    """The target with its zeros replaced by the sizes that they stand for, and -1 solved where torch will not."""
    shape = list(target) if allow_zero else [x.shape[i] if v == 0 else v for i, v in enumerate(target)]
    if -1 in shape and x.numel() == 0:
        known = math.prod(v for v in shape if v != -1)
        shape[shape.index(-1)] = 0 if known == 0 else x.numel() // known
    return shape


def _reshape_any_batch(target: list[int], declared: int, allow_zero: bool) -> Run:
    """A reshape whose constant target starts with the batch size of a file that fixes it.

    With another batch, that number means the batch: when the element count says so, or, with a -1 in the target, when
    the data starts with the twin's batch. Otherwise the target is taken at its word, and fails if it does not fit.
    """

    def run(batch: int, x: Tensor, _: Tensor) -> Tensor:
        if batch == declared:
            return x.reshape(_filled(x, target, allow_zero))
        shape = _filled(x, target, allow_zero)
        if -1 in shape:
            means_batch = x.dim() > 0 and x.shape[0] == batch
        else:
            means_batch = math.prod(shape) * batch == x.numel() * declared
        if means_batch:
            shape[0] = batch
        return x.reshape(shape)

    return run


@operator("Flatten", view=True)
def _flatten(node: Node) -> Run:
    axis = node.get("axis", 1)
    if axis == 1:
        # reshape(N, -1) fails on empty tensors, flatten(1) on vectors.
        return lambda x: x.flatten(1) if x.dim() > 1 else x.reshape(x.shape[0] if x.dim() else 1, 1)

    def run(x: Tensor) -> Tensor:
        at = axis if axis >= 0 else axis + x.dim()
        return x.reshape(math.prod(x.shape[:at]), math.prod(x.shape[at:]))

    return run


def _squeeze(x: Tensor, axes: Sequence[int] | None) -> Tensor:
    if axes is None:
        return x.squeeze()
    for axis in axes:
        if x.shape[axis] != 1:
            raise ValueError(f"axis {axis} to squeeze has size {x.shape[axis]}")
    return x.squeeze(tuple(axes))


@operator("Squeeze", view=True)
def _squeeze_attribute(node: Node) -> Run:
    axes = node.get("axes")
    return lambda x: _squeeze(x, axes)


@operator("Squeeze", since=13, settings=(1,), view=True)
def _squeeze_input(node: Node) -> Run:
    fixed = node.integers(1)
    return lambda x, axes=None: _squeeze(x, fixed if fixed is not None or axes is None else axes.flatten().tolist())


def _unsqueeze(x: Tensor, axes: Sequence[int]) -> Tensor:
    if len(axes) == 1:
        return x.unsqueeze(axes[0])
    rank = x.dim() + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Unsqueeze", view=True)
def _unsqueeze_attribute(node: Node) -> Run:
    axes = node.need("axes")
    return lambda x: _unsqueeze(x, axes)


@operator("Unsqueeze", since=13, settings=(1,), view=True)
def _unsqueeze_input(node: Node) -> Run:
    fixed = node.integers(1)
    return lambda x, axes: _unsqueeze(x, fixed if fixed is not None else axes.flatten().tolist())


@operator("Transpose", view=True)
def _transpose(node: Node) -> Run:
    order = node.get("perm")
    if order is None:
        return lambda x: x.permute(*range(x.dim() - 1, -1, -1))
    return lambda x: x.permute(order)


def _broadcast(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """The shape that both broadcast to; like numpy's, it takes zeros."""
    return list(np.broadcast_shapes(tuple(a), tuple(b)))


@operator("Expand", since=8, settings=(1,))
def _expand(node: Node) -> Run:
    fixed = node.integers(1)

    def run(x: Tensor, shape: Tensor) -> Tensor:
        target = fixed if fixed is not None else shape.tolist()
        return x.expand(_broadcast(x.shape, target))

    return run


@operator("Tile", since=6, settings=(1,))
def _tile(node: Node) -> Run:
    fixed = node.integers(1)
    return lambda x, repeats: x.repeat(fixed if fixed is not None else repeats.tolist())


@operator("Concat", weights=tuple(range(64)), loose_weights=True)
def _concat(node: Node) -> Run:
    axis = node.get("axis", 1)
    constant = [i for i in range(len(node.inputs)) if node.constant(i) is not None]
    if not constant or axis == 0 or node.batch is None:
        return lambda *xs: torch.cat(xs, axis)
    node.with_batch()
    declared = node.batch

    def any_batch(batch: int, *given: Tensor) -> Tensor:
        """A constant that holds one row per picture of the declared batch (a class token) follows another batch."""
        xs = list(given)
        for i in constant if batch != declared else ():
            if declared == 1 and xs[i].dim() and xs[i].shape[0] == 1:
                xs[i] = xs[i].expand(batch, *xs[i].shape[1:])
        return torch.cat(xs, axis)

    return any_batch


@operator("Split", since=2)
def _split_attribute(node: Node) -> Run:
    return _split(node, node.get("split"))


@operator("Split", since=13, settings=(1,))
def _split_input(node: Node) -> Run:
    return _split(node, node.integers(1))


def _split(node: Node, fixed: list[int] | None) -> Run:
    axis, count = node.get("axis", 0), node.get("num_outputs") or len(node.outputs)

    def run(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        if fixed is not None:
            return torch.split_with_sizes(x, fixed, axis)
        if sizes is not None:
            return torch.split_with_sizes(x, sizes.tolist(), axis)
        size = -(-x.shape[axis] // count)
        return torch.split_with_sizes(x, [min(size, max(x.shape[axis] - i * size, 0)) for i in range(count)], axis)

    return run


SlicePart = tuple[int, int, int, int]


def _sliced(x: Tensor, pieces: Sequence[SlicePart]) -> Tensor:
    """x cut by (axis, start, end, step) each; negative numbers count from the end, steps may be negative."""
    for axis, start, end, step in pieces:
        size = x.shape[axis]
        first, stop, step = slice(start, end, step).indices(size)
        if step > 0:
            if (first, stop, step) == (0, size, 1):
                continue
            index = [slice(None)] * x.dim()
            index[axis] = slice(first, max(stop, first), step)
            x = x[tuple(index)]
        else:
            chosen = torch.arange(first, stop, step, device=x.device) if first > stop else None
            empty = torch.zeros(0, dtype=torch.int64, device=x.device)
            x = x.index_select(axis, empty if chosen is None else chosen)
    return x


@operator("Slice")
def _slice_attributes(node: Node) -> Run:
    starts, ends = node.need("starts"), node.need("ends")
    axes = node.get("axes") or list(range(len(starts)))
    pieces = [(a, s, e, 1) for a, s, e in zip(axes, starts, ends, strict=True)]
    return lambda x: _sliced(x, pieces)


@operator("Slice", since=10, settings=(1, 2, 3, 4))
def _slice_inputs(node: Node) -> Run:
    def pieces(
        starts: Sequence[int], ends: Sequence[int], axes: Sequence[int] | None, steps: Sequence[int] | None
    ) -> list[SlicePart]:
        axes = range(len(starts)) if axes is None else axes
        steps = [1] * len(starts) if steps is None else steps
        return list(zip(axes, starts, ends, steps, strict=True))

    known = [node.integers(i) for i in range(1, 5)]
    if (
        known[0] is not None
        and known[1] is not None
        and all(k is not None or not node.has(i) for i, k in enumerate(known, 1))
    ):
        fixed = pieces(known[0], known[1], known[2], known[3])
        return lambda x, *unused: _sliced(x, fixed)

    def run(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
        return _sliced(
            x,
            pieces(
                starts.flatten().tolist(),
                ends.flatten().tolist(),
                None if axes is None else axes.flatten().tolist(),
                None if steps is None else steps.flatten().tolist(),
            ),
        )

    return run


@operator("ConstantOfShape", since=9, settings=(0,))
def _constant_of_shape(node: Node) -> Run:
    value = node.get("value")
    one: Tensor = torch.zeros(1) if value is None else value

    def run(shape: Tensor) -> Tensor:
        sizes = shape.tolist()
        if math.prod(sizes) > _LARGEST:
            raise ValueError(f"a constant of {math.prod(sizes)} elements is more than the {_LARGEST} allowed")
        return one.reshape([1] * len(sizes)).expand(sizes)  # no memory until it is written to

    return run


@operator("Range", since=11)
def _range(node: Node) -> Run:
    def run(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        first, step = start.item(), delta.item()
        count = max(math.ceil((limit.item() - first) / step), 0)
        if count > _LARGEST:
            raise ValueError(f"a range of {count} elements is more than the {_LARGEST} allowed")
        steps = torch.arange(count, device=start.device)
        return (steps * step + first).to(start.dtype)

    return run


@operator("EyeLike", since=9)
def _eye_like(node: Node) -> Run:
    k, number = node.get("k", 0), node.get("dtype")
    dtype, own = node.dtype(number) if number is not None else (None, False)
    if own:
        node.with_anchor()

    def run(*given: Tensor) -> Tensor:
        x = given[-1]
        kind: torch.dtype = given[0].dtype if own else dtype or x.dtype
        rows, columns = x.shape
        diagonal = torch.arange(columns, device=x.device) - torch.arange(rows, device=x.device)[:, None]
        mask: Tensor = diagonal == k
        return mask.to(kind)

    return run


@operator("Trilu", since=14, settings=(1,))
def _trilu(node: Node) -> Run:
    upper = bool(node.get("upper", 1))

    def run(x: Tensor, k: Tensor | None = None) -> Tensor:
        shift = 0 if k is None else int(k.item())
        return x.triu(shift) if upper else x.tril(shift)

    return run


@operator("DepthToSpace")
def _depth_to_space(node: Node) -> Run:
    size, columns_first = node.need("blocksize"), node.get("mode", "DCR") == "CRD"
    if columns_first:
        return lambda x: F.pixel_shuffle(x, size)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        depth = c // (size * size)
        parts = x.reshape(n, size, size, depth, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, depth, h * size, w * size)

    return run


@operator("SpaceToDepth")
def _space_to_depth(node: Node) -> Run:
    size, columns_first = node.need("blocksize"), node.get("mode", "DCR") == "CRD"
    if columns_first:
        return lambda x: F.pixel_unshuffle(x, size)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * size * size, h // size, w // size)

    return run
