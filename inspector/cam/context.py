"""What a method may ask about one layer on one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.cam.resize import enlarge
from inspector.cam.target import Target
from inspector.records import record

FloatArray = NDArray[np.float32]
Blocks = Callable[[int], Iterator[FloatArray]]
"""Given the largest batch that fits, yields blocks of at most that many."""

GRID, SHARE = 16, 0.5
"""Cells of a mask on each side, and the share of them that is seen: as in the paper of D-RISE."""
_AT_ONCE = 16
"""Maps that are summed up at the same time."""


@record
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


def say_nothing(done: int, total: int) -> None:
    """Takes how much is done; where nobody wants to hear it."""


def choose_cell(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a cell of the masks over an input of size (H, W)."""
    return (-(-size[0] // GRID), -(-size[1] // GRID))


def draw_grids(size: tuple[int, int], count: int, seed: int) -> Iterator[tuple[FloatArray, int, int]]:
    """What the masks of D-RISE are made of, the same ones every time.

    Args:
        size: (H, W) of the network's input.
        count: Number of masks.
        seed: Of the masks.

    Yields:
        float32 (GRID + 1, GRID + 1), 1 for a cell that is seen and 0 for one that is not; how many pixels it is
        shifted up, and how many to the left.
    """
    rng = np.random.default_rng(seed)
    cell = choose_cell(size)
    for _ in range(count):
        grid = (rng.random((GRID + 1, GRID + 1)) < SHARE).astype(np.float32)
        y, x = (int(rng.integers(0, side)) for side in cell)
        yield grid, y, x


@record
class CoverContext:
    """What D-RISE may ask about the boxes of one picture.

    Attributes:
        size: (H, W) of the network's input.
        count: Number of masks M.
        seed: Of the masks.
        boxes: Number of boxes T.
        likeness: A mask float32 (H, W) in [0, 1] -> float64 (T,), how much of each box is found under it, in [0, 1].
        progress: Called after each mask with how many are done, and M.
    """

    size: tuple[int, int]
    count: int
    seed: int
    boxes: int
    likeness: Callable[[FloatArray], NDArray[np.float64]]
    progress: Callable[[int, int], None] = say_nothing

    def masks(self) -> Iterator[FloatArray]:
        """The masks, float32 (H, W) in [0, 1], the same ones every time: coarse grids, enlarged and shifted."""
        cell = choose_cell(self.size)
        for grid, y, x in draw_grids(self.size, self.count, self.seed):
            wide = enlarge(grid, ((GRID + 1) * cell[0], (GRID + 1) * cell[1]))
            yield np.clip(wide[y : y + self.size[0], x : x + self.size[1]], 0, 1)

    def weigh_masks(self) -> list[FloatArray]:
        """For each box the covariance of its likeness with what the masks show, at every place: float32 (H, W)."""
        found = np.zeros((self.count, self.boxes))
        for n, mask in enumerate(self.masks()):
            found[n] = self.likeness(mask)
            self.progress(n + 1, self.count)
        weights = (found - found.mean(axis=0)) / max(self.count, 1)
        maps: list[FloatArray] = []
        for start in range(0, self.boxes, _AT_ONCE):
            some = weights[:, start : start + _AT_ONCE].astype(np.float32)
            total = np.zeros((some.shape[1], *self.size), np.float32)
            for weight, mask in zip(some, self.masks(), strict=True):
                for t in np.flatnonzero(weight):
                    total[t] += weight[t] * mask
            maps += list(total)
        return maps


def weigh_channels(weights: NDArray[Any], activation: FloatArray) -> FloatArray:
    """sum_c w_c A_c: weights (C,) and activation (C, h, w) -> float32 (h, w)."""
    channels = activation.reshape(len(activation), -1)
    total: FloatArray = (np.asarray(weights, np.float32) @ channels).reshape(activation.shape[1:])
    return total
