"""Heads that mark the centre of an object on a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inspector.tasks.seen import Output, Seen

_LEAST = 0.01
"""What lies below is no peak whatever confidence is asked for: the floor of a map has some everywhere."""


def find_peaks(heat: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The places whose value none of the eight around it exceeds: (K, h, w) -> class, row, column, int64 (n,) each."""
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = heat.shape[1:]
    highest = heat.copy()
    for dy in range(3):
        for dx in range(3):
            np.fmax(highest, padded[:, dy : dy + height, dx : dx + width], out=highest)
    # A value that is no number is a candidate too, so that it is found out.
    k, y, x = np.nonzero(((heat >= highest) & (heat >= _LEAST)) | np.isnan(heat))
    return k.astype(np.int64), y.astype(np.int64), x.astype(np.int64)


def find_maps(seen: Seen) -> tuple[Output, ...]:
    """The outputs with four axes, where they are maps of one size with few channels; else none."""
    maps = seen.of_axes(4)
    sizes = {(one.size(2), one.size(3)) for one in maps}
    return maps if len(sizes) == 1 and len(maps) == len(seen.outputs) else ()
