"""What the activations of a layer amount to: statistics per layer and per channel."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import wrong_type
from inspector.records import record

_PIECE = 1 << 19
"""Elements that are gone through at a time: the second look at them finds them in the processor's cache."""


@record
class LayerStatistics:
    """Statistics of one layer on one picture, over all its elements and for each channel.

    Attributes:
        minimum: Smallest finite element; NaN when there is none.
        maximum: Largest finite element; NaN when there is none.
        mean: Mean of the finite elements; NaN when there are none.
        std: Standard deviation of the finite elements, that of a population; NaN when there are none.
        zero_fraction: Share of elements that are exactly 0, in [0, 1]; NaN when there are no elements.
        blank_channels: Channels whose map is constant on this picture. A map of one element is never listed.
        non_finite: Number of NaN and infinite elements.
        channel_minimum: float32 (C,).
        channel_maximum: float32 (C,).
        channel_mean: float32 (C,).
        channel_std: float32 (C,).
        channel_zero_fraction: float32 (C,), in [0, 1].
    """

    minimum: float
    maximum: float
    mean: float
    std: float
    zero_fraction: float
    blank_channels: tuple[int, ...]
    non_finite: int
    channel_minimum: NDArray[np.float32] = field(repr=False)
    channel_maximum: NDArray[np.float32] = field(repr=False)
    channel_mean: NDArray[np.float32] = field(repr=False)
    channel_std: NDArray[np.float32] = field(repr=False)
    channel_zero_fraction: NDArray[np.float32] = field(repr=False)

    def table(self) -> NDArray[np.float32]:
        """float32 (C, 5): minimum, maximum, mean, std, zero fraction of each channel."""
        return np.stack(
            [
                self.channel_minimum,
                self.channel_maximum,
                self.channel_mean,
                self.channel_std,
                self.channel_zero_fraction,
            ],
            axis=1,
        )


def take_first(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values of the first picture, (C, ...).

    A layer that is empty on it, as a detector's list of boxes is where it finds nothing, gives (C, 0).

    Args:
        values: The layer's activations, float32 (N, C, ...).
    """
    return values[0] if values.size else np.empty((*values.shape[1:2], 0), np.float32)


def statistics(values: NDArray[np.float32]) -> LayerStatistics:
    """Compute the statistics of one layer on one picture.

    Args:
        values: The layer's activations, float32 (C, H, W), (C, ...) or (K,). They are not changed.

    Returns:
        The statistics over all elements and for each channel; NaN where there are no elements.

    Raises:
        UsageError: It is no array of numbers.

    Example:
        >>> statistics(np.float32([[[0, 1], [2, 3]], [[5, 5], [5, 5]]])).blank_channels
        (1,)
    """
    values = _take_numbers(values)
    if not values.size:
        return _summarise_nothing(len(values))
    maps = values.reshape(len(values), -1) if values.ndim > 1 else values.reshape(-1, 1)
    size = maps.shape[1]
    step = max(1, _PIECE // size)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        pieces = [_measure_channels(maps[at : at + step]) for at in range(0, len(maps), step)]
        low, high, square, mean, zeros = (np.concatenate(found) for found in zip(*pieces, strict=True))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            # min and max carry NaN and infinities on, so only then is a look at every element paid for.
            finite = np.isfinite(maps)
            return _summarise_finite(maps, finite, int(finite.size - np.count_nonzero(finite)))
        square /= np.float32(size)
        if not np.isfinite(square).all():
            return _summarise_finite(maps, np.ones(maps.shape, np.bool_), 0)
        mean = mean.clip(low, high)
        variance = np.maximum(square.astype(np.float64) - mean.astype(np.float64) ** 2, 0)
    # E[x^2] - E[x]^2 loses its digits where the mean is large against the spread: do those channels in two passes.
    # The same where squares fall below what float32 can hold.
    unsure = (variance <= 0.1 * square) | (square < 1e-30)
    variance[low == high] = 0
    unsure &= low != high
    if unsure.any():
        apart = maps[unsure].astype(np.float64)
        apart -= apart.mean(axis=1, keepdims=True)
        variance[unsure] = np.einsum("ij,ij->i", apart, apart) / size
    overall = float(mean.mean(dtype=np.float64))
    spread = variance.mean() + np.square(mean.astype(np.float64) - overall).mean()
    return LayerStatistics(
        # Plus zero: a minimum of -0.0 is 0.0.
        minimum=float(low.min()) + 0.0,
        maximum=float(high.max()) + 0.0,
        mean=overall,
        std=float(np.sqrt(spread)),
        zero_fraction=float(zeros.sum() / maps.size),
        blank_channels=tuple(np.flatnonzero(low == high).tolist()) if size > 1 else (),
        non_finite=0,
        channel_minimum=low,
        channel_maximum=high,
        channel_mean=mean,
        channel_std=np.sqrt(variance).astype(np.float32),
        channel_zero_fraction=(zeros / size).astype(np.float32),
    )


def _take_numbers(values: Any) -> NDArray[np.float32]:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub" or not values.ndim:
        raise wrong_type("values", values, "give an array of float32 (C, H, W), (C, ...) or (K,)")
    return values.astype(np.float32, copy=False)


def _measure_channels(maps: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
    """Of each channel of (C, K): minimum, maximum, sum of squares, mean, and how many elements are zero."""
    return (
        maps.min(axis=1),
        maps.max(axis=1),
        np.einsum("ij,ij->i", maps, maps, dtype=np.float32),
        maps.mean(axis=1),
        # Half the time that count_nonzero takes along an axis.
        np.add.reduce(maps == 0, axis=1, dtype=np.uint32),
    )


def _summarise_nothing(channels: int) -> LayerStatistics:
    unknown, each = float("nan"), np.full(channels, np.nan, np.float32)
    return LayerStatistics(unknown, unknown, unknown, unknown, unknown, (), 0, each, each, each, each, each)


def _summarise_finite(maps: NDArray[np.float32], finite: NDArray[np.bool_], bad: int) -> LayerStatistics:
    """The same over the finite elements alone."""
    counts = finite.sum(axis=1)
    kept = np.where(finite, maps, 0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(counts > 0, kept.sum(axis=1) / counts, np.nan)
        deviation = np.where(finite, kept - np.nan_to_num(mean)[:, None], 0)
        variance = np.where(counts > 0, np.square(deviation).sum(axis=1) / counts, np.nan)
    low = np.where(counts > 0, np.where(finite, maps, np.inf).min(axis=1), np.nan)
    high = np.where(counts > 0, np.where(finite, maps, -np.inf).max(axis=1), np.nan)
    zeros = np.count_nonzero(maps == 0, axis=1)
    every = maps[finite].astype(np.float64)
    some = every.size > 0
    return LayerStatistics(
        minimum=float(every.min()) + 0.0 if some else float("nan"),
        maximum=float(every.max()) + 0.0 if some else float("nan"),
        mean=float(every.mean()) if some else float("nan"),
        std=float(every.std()) if some else float("nan"),
        zero_fraction=float(zeros.sum() / maps.size),
        blank_channels=tuple(np.flatnonzero((low == high) & (counts == maps.shape[1])).tolist())
        if maps.shape[1] > 1
        else (),
        non_finite=bad,
        channel_minimum=low.astype(np.float32),
        channel_maximum=high.astype(np.float32),
        channel_mean=mean.astype(np.float32),
        channel_std=np.sqrt(variance).astype(np.float32),
        channel_zero_fraction=(zeros / maps.shape[1]).astype(np.float32),
    )
