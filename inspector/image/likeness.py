"""Pictures that are copies of one another though their files differ: re-encoded, scaled, a little brighter.

A difference hash finds the few pairs that may be copies, as in N. Krawetz, "Kind of Like That" (2013); small grey
pictures of them tell whether they are.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 16
"""Side of the small grey picture."""
_GRID = 8
_MOST_BITS = 13
"""Bits of 112 in which copies may differ: of 14 groups of 8 bits, two such hashes then share one."""
_LEAST_CORRELATION = 0.99
"""Between the small pictures of copies. Saved at quality 30 and half the size, a photograph keeps 0.999."""
_FLAT = 1.5
"""Standard deviation, in levels of 255, below which a small picture shows nothing but its brightness."""
_MOST_PAIRS = 1 << 18


def shrink_picture(image: Image) -> bytes:
    """The small grey picture that likeness is judged by: SIDE * SIDE bytes, row by row."""
    from PIL import Image as images

    return image.resize((SIDE, SIDE), images.Resampling.BOX).convert("L").tobytes()


def find_copies(small: Sequence[bytes]) -> list[int]:
    """Group pictures with their copies.

    Args:
        small: What :func:`shrink_picture` made of each.

    Returns:
        For each picture the index of the first of its group; its own where nothing before is a copy.
    """
    if not small:
        return []
    grey = np.frombuffer(b"".join(small), np.uint8).reshape(len(small), SIDE, SIDE).astype(np.float32)
    groups = Groups(len(small))
    for one, other in find_similar_pairs(hash_small(grey)):
        alike = _are_alike(grey[one], grey[other])
        for a, b in zip(one[alike].tolist(), other[alike].tolist(), strict=True):
            groups.join(a, b)
    return groups.firsts()


class Groups:
    """Which of a number of things belong together."""

    def __init__(self, count: int) -> None:
        self._parent = array("q", range(count))

    def find(self, k: int) -> int:
        """The first of the group of `k`."""
        while self._parent[k] != k:
            self._parent[k] = self._parent[self._parent[k]]
            k = self._parent[k]
        return k

    def join(self, a: int, b: int) -> None:
        """Make one group of those of `a` and `b`."""
        low, high = sorted((self.find(a), self.find(b)))
        self._parent[high] = low

    def firsts(self) -> list[int]:
        """For each the first of its group."""
        return [self.find(k) for k in range(len(self._parent))]


def hash_small(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8 (N, 14): whether each cell of an 8 x 8 grid is brighter than the one before it, and than the one above."""
    step = SIDE // _GRID
    cells = grey.reshape(len(grey), _GRID, step, _GRID, step).mean((2, 4))
    across, down = cells[:, :, 1:] > cells[:, :, :-1], cells[:, 1:] > cells[:, :-1]
    return np.packbits(np.concatenate([across.reshape(len(grey), -1), down.reshape(len(grey), -1)], 1), axis=1)


def find_similar_pairs(hashes: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs whose hashes differ in few bits: (indices, indices of the others), piece by piece."""
    # Hashes that are equal need one comparison with the first of them, however many they are.
    distinct, first, inverse = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    again = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    if len(again):
        yield first[inverse[again]], again
    wide = np.zeros((len(distinct), 16), np.uint8)
    wide[:, : distinct.shape[1]] = distinct
    wide = wide.view(np.uint64)
    # Of many pictures only nearer ones are found, in time that does not grow with the square of their number.
    band = 1 if len(distinct) <= 20_000 else 2
    for start in range(0, distinct.shape[1], band):
        keys = distinct[:, start : start + band].astype(np.int64) @ (256 ** np.arange(band))
        order = np.argsort(keys, kind="stable")
        ends = np.concatenate([[0], np.flatnonzero(np.diff(keys[order])) + 1, [len(order)]])
        for first_of, count in zip(ends[:-1][np.diff(ends) > 1], np.diff(ends)[np.diff(ends) > 1], strict=True):
            bucket = order[first_of : first_of + count]
            rows = max(1, _MOST_PAIRS // len(bucket))
            for k in range(0, len(bucket), rows):
                far = np.bitwise_count(wide[bucket[k : k + rows], None] ^ wide[bucket]).sum(2)
                one, other = np.nonzero(far <= _MOST_BITS)
                later = other > one + k
                if later.any():
                    yield first[bucket[one[later] + k]], first[bucket[other[later]]]


def _are_alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether small pictures (N, SIDE, SIDE) show the same, but for brightness and contrast."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    means = a.mean(1) - b.mean(1)
    left, right = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    deviations = left.std(1), right.std(1)
    flat = np.maximum(*deviations) < _FLAT
    correlation = (left * right).mean(1) / np.maximum(deviations[0] * deviations[1], 1e-6)
    alike: NDArray[np.bool_] = np.where(flat, np.abs(means) < _FLAT, correlation >= _LEAST_CORRELATION)
    return alike
