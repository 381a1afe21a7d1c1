"""What a method may ask about one layer on one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.cam.target import Target

FloatArray = NDArray[np.float32]
Blocks = Callable[[int], Iterator[FloatArray]]
"""Given the largest batch that fits, yields blocks of at most that many."""


@dataclass(frozen=True)
class MethodContext:
    """One layer on one picture.

    Args:
        activation: Float32 (C, h, w).
        targets: The T numbers to explain.
        scores: Float64 (T,), their values.
        size: (H, W) of the network's input.
        linear: Every score is an affine function of the activation.
        gradient: Target -> float32 (C, h, w), the derivative of its score with respect to the activation.
        head_scores: Blocks of activations (B, C, h, w) -> float64 (total, T), the scores with these in the layer's
            place.
        masked_scores: Blocks of masks (B, H, W) in [0, 1] -> float64 (total, T), the scores of the input times the
            mask.
        reach: The largest magnitude in the output that is explained.
        repeat: The same with every number of the run moved by up to one rounding.
    """

    activation: FloatArray
    targets: tuple[Target, ...]
    scores: NDArray[np.float64]
    size: tuple[int, int]
    linear: bool
    gradient: Callable[[Target], FloatArray]
    head_scores: Callable[[Blocks], NDArray[np.float64]]
    masked_scores: Callable[[Blocks], NDArray[np.float64]]
    reach: float
    repeat: Callable[[np.random.Generator], MethodContext]


def weigh_channels(weights: NDArray[Any], activation: FloatArray) -> FloatArray:
    """sum_c w_c A_c: weights (C,) and activation (C, h, w) -> float32 (h, w)."""
    channels = activation.reshape(len(activation), -1)
    total: FloatArray = (np.asarray(weights, np.float32) @ channels).reshape(activation.shape[1:])
    return total
