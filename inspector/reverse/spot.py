"""Gradients that are zero but at a spot: those of one place, followed backwards through the few cells that feed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.records import record

Array = NDArray[Any]
CellRange = tuple[int, int]


@record(eq=False)
class Spot:
    """A tensor that is zero outside a window.

    Attributes:
        start: Where the window begins along each axis.
        values: What stands in the window, with as many axes as the tensor.
        shape: Of the whole tensor.
    """

    start: tuple[int, ...]
    values: Array = field(repr=False)
    shape: tuple[int, ...]

    @staticmethod
    def at(index: Sequence[int], shape: Sequence[int], value: float = 1.0) -> Spot:
        """One number at one place."""
        return Spot(tuple(index), np.full((1,) * len(index), value, np.float32), tuple(shape))

    @property
    def ranges(self) -> tuple[CellRange, ...]:
        """(first, one beyond the last) along each axis."""
        return tuple((a, a + n) for a, n in zip(self.start, self.values.shape, strict=True))

    def whole(self) -> Array:
        """The whole tensor, zeros included."""
        out = np.zeros(self.shape, self.values.dtype)
        out[tuple(slice(a, b) for a, b in self.ranges)] = self.values
        return out

    def widen(self, axes: Sequence[int]) -> Spot:
        """The same with the window over the whole of some axes."""
        wanted = tuple((0, n) if i in axes else r for i, (n, r) in enumerate(zip(self.shape, self.ranges, strict=True)))
        return self if wanted == self.ranges else self.over(wanted)

    def over(self, ranges: Sequence[CellRange]) -> Spot:
        """The same in another window: zeros where it is larger, cut where it is smaller."""
        out = np.zeros([b - a for a, b in ranges], self.values.dtype)
        both = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(ranges, self.ranges, strict=True)]
        if all(a < b for a, b in both):
            there = tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(both, ranges, strict=True))
            here = tuple(slice(a - c, b - c) for (a, b), c in zip(both, self.start, strict=True))
            out[there] = self.values[here]
        return Spot(tuple(a for a, _ in ranges), out, self.shape)

    def clip(self) -> Spot | None:
        """The part that lies in the tensor; None where nothing does."""
        ranges = [(max(a, 0), min(b, n)) for (a, b), n in zip(self.ranges, self.shape, strict=True)]
        if any(a >= b for a, b in ranges):
            return None
        return self if tuple(ranges) == self.ranges else self.over(ranges)

    def __add__(self, other: Spot) -> Spot:
        ranges = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(self.ranges, other.ranges, strict=True)]
        return Spot(tuple(a for a, _ in ranges), self.over(ranges).values + other.over(ranges).values, self.shape)


def shrink(values: Array) -> Spot | None:
    """The smallest window that holds all of a tensor that is not zero; None where nothing is."""
    hit = values != 0
    if not hit.any():
        return None
    ranges = []
    for axis in range(values.ndim):
        line = np.flatnonzero(hit.any(axis=tuple(i for i in range(values.ndim) if i != axis)))
        ranges.append((int(line[0]), int(line[-1]) + 1))
    inside = values[tuple(slice(a, b) for a, b in ranges)]
    return Spot(tuple(a for a, _ in ranges), inside, values.shape)


@record
class SpotValues:
    """The tensors of a run that a gradient reads, whole or as windows.

    Attributes:
        known: Name -> value.
        shapes: Name -> shape, of tensors of which nothing else is read.
    """

    known: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self.known[name].shape if name in self.known else self.shapes[name]

    def whole(self, name: str) -> Array:
        """All of a tensor, in single precision where it is stored in half; zeros where only its shape is known."""
        if name not in self.known:
            return np.broadcast_to(np.float32(0), self.shapes[name])
        value = self.known[name]
        return np.asarray(value, np.float32) if value.dtype == np.float16 else value

    def window(self, name: str, ranges: Sequence[CellRange], fill: float = 0.0) -> Array:
        """A window of a tensor, which may reach beyond it: `fill` stands there."""
        whole = self.whole(name)
        inside = [(max(a, 0), min(b, n)) for (a, b), n in zip(ranges, whole.shape, strict=True)]
        cut = whole[tuple(slice(a, b) for a, b in inside)]
        if tuple(inside) == tuple(ranges):
            return cut
        if name not in self.known:
            return np.broadcast_to(np.float32(0), [b - a for a, b in ranges])
        pads = [(c - a, b - d) for (a, b), (c, d) in zip(ranges, inside, strict=True)]
        return np.pad(cut, pads, constant_values=fill)
