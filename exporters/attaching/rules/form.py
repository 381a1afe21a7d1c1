"""Rules for what changes nothing but the arrangement of the elements."""

from __future__ import annotations

import numpy as np

from exporters.attaching.rule import Array, BackStep, Names, emit_rule
from exporters.attaching.writer import ZERO, GraphWriter

_LAST = np.iinfo(np.int64).max
"""An end that is beyond every axis."""


@emit_rule("Identity", "Dropout", "Cast")
def _identity(step: BackStep, g: str) -> Names:
    return [g]


@emit_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(step: BackStep, g: str) -> Names:
    return [step.like(g)]


@emit_rule("Transpose")
def _transpose(step: BackStep, g: str) -> Names:
    order = step.get("perm") or list(reversed(range(len(step.shape()))))
    return [step.write.emit("Transpose", g, perm=[int(i) for i in np.argsort(order)])]


@emit_rule("Concat")
def _concat(step: BackStep, g: str) -> Names:
    write, axis, count = step.write, step.get("axis", 1), len(step.node.input)
    sizes = [step.fixed(i)[axis] for i in range(count)]
    if all(size is not None for size in sizes):
        lengths = write.ints(*(int(size) for size in sizes if size is not None))
    else:
        axis %= len(step.shape())
        lengths = write.emit("Concat", *(write.length(name, axis) for name in step.node.input), axis=0)
    parts = write.emit_many("Split", [g, lengths], count, axis=axis)
    return [part if moves else None for part, moves in zip(parts, step.moving, strict=True)]


@emit_rule("Split")
def _split(step: BackStep, g: str) -> Names:
    parts = [
        step.write.zeros_like(name) if part is None else part
        for part, name in zip(step.gradients, step.node.output, strict=True)
    ]
    return [parts[0] if len(parts) == 1 else step.write.emit("Concat", *parts, axis=step.get("axis", 0))]


def _slice_settings(step: BackStep) -> list[tuple[int, int, int]] | None:
    """(axis, start, stride) of each axis that is cut; None where they are not written in the file."""
    values = [step.known(i) for i in range(1, len(step.node.input)) if step.has(i)]
    if any(value is None for value in values):
        return None
    rows = [np.asarray(value).ravel().tolist() for value in values]
    rank = len(step.shape())
    axes = rows[2] if step.has(3) else list(range(len(rows[0])))
    strides = rows[-1] if step.has(4) else [1] * len(axes)
    found = []
    for axis, start, stride in zip(axes, rows[0], strides, strict=True):
        size = step.fixed()[axis % rank]
        if (start < 0 or stride < 0) and size is None:
            return None
        length = size or 0
        first = start + length if start < 0 else min(start, length) if size is not None else start
        if stride < 0:
            first = min(first, length - 1)
        found.append((axis % rank, max(first, 0), stride))
    return found


@emit_rule("Slice", accepts=lambda step: _slice_settings(step) is not None)
def _slice(step: BackStep, g: str) -> Names:
    """Back to where it was cut out, with zeros around; axis by axis, the last first."""
    for axis, start, stride in _slice_settings(step) or []:
        g = _put_back(step, g, axis, start, stride)
    return [g]


def _put_back(step: BackStep, g: str, axis: int, start: int, stride: int) -> str:
    """A gradient along an axis of the length of the first input: its first at `start`, zeros elsewhere."""
    write, rank = step.write, len(step.shape())
    size, cut = step.fixed()[axis], step.sizes.fixed(step.node.output[0])[axis]
    if stride == 1 and (start, size) == (0, cut) and size is not None:
        return g
    if stride == 1:
        if size is not None and cut is not None:
            after = write.ints(size - start - cut)
        else:
            taken = write.emit("Add", write.length(g, axis), write.ints(start))
            after = write.emit("Sub", write.length(step.node.input[0], axis), taken)
        rows = [write.ints(*[0] * axis, start, *[0] * (rank - 1)), after]
        rows += [write.ints(*[0] * (rank - 1 - axis))] if axis < rank - 1 else []
        return write.emit("Pad", g, write.emit("Concat", *rows, axis=0))
    shape = write.emit("Shape", g)
    # The places along the axis, as many as there are in the gradient, by a running sum.
    flat = write.emit("Expand", write.ints(stride), write.length(g, axis))
    places = write.emit(
        "Add", write.emit("CumSum", flat, write.constant(np.array(0, np.int64))), write.ints(start - stride)
    )
    row = write.reshape(places, *[1] * axis, -1, *[1] * (rank - 1 - axis))
    return _scatter(write, _zeros(step, g, axis), write.emit("Expand", row, shape), g, axis)


