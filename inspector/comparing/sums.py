"""What is kept of a pair of layers: sums over pictures, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inspector.agreement import SignalToNoise, sum_squares
from inspector.comparing.likeness import LinearCka

LayerValues = NDArray[np.float32]


@dataclass
class PairSums:
    """Sums of one pair of layers.

    Attributes:
        drift: Of B's values against A's.
        own: Of what B's segment makes of A's values against A's.
        allowed: float64 (C,), sums of the squared differences that rounding explains.
        max_abs: Largest difference between B's values and A's; inf where not the same places are finite.
        cka: Of the pair.
        a_shape: Of A's values, channels first.
        b_shape: Of B's.
        pictures: How many were taken in.
        broken: Why nothing could be measured on a picture; else empty.
    """

    drift: SignalToNoise = field(default_factory=SignalToNoise)
    own: SignalToNoise = field(default_factory=SignalToNoise)
    allowed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    max_abs: float = 0.0
    cka: LinearCka = field(default_factory=LinearCka)
    a_shape: tuple[int, ...] = ()
    b_shape: tuple[int, ...] = ()
    pictures: int = 0
    broken: str = ""

    def add(self, a: LayerValues, b: LayerValues) -> None:
        """Take in one picture: float32 (C, ...) of A and of B, laid out alike."""
        rows, others = a.reshape(len(a), -1), b.reshape(len(a), -1)
        self.pictures += 1
        with np.errstate(over="ignore", invalid="ignore"):
            difference = np.abs(rows - others)
            self.max_abs = max(self.max_abs, _find_largest(difference, rows, others))
            self.cka.add(rows.mean(axis=1, dtype=np.float64), others.mean(axis=1, dtype=np.float64))
        self.drift.add(*_agree_on_infinity(rows, others))

    def add_own(self, a: LayerValues, own: LayerValues, allowed: NDArray[np.float64]) -> None:
        """Take in one picture: A's values, what B makes of A's, and the squared differences (C,) that are let pass."""
        rows, others = _agree_on_infinity(a.reshape(len(a), -1), own.reshape(len(a), -1))
        self.own.add(rows, others)
        self.allowed = allowed + (self.allowed if self.allowed.size else 0)

    @property
    def excess(self) -> NDArray[np.float64]:
        """Of each channel (C,), how many times its own error is what rounding explains."""
        if not self.own.noise.size:
            return np.zeros(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.sqrt(self.own.noise / self.allowed)
        ratio = np.where(self.own.noise == 0, 0.0, ratio)
        found: NDArray[np.float64] = np.nan_to_num(ratio, nan=np.inf, posinf=np.inf)
        return found

    @property
    def began(self) -> float:
        """The share of the drift in this layer that began in it, in [0, 1]."""
        total, own = float(self.drift.noise.sum()), float(self.own.noise.sum())
        if not own > 0:
            return 0.0
        return min(1.0, own / total) if total > 0 and np.isfinite(total) else 1.0


def measure_power(values: LayerValues, others: LayerValues | None = None) -> NDArray[np.float64]:
    """Sum the squares of each channel.

    Args:
        values: float32 (C, ...).
        others: Laid out alike; with it, the squares of the differences are summed.

    Returns:
        float64 (C,). What is no number, or infinite, counts as 0: else one pixel would hide the others.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rows = values if others is None else np.subtract(values, others).astype(np.float64)
        found = sum_squares(rows.reshape(len(values), -1))
    if not np.isfinite(found).all():
        rows = _zero_broken(values) if others is None else _zero_broken(values) - _zero_broken(others)
        found = sum_squares(rows.reshape(len(values), -1))
    return found


def _zero_broken(values: LayerValues) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _find_largest(difference: LayerValues, rows: LayerValues, others: LayerValues) -> float:
    largest = float(difference.max(initial=0.0))
    if np.isfinite(largest):
        return largest
    rows, others = _agree_on_infinity(rows, others)
    largest = float(np.abs(rows - others).max(initial=0.0))
    return largest if np.isfinite(largest) else float("inf")


def _agree_on_infinity(rows: LayerValues, others: LayerValues) -> tuple[LayerValues, LayerValues]:
    """The same, with zeros where both have the same NaN or infinity."""
    if np.isfinite(rows.sum()):
        return rows, others
    same = ~np.isfinite(rows) & ((rows == others) | (np.isnan(rows) & np.isnan(others)))
    return np.where(same, np.float32(0), rows), np.where(same, np.float32(0), others)
