"""Pieces of a mask that hang together, and the smallest rectangle around one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def find_components(mask: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Find the pieces of a mask whose pixels touch each other, corners included.

    Args:
        mask: bool (H, W).

    Returns:
        Rows and columns of the pixels of each piece, int64 (n,) each, in the order of their first pixels.
    """
    starts, ends, rows = _find_runs(mask)
    parent = list(range(len(starts)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    first = np.searchsorted(rows, np.arange(mask.shape[0] + 1))
    for y in range(1, mask.shape[0]):
        above, here = first[y - 1], first[y]
        while above < first[y] and here < first[y + 1]:
            if starts[above] <= ends[here] and starts[here] <= ends[above]:  # ends are one past, so corners touch
                a, b = root(above), root(here)
                parent[max(a, b)] = min(a, b)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    pieces: dict[int, list[int]] = {}
    for run in range(len(starts)):
        pieces.setdefault(root(run), []).append(run)
    return [_pixels(starts[runs], ends[runs], rows[runs]) for runs in pieces.values()]


def _find_runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(first column, one past the last, row) of each run of pixels in a row, in reading order."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    return starts, np.nonzero(edges == -1)[1], rows


def _pixels(starts: NDArray[Any], ends: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    lengths = ends - starts
    y = np.repeat(rows, lengths)
    before = np.cumsum(lengths) - lengths
    return y, np.arange(len(y)) - np.repeat(before - starts, lengths)


def find_rectangle(y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
    """Find the rectangle of the smallest area around pixels, turned as it has to be.

    Args:
        y: int64 (n,), the rows of the pixels.
        x: int64 (n,), their columns.

    Returns:
        float64 (5,): centre x and y, width, height, and the angle in radians, in (-pi/4, pi/4].
    """
    corners = np.concatenate([np.stack([x + a, y + b], axis=1) for a in (0, 1) for b in (0, 1)])
    hull = _find_hull(corners)
    sides = np.diff(np.concatenate([hull, hull[:1]]), axis=0)
    # The smallest rectangle lies along a side of the hull (Freeman and Shapira 1975).
    angles = np.unique(np.round(np.arctan2(sides[:, 1], sides[:, 0]) % (np.pi / 2), 9))
    best = None
    for angle in np.where(angles > np.pi / 4, angles - np.pi / 2, angles):
        cos, sin = np.cos(angle), np.sin(angle)
        along, across = hull @ (cos, sin), hull @ (-sin, cos)
        w, h = np.ptp(along), np.ptp(across)
        if best is None or w * h < best[0] - 1e-9:
            u, v = along.min() + w / 2, across.min() + h / 2
            best = (w * h, np.array([u * cos - v * sin, u * sin + v * cos, w, h, angle]))
    assert best is not None
    return best[1]


def _find_hull(points: NDArray[np.int64]) -> NDArray[np.float64]:
    """The corners of the convex hull, in order around it (Andrew 1979)."""
    # Only the first and the last of each row can be corners.
    order = np.unique(points[np.lexsort((points[:, 0], points[:, 1]))], axis=0)
    halves = []
    for line in (order, order[::-1]):
        half: list[Any] = []
        for point in line.tolist():
            while len(half) > 1 and _turn(half[-2], half[-1], point) <= 0:
                half.pop()
            half.append(point)
        halves += half[:-1]
    return np.array(halves or points[:1], np.float64)


def _turn(a: list[int], b: list[int], c: list[int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