def _zeros(step: BackStep, g: str, axis: int) -> str:
    """Zeros in the shape of a gradient, but as long as the first input along one axis."""
    write, rank = step.write, len(step.shape())
    shape = write.emit("Shape", g)
    length = write.length(step.node.input[0], axis)
    parts = [write.emit("Slice", shape, write.ints(0), write.ints(axis), write.ints(0))] if axis else []
    parts.append(length)
    if axis < rank - 1:
        parts.append(write.emit("Slice", shape, write.ints(axis + 1), write.ints(_LAST), write.ints(0)))
    whole = parts[0] if len(parts) == 1 else write.emit("Concat", *parts, axis=0)
    return write.emit("ConstantOfShape", whole, value=ZERO)


def _scatter(write: GraphWriter, zeros: str, places: str, g: str, axis: int) -> str:
    return write.emit("ScatterElements", zeros, places, g, axis=axis)


def _distinct(value: Array | None, size: int | None) -> bool:
    """Whether indices are known, and no two are the same place."""
    if value is None or value.ndim > 1 or (size is None and (np.asarray(value) < 0).any()):
        return False
    flat = np.asarray(value).ravel()
    places = flat % size if size is not None else flat
    return len(np.unique(places)) == len(places)


def _gather_axis(step: BackStep) -> int:
    return int(step.get("axis", 0)) % len(step.shape())


@emit_rule("Gather", accepts=lambda step: _distinct(step.known(1), step.fixed()[_gather_axis(step)]))
def _gather(step: BackStep, g: str) -> Names:
    """Indices of the file, each once: what was picked goes back to its place."""
    write, axis, rank = step.write, _gather_axis(step), len(step.shape())
    chosen = step.known(1)
    assert chosen is not None
    size = step.fixed()[axis]
    places = np.asarray(chosen, np.int64).ravel()
    places = places % size if size is not None else places
    if chosen.ndim == 0:
        g = write.emit("Unsqueeze", g, write.ints(axis))
    row = write.constant(places.reshape([1] * axis + [-1] + [1] * (rank - 1 - axis)))
    spread = write.emit("Expand", row, write.emit("Shape", g))
    return [_scatter(write, _zeros(step, g, axis), spread, g, axis)]


@emit_rule("Where")
def _where(step: BackStep, g: str) -> Names:
    write, condition = step.write, step.node.input[0]
    zero = write.number(0)
    parts: list[str | None] = [None, None, None]
    if step.moving[1]:
        parts[1] = step.unbroadcast(write.emit("Where", condition, g, zero), 1)
    if step.moving[2]:
        parts[2] = step.unbroadcast(write.emit("Where", condition, zero, g), 2)
    return parts


@emit_rule("Expand")
def _expand(step: BackStep, g: str) -> Names:
    return [step.unbroadcast(g, 0)]


@emit_rule("Pad", accepts=lambda step: (pads := step.known(1)) is not None and bool((np.asarray(pads) >= 0).all()))
def _pad(step: BackStep, g: str) -> Names:
    pads = step.known(1)
    assert pads is not None
    rank, rows = len(step.shape()), np.asarray(pads).ravel().tolist()
    cut = [axis for axis in range(rank) if rows[axis] or rows[axis + rank]]
    if not cut:
        return [g]
    write = step.write
    ends = [-rows[axis + rank] if rows[axis + rank] else _LAST for axis in cut]
    return [write.emit("Slice", g, write.ints(*(rows[a] for a in cut)), write.ints(*ends), write.ints(*cut))]
