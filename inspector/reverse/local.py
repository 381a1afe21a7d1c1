"""Backwards through one operator from a spot to a spot: the rules of `rules/`, applied to the cells that matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from inspector.graph.operators import operator_of
from inspector.reverse.rule import GradientRule, HeadNode
from inspector.reverse.spot import CellRange, Spot, SpotValues, shrink
from inspector.reverse.windows import Windows

Spots = list[Spot | None]
Local = Callable[[HeadNode, GradientRule, Spot, SpotValues], "Spots | None"]
"""A step, its rule, the gradient of its first output, the values of a run -> the gradient of each input; None where
only the whole tensor will do."""

_FORMS: dict[str, Local] = {}
_MOST_MOVED = 1 << 16
"""Elements that are worth being moved one by one."""


def go_back(step: HeadNode, rule: GradientRule, outputs: Sequence[Spot | None], values: SpotValues) -> Spots:
    """The gradient of every input of a node.

    Args:
        step: The node.
        rule: Its rule.
        outputs: The gradient of each of its outputs, None where there is none.
        values: The values of a run.
    """
    first = next((spot for spot in outputs if spot is not None), None)
    if first is None:
        return [None] * len(step.moving)
    found = None
    row = operator_of(step.node)
    if len([spot for spot in outputs if spot is not None]) == 1 and outputs[0] is first:
        local = _FORMS.get(step.node.op_type)
        if row.elementwise:
            found = _elementwise(step, rule, first, values)
        elif row.window and (row.weighted or row.kind == "pool"):
            found = _windows(step, rule, first, values)
        elif local is not None:
            found = local(step, rule, first, values)
    return found if found is not None else _whole(step, rule, outputs, values)


def _whole(step: HeadNode, rule: GradientRule, outputs: Sequence[Spot | None], values: SpotValues) -> Spots:
    """By the rule for whole tensors; what comes out is cut to what is not zero."""
    wide = tuple(None if spot is None else spot.whole() for spot in outputs)
    first = next(part for part in wide if part is not None)
    here = replace(step, lookup=values.whole, outputs=wide)
    parts = [*rule.derivative(here, first)]
    return [None if part is None else shrink(part) for part in parts] + [None] * (len(step.moving) - len(parts))


def _elementwise(step: HeadNode, rule: GradientRule, spot: Spot, values: SpotValues) -> Spots:
    """What stands at the places of the spot is read of every operand, which may be broadcast."""
    names = step.node.input
    listed = operator_of(step.node).per_channel
    if listed:
        # Its settings are listed along one axis, and are given whole.
        spot = spot.widen([step.get("axis", 1) % len(spot.shape)])

    def ranges(name: str) -> list[CellRange]:
        shape = values.shape(name)
        own = spot.ranges[len(spot.shape) - len(shape) :]
        return [(0, 1) if n == 1 else r for n, r in zip(shape, own, strict=True)]

    def lookup(name: str) -> Any:
        return values.whole(name) if listed and name != names[0] else values.window(name, ranges(name))

    here = replace(step, lookup=lookup, outputs=(spot.values,))
    found: Spots = []
    for name, part in zip(names, rule.derivative(here, spot.values), strict=False):
        start = () if part is None else tuple(a for a, _ in ranges(name))
        found.append(None if part is None else Spot(start, part, values.shape(name)))
    return found + [None] * (len(step.moving) - len(found))


def _windows(step: HeadNode, rule: GradientRule, spot: Spot, values: SpotValues) -> Spots | None:
    """A convolution or a maximum of windows: only what lies under the windows of the spot is read."""
    row, name = operator_of(step.node), step.node.input[0]
    if step.node.op_type == "AveragePool":
        return None  # how many cells count depends on where the edge is
    shape = values.shape(name)
    kernel = values.shape(step.node.input[1])[2:] if row.weighted else step.get("kernel_shape")
    slide = Windows.of(step, shape[2:], spot.shape[2:], kernel)
    if row.weighted and step.get("group", 1) > 1:
        spot = spot.widen([1])
    ranges: list[CellRange] = [spot.ranges[0], (0, shape[1]) if row.weighted else spot.ranges[1]]
    for i, (a, b) in enumerate(spot.ranges[2:]):
        low = a * slide.stride[i] - slide.before[i]
        ranges.append((low, low + (b - a - 1) * slide.stride[i] + (kernel[i] - 1) * slide.dilation[i] + 1))
    rows = slice(*spot.ranges[1])

    def lookup(wanted: str) -> Any:
        if wanted == name:
            return values.window(name, ranges, -np.inf)
        whole = values.whole(wanted)
        return whole if step.get("group", 1) > 1 else whole[rows]

    settings = {**step.settings, "pads": [0] * 2 * len(kernel), "auto_pad": "NOTSET"}
    here = replace(step, lookup=lookup, settings=settings, outputs=(spot.values,))
    part = rule.derivative(here, spot.values)[0]
    assert part is not None
    clipped = Spot(tuple(a for a, _ in ranges), part, shape).clip()
    return [clipped, *[None] * (len(step.moving) - 1)]


def _form(*names: str) -> Callable[[Local], Local]:
    def register(local: Local) -> Local:
        for name in names:
            _FORMS[name] = local
        return local

    return register


@_form("ConvTranspose")
def _spread(step: HeadNode, rule: GradientRule, spot: Spot, values: SpotValues) -> Spots:
    """A transposed convolution: only the cells that spread into the spot get a gradient."""
    name = step.node.input[0]
    shape, kernel = values.shape(name), values.shape(step.node.input[1])[2:]
    slide = Windows.of(step, spot.shape[2:], shape[2:], kernel)
    spot = spot.widen([1])
    cells: list[CellRange] = [spot.ranges[0], (0, shape[1])]
    wide = list(spot.ranges[:2])
    for i, (a, b) in enumerate(spot.ranges[2:]):
        stride, before, reach = slide.stride[i], slide.before[i], (kernel[i] - 1) * slide.dilation[i]
        first = max(0, -((reach - before - a) // stride))
        last = min(shape[2 + i], (b - 1 + before) // stride + 1)
        if first >= last:
            return [None] * len(step.moving)
        cells.append((first, last))
        wide.append((first * stride - before, (last - 1) * stride - before + reach + 1))
    few = np.broadcast_to(np.float32(0), [b - a for a, b in cells])  # of the input the shape alone counts
    settings = {**step.settings, "pads": [0] * 2 * len(kernel), "auto_pad": "NOTSET"}
    part = spot.over(wide)
    here = replace(
        step, lookup=lambda wanted: few if wanted == name else values.whole(wanted), settings=settings,
        outputs=(part.values,),
    )  # fmt: skip
    found = rule.derivative(here, part.values)[0]
    assert found is not None
    return [Spot(tuple(a for a, _ in cells), found, shape), *[None] * (len(step.moving) - 1)]


@_form("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(step: HeadNode, rule: GradientRule, spot: Spot, values: SpotValues) -> Spots | None:
    shape = values.shape(step.node.input[0])
    if spot.values.size > _MOST_MOVED or not shape:
        return None
    grid = np.ix_(*(np.arange(a, b) for a, b in spot.ranges))
    flat = np.ravel_multi_index(np.broadcast_arrays(*grid), spot.shape) if spot.shape else np.zeros((), int)
    places = np.unravel_index(np.ravel(flat), shape)
    ranges = [(int(at.min()), int(at.max()) + 1) for at in places]
    out = np.zeros([b - a for a, b in ranges], spot.values.dtype)
    out[tuple(at - a for at, (a, _) in zip(places, ranges, strict=True))] = spot.values.ravel()
    return [Spot(tuple(a for a, _ in ranges), out, shape), *[None] * (len(step.moving) - 1)]


@_form("Transpose")
def _transpose(step: HeadNode, rule: GradientRule, spot: Spot, values: SpotValues) -> Spots:
    order = np.argsort(step.get("perm") or list(reversed(range(len(spot.shape)))))
    shape = tuple(spot.shape[i] for i in order)
    return [Spot(tuple(spot.start[i] for i in order), spot.values.transpose(order), shape)]


@_form("Concat")
def _concat(step: HeadNode, rule: GradientRule, spot: Spot, values: SpotValues) -> Spots:
    axis = step.get("axis", 1) % len(spot.shape)
    first, last = spot.ranges[axis]
    found: Spots = []
    before = 0
    for name, moves in zip(step.node.input, step.moving, strict=True):
        shape = values.shape(name)
        low, high = max(first, before), min(last, before + shape[axis])
        if moves and low < high:
            place = tuple(slice(low - first, high - first) if i == axis else slice(None) for i in range(len(shape)))
            start = tuple(low - before if i == axis else a for i, a in enumerate(spot.start))
            found.append(Spot(start, spot.values[place], shape))
        else:
            found.append(None)
        before += shape[axis]
    return found


@_form("Slice")
def _slice(step: HeadNode, rule: GradientRule, spot: Spot, values: SpotValues) -> Spots | None:
    shape = values.shape(step.node.input[0])
    given = [values.whole(step.node.input[i]).ravel().tolist() for i in range(1, len(step.node.input)) if step.has(i)]
    starts = given[0]
    axes = given[2] if step.has(3) else list(range(len(starts)))
    if any(stride != 1 for stride in (given[-1] if step.has(4) else [])):
        return None
    moved = list(spot.start)
    for axis, begin in zip(axes, starts, strict=True):
        size = shape[axis]
        moved[axis % len(shape)] += min(max(begin + size if begin < 0 else begin, 0), size)
    return [Spot(tuple(moved), spot.values, shape), *[None] * (len(step.moving) - 1)]
