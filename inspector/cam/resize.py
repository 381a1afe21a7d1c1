"""Bilinear enlargement of maps, as two small matrix products."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def sampling_weights(old: int, new: int, align_corners: bool = False) -> NDArray[np.float32]:
    """float32 (new, old): each new sample as a mix of two old ones; rows sum to 1."""
    places = np.arange(new, dtype=np.float64)
    if align_corners:
        at = places * ((old - 1) / (new - 1)) if new > 1 else np.zeros(new)
    else:
        at = np.clip((places + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.minimum(np.floor(at).astype(np.int64), max(old - 2, 0))
    part = at - low
    matrix = np.zeros((new, old))
    rows = np.arange(new)
    matrix[rows, low] = 1 - part
    matrix[rows, np.minimum(low + 1, old - 1)] += part
    frozen = matrix.astype(np.float32)
    frozen.flags.writeable = False
    return frozen


def enlarge(maps: NDArray[Any], size: tuple[int, int], align_corners: bool = False) -> NDArray[np.float32]:
    """Maps (..., h, w) -> float32 (..., H, W), size (H, W), by bilinear interpolation without antialiasing.

    Args:
        maps: Float (..., h, w).
        size: (H, W).
        align_corners: False puts the samples at the centres of cells, as overlays are drawn; True puts the first
            and last samples on the edges (torch's UpsamplingBilinear2d).
    """
    rows = sampling_weights(maps.shape[-2], size[0], align_corners)
    columns = sampling_weights(maps.shape[-1], size[1], align_corners)
    enlarged: NDArray[np.float32] = rows @ np.asarray(maps, np.float32) @ columns.T
    return enlarged
