"""Sums of float32 values that are exact, so that any order of adding gives the same bits.

A float32 is a whole number of 24 bits times a power of two. Each is split over cells that stand for 2^0, 2^32, ...
units of the smallest float32, and the cells are added as integers: a small form of the superaccumulator of U. Kulisch,
"Computer Arithmetic and Validity" (2008). Nothing is rounded before the sum is read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELLS = 9
"""32 bits each, for the 277 bits between the smallest float32 and the largest."""
_UNIT = 149
"""The smallest float32 is 2^-149."""
FIXED_BITS = 24
"""Sums by class are whole numbers of 2^-24: enough for the mean of a channel, and an eighth of the memory."""
_FIXED_LIMIT = 1 << 41


def sum_exactly(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Sum over the first axis.

    Args:
        values: float32 (N, C), finite; what is not counts as 0. N up to 2^30.

    Returns:
        int64 (C, CELLS); the cells of several such sums may be added.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    exponent = ((bits >> 23) & 0xFF).astype(np.int64)
    mantissa = (bits & 0x7FFFFF).astype(np.int64) | np.where(exponent > 0, 0x800000, 0)
    mantissa = np.where(exponent == 255, 0, np.where(bits >> 31 != 0, -mantissa, mantissa))
    place = np.maximum(exponent, 1) - 1
    cell, shift = place >> 5, place & 31
    low = (np.abs(mantissa) << shift) & 0xFFFFFFFF
    high = np.abs(mantissa) << shift >> 32
    sign = np.sign(mantissa)
    low, high = low * sign, high * sign
    sums = np.zeros((values.shape[1], CELLS), np.int64)
    for k in np.unique(cell[mantissa != 0]).tolist():
        own = cell == k
        sums[:, k] += np.where(own, low, 0).sum(axis=0)
        if k + 1 < CELLS:
            sums[:, k + 1] += np.where(own, high, 0).sum(axis=0)
    return sums


def read_sums(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sums as float64 (C,), each rounded once, correctly."""
    return np.array([_read(row) for row in cells.tolist()], np.float64)


def read_means(cells: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """The sums over `count` as float64 (C,), each rounded once; NaN where `count` is 0."""
    if count == 0:
        return np.full(len(cells), np.nan)
    return np.array([_read(row, count) for row in cells.tolist()], np.float64)


def _read(row: list[int], count: int = 1) -> float:
    total = sum(cell << (32 * k) for k, cell in enumerate(row))
    # Dividing whole numbers, Python rounds once and correctly.
    return total / (count << _UNIT)


def to_fixed(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Values as whole numbers of 2^-24, to be added without rounding; beyond 2^17 they are cut off, NaN counts as 0."""
    scaled = np.nan_to_num(values.astype(np.float64) * (1 << FIXED_BITS), nan=0.0)
    return np.asarray(np.rint(scaled.clip(-_FIXED_LIMIT, _FIXED_LIMIT)), np.int64)


STEPS = 4
"""Bins of each octave: edges at 1, 1.25, 1.5 and 1.75 times a power of two."""
_LOWEST, _OCTAVES = -16, 32
HALF = _OCTAVES * STEPS
BINS = 2 * HALF + 1
"""Bins of a histogram: HALF below zero, one about zero, HALF above."""


def find_bins(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bin of each value, 0 to BINS - 1, from its bits alone; the outermost take what lies beyond 2^16.

    Magnitudes below 2^-16 and NaN are in the middle one.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    step = ((bits & 0x7FFFFFFF) >> 21).astype(np.int64) - ((_LOWEST + 127) * STEPS)
    magnitude = np.where(np.isnan(values), 0, (step + 1).clip(0, HALF))
    found: NDArray[np.int64] = np.where(bits >> 31 != 0, HALF - magnitude, HALF + magnitude)
    return found


def list_edges() -> NDArray[np.float64]:
    """float64 (BINS - 1,): the edges between the bins, ascending."""
    octaves = np.exp2(np.arange(_LOWEST, _LOWEST + _OCTAVES, dtype=np.float64))
    above = (octaves[:, None] * (1 + np.arange(STEPS) / STEPS)).reshape(-1)
    return np.concatenate([-above[::-1], above])
