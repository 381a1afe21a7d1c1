"""Any layer's values as maps that can be drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_maps(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) as it is; (K,) as K maps of one element; (C, L) as rows; (C, D, H, W) with its slices stacked."""
    if values.ndim == 3:
        return values
    if values.ndim < 3:
        return values.reshape(len(values), 1, -1)
    return values.reshape(len(values), -1, values.shape[-1])
