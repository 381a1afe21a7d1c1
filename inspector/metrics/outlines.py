"""Outlines of objects and their masks: which pixels lie inside, and how far two masks overlap, as COCO has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_FINE = 5
"""Steps of a pixel that the lines of an outline are drawn with."""


@dataclass(frozen=True, eq=False)
class Outline:
    """Where an object is.

    Attributes:
        rings: Polygons, float64 (k, 2) each, x and y in pixels of the picture as a person sees it; their union is the
            object. Empty where `runs` tell it.
        runs: How many pixels are outside, inside, outside, ... column after column, of the whole picture.
        flaw: Why a file's outline cannot be read; only who needs it minds.
    """

    rings: tuple[NDArray[np.float64], ...] = ()
    runs: tuple[int, ...] = field(default=(), repr=False)
    flaw: str = ""

    def fill(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """The pixels inside: bool (H, W) for a picture of `size` (width, height).

        Raises:
            ValueError: It could not be read, or the runs are of another number of pixels.
        """
        if self.flaw:
            raise ValueError(self.flaw)
        width, height = size
        if self.runs:
            if sum(self.runs) != width * height:
                raise ValueError(f"run lengths of {sum(self.runs)} pixels for {width} x {height}")
            inside = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs)
            return inside.reshape(width, height).T
        filled = np.zeros((height, width), np.bool_)
        for ring in self.rings:
            filled |= fill_polygon(ring, size)
        return filled


def fill_polygon(ring: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels inside a polygon, as COCO's own code counts them.

    The sides are drawn in steps of a fifth of a pixel. In the middle of each column of pixels every crossing of a side
    changes between outside and inside, for all pixels below it in the order of columns.

    Args:
        ring: float64 (k, 2): x, y.
        size: (width, height) of the picture.

    Returns:
        bool (H, W).
    """
    width, height = size
    corners = np.trunc(_FINE * ring + 0.5).astype(np.int64)
    parts = [_draw_line(a, b) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    points = np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)
    before, after = points[:-1], points[1:]
    moved = before[:, 0] != after[:, 0]
    before, after = before[moved], after[moved]
    # Of a step to the left its end, of one to the right its begin.
    across = np.where(after[:, 0] < before[:, 0], after[:, 0], after[:, 0] - 1)
    column = (across + 0.5) / _FINE - 0.5
    row = np.ceil(np.clip((np.minimum(before[:, 1], after[:, 1]) + 0.5) / _FINE - 0.5, 0, height))
    crossed = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    places = (column[crossed] * height + row[crossed]).astype(np.int64)
    turns = np.bincount(places, minlength=width * height + 1)[: width * height]
    return np.asarray(np.cumsum(turns) % 2 == 1).reshape(width, height).T


def _draw_line(start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """The points from one corner to the next, int64 (n, 2), a step along the longer side each."""
    (x0, y0), (x1, y1) = start.tolist(), end.tolist()
    wide, tall = abs(x1 - x0), abs(y1 - y0)
    along = 0 if wide >= tall else 1
    low, high = ((x0, y0), (x1, y1)) if (x0, y0)[along] <= (x1, y1)[along] else ((x1, y1), (x0, y0))
    steps = np.arange(max(wide, tall) + 1)
    slope = (high[1 - along] - low[1 - along]) / max(wide, tall) if max(wide, tall) else 0.0
    line = np.empty((len(steps), 2), np.int64)
    line[:, along] = low[along] + steps
    line[:, 1 - along] = np.trunc(low[1 - along] + slope * steps + 0.5).astype(np.int64)
    return line if low == (x0, y0) else line[::-1]


def count_runs(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    """The runs of a mask, bool (H, W); see :class:`Outline`."""
    flat = np.concatenate([[False], mask.T.reshape(-1)])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    return tuple(np.diff(np.concatenate([[0], turns, [flat.size - 1]])).tolist())


@dataclass(frozen=True, eq=False)
class Silhouette:
    """The part of a mask in which it is not empty.

    Attributes:
        start: Row and column where the part begins.
        inside: bool (h, w).
        area: Pixels inside.
    """

    start: tuple[int, int]
    inside: NDArray[np.bool_] = field(repr=False)
    area: int

    @staticmethod
    def cut(mask: NDArray[np.bool_]) -> Silhouette:
        """The part of a whole mask, bool (H, W)."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return Silhouette((0, 0), np.zeros((0, 0), np.bool_), 0)
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        return Silhouette((int(rows[0]), int(columns[0])), part, int(part.sum()))

    def shared(self, other: Silhouette) -> int:
        """Pixels inside both."""
        spans = []
        for axis in (0, 1):
            low = max(self.start[axis], other.start[axis])
            ends = (one.start[axis] + one.inside.shape[axis] for one in (self, other))
            spans.append((low, min(ends)))
        if any(low >= high for low, high in spans):
            return 0
        parts = []
        for one in (self, other):
            (top, bottom), (left, right) = spans
            y, x = one.start
            parts.append(one.inside[top - y : bottom - y, left - x : right - x])
        return int(np.count_nonzero(parts[0] & parts[1]))


def compute_mask_overlaps(
    found: Iterable[NDArray[np.bool_]], others: Sequence[Silhouette], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersection over union of every pair of masks.

    Args:
        found: bool (H, W) each; one is held at a time.
        others: The masks of labelled objects.
        crowd: bool (m,): with these, the intersection is divided by the area of the mask of `found` alone.

    Returns:
        float64 (n, m) in [0, 1], and the areas of `found`, float64 (n,).
    """
    rows, areas = [], []
    for mask in found:
        own = Silhouette.cut(mask)
        row = np.zeros(len(others))
        for k, other in enumerate(others):
            both = own.shared(other)
            if both:
                row[k] = both / (own.area if crowd[k] else own.area + other.area - both)
        rows.append(row)
        areas.append(own.area)
    return np.array(rows).reshape(len(rows), len(others)), np.array(areas, np.float64)


def read_packed_runs(text: str) -> tuple[int, ...]:
    """Run lengths that COCO packed into a text: numbers of 5 bits a character, from the third on less the last but one.

    Raises:
        ValueError: The text is no such thing.
    """
    found: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the character {character!r} is none of packed run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        found.append(value + (found[-2] if len(found) > 2 else 0))
        value = shift = 0
    if shift or any(one < 0 for one in found):
        raise ValueError("packed run lengths end too early or are negative")
    return tuple(found)
