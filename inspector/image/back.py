"""Maps over the tensor, taken back to the pixels of the picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from inspector.image.preprocess import Preprocess

_STRIP = 1 << 24
"""Numbers of a strip that are held at a time."""


class MapsBack:
    """The way of maps over the tensor to the pixels of the picture, bilinear.

    Args:
        preprocess: How the picture became the tensor.
        size: (width, height) of the picture.
        shape: (h, w) of the maps; they cover the whole tensor.

    Attributes:
        seen: Whether the network saw a row (bool (height,)) and a column (bool (width,)) of the picture.
    """

    def __init__(self, preprocess: Preprocess, size: tuple[int, int], shape: tuple[int, int]) -> None:
        self.size = size
        left, top, right, bottom = preprocess.box(size)
        self._columns, self._across = _places(size[0], left, right, shape[1])
        self._rows, self._down = _places(size[1], top, bottom, shape[0])
        self.seen = (_inside(size[1], top, bottom), _inside(size[0], left, right))

    def strips(self, maps: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Give the values at the picture's pixels, some rows at a time.

        Args:
            maps: float32 (C, h, w).

        Yields:
            The first row and float32 (C, rows, width).
        """
        width, height = self.size
        many = max(1, _STRIP // (len(maps) * max(width, maps.shape[2])))
        for start in range(0, height, many):
            part = slice(start, start + many)
            yield start, self._columnwise(self._rowwise(maps, part))

    def one(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """One map float32 (h, w) at the picture's pixels, float32 (height, width)."""
        return np.concatenate([strip[0] for _, strip in self.strips(plane[None])])

    def part(
        self, plane: NDArray[np.float32], rows: NDArray[np.bool_], columns: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """One map at some of the picture's pixels: rows bool (height,), columns bool (width,) -> float32 (r, c)."""
        y, x = np.flatnonzero(rows), np.flatnonzero(columns)
        down, across = self._down[y, None], self._across[x]
        low, left = self._rows[y], self._columns[x]
        between = plane[low] * (1 - down) + plane[np.minimum(low + 1, plane.shape[0] - 1)] * down
        right = np.minimum(left + 1, plane.shape[1] - 1)
        return np.asarray(between[:, left] * (1 - across) + between[:, right] * across, np.float32)

    def nearest(self, plane: NDArray[np.int32]) -> NDArray[np.int32]:
        """A map of whole numbers, int32 (h, w), at the picture's pixels without values between them."""
        rows = self._rows + (self._down >= 0.5)
        columns = self._columns + (self._across >= 0.5)
        rows, columns = np.minimum(rows, plane.shape[0] - 1), np.minimum(columns, plane.shape[1] - 1)
        return np.asarray(plane[np.ix_(rows, columns)])

    def _rowwise(self, maps: NDArray[np.float32], part: slice) -> NDArray[np.float32]:
        low, weight = self._rows[part], self._down[part, None]
        high = np.minimum(low + 1, maps.shape[1] - 1)
        return np.asarray(maps[:, low] * (1 - weight) + maps[:, high] * weight, np.float32)

    def _columnwise(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        high = np.minimum(self._columns + 1, maps.shape[2] - 1)
        return np.asarray(maps[:, :, self._columns] * (1 - self._across) + maps[:, :, high] * self._across, np.float32)


def _places(pixels: int, low: float, high: float, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(the cell before each pixel's centre, how far the centre lies on the way to the next)."""
    centres = np.arange(pixels) + 0.5
    at = np.clip((centres - low) / (high - low) * cells - 0.5, 0, cells - 1)
    first = np.minimum(at.astype(np.int64), cells - 1)
    return first, (at - first).astype(np.float32)


def _inside(pixels: int, low: float, high: float) -> NDArray[np.bool_]:
    centres = np.arange(pixels) + 0.5
    return (centres >= low) & (centres <= high)
