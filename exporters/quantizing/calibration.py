"""Which values a tensor has on pictures, and the grid of integers that fits them best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporters.quantizing.quantizable import Array, QuantizeError
from inspector.model import Model

_KEPT_VALUES = 65_536
"""Values of each tensor kept to choose its grid."""


@dataclass
class TensorRange:
    """What is known of one tensor over the calibration pictures.

    Attributes:
        low: The smallest value of all pictures, at most 0.
        high: The largest value of all pictures, at least 0.
        values: A sample of the values, one float32 (n,) for each picture.
        total: float64 (C,), the sum by channel.
        count: How many values of each channel are in `total`.
    """

    low: float = 0.0
    high: float = 0.0
    values: list[NDArray[np.float32]] = field(default_factory=list)
    total: NDArray[np.float64] | float = 0.0
    count: int = 0

    def add(self, array: Array, share: int) -> None:
        """Take in one picture's tensor (1, C, ...); `share` of its values are kept."""
        if not array.size:  # a detector that finds nothing
            return
        self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))
        flat = array.reshape(-1)
        step = max(1, flat.size // share)
        self.values.append(np.array(flat[:: step | 1], np.float32))
        if array.ndim >= 2:
            axes = tuple(i for i in range(array.ndim) if i != 1)
            self.total = self.total + array.sum(axis=axes, dtype=np.float64)
            self.count += array.size // array.shape[1]

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean by channel: float64 (C,)."""
        return np.asarray(self.total, np.float64) / max(1, self.count)


@dataclass(frozen=True)
class Grid:
    """Values are (q - zero) * scale with q in 0..255."""

    scale: np.float32
    zero: int


def calibrate(source: Model, names: list[str], tensors: Iterable[Array], count: int) -> dict[str, TensorRange]:
    """Measure tensors of the source network over the calibration pictures.

    Args:
        source: The float model.
        names: The tensors to measure.
        tensors: Inputs of the model, float32 (1, C, H, W) each.
        count: How many inputs there are; it decides how many values of each are kept.

    Returns:
        What is known of each tensor, by name.

    Raises:
        QuantizeError: A value is not finite.
    """
    found = {name: TensorRange() for name in names}
    share = max(256, _KEPT_VALUES // max(1, count))
    own = source.input.name
    for tensor in tensors:
        values = source.run(tensor, [name for name in names if name != own])
        values[own] = tensor
        for name in names:
            array = np.asarray(values[name], np.float32)
            if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
                raise QuantizeError(f"{source.path} gives values that are not finite, in {name!r}", "audit it first")
            found[name].add(array, share)
    return found


def choose_grid(known: TensorRange) -> Grid:
    """Choose the grid with the smallest mean of the error's third power on the sample, among shrunken ranges.

    The second power clips more of the rare large values, which carry answers; the fourth hardly clips at all.
    Zero is always on the grid, since convolutions pad with zero.
    """
    if not known.values:
        return Grid(np.float32(1.0), 0)
    values = np.concatenate(known.values)
    low, high = min(0.0, known.low), max(0.0, known.high)
    if high - low < 1e-12:
        return Grid(np.float32(1.0), 0)
    best, least = _fit_grid(low, high), np.inf
    whole = best.scale
    for share in np.linspace(1.0, 0.4, 25):
        for one_sided in (False, True) if low < 0 < high else (False,):
            # Both ends are shrunk together, or only the longer one.
            longer = high >= -low
            a = low if one_sided and longer else low * share
            b = high if one_sided and not longer else high * share
            grid = _fit_grid(a, b)
            q = np.clip(np.rint(values / grid.scale) + grid.zero, 0, 255)
            # In steps of the whole range: the third power of large values has no place in float32.
            steps = np.abs((q - grid.zero) * grid.scale - values) / whole
            error = float((steps**3).mean(dtype=np.float64))
            if error < least:
                best, least = grid, error
    return best


def _fit_grid(low: float, high: float) -> Grid:
    scale = np.float32((high - low) / 255)
    # Rounded down, so that the top of the grid never lies above a clip's bound, which the runtime checks exactly.
    if float(scale) * 255 > high - low:
        scale = np.nextafter(scale, np.float32(0))
    scale = max(scale, np.float32(np.finfo(np.float32).tiny))
    return Grid(scale, int(np.clip(round(-low / float(scale)), 0, 255)))
