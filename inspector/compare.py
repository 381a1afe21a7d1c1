"""How far one set of activations is from another, in dB."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LIMIT_DB = 100.0
"""Differences below this, and signals drowned as deep, are not told apart; float32 ends at some 140 dB."""

FAINT = 1e-2
"""A channel below this share of its layer's mean power is left out of "the worst channel": nothing rests on it."""


def decibels(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """10 log10(signal / noise), clipped to +-100 dB: signal is a sum of squares, noise of squared differences.

    No noise is +100 dB, also without a signal; noise that is not a number is -100 dB.
    """
    signal, noise = np.asarray(signal, np.float64), np.asarray(noise, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(signal / noise)
    ratio = np.where(noise == 0, LIMIT_DB, ratio)
    found: NDArray[np.float64] = np.nan_to_num(ratio, nan=-LIMIT_DB, posinf=LIMIT_DB, neginf=-LIMIT_DB).clip(
        -LIMIT_DB, LIMIT_DB
    )
    return found


@dataclass
class SignalToNoise:
    """Sums of one layer over pictures.

    signal: float64 (C,), sum of squares of the reference. noise: float64 (C,), sum of squared differences.
    """

    signal: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    noise: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, reference: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        """Take in the same layer of the same picture from both: float32 (C, ...) of equal shape."""
        first = reference.reshape(len(reference), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            difference = first - other.reshape(first.shape)
            signal = np.einsum("ij,ij->i", first, first).astype(np.float64)
            noise = np.einsum("ij,ij->i", difference, difference).astype(np.float64)
        self.signal = signal + (self.signal if self.signal.size else 0)
        self.noise = noise + (self.noise if self.noise.size else 0)

    @property
    def layer_db(self) -> float:
        """Of the layer as a whole."""
        return float(decibels(self.signal.sum(), self.noise.sum()))

    def channels_db(self) -> NDArray[np.float64]:
        """Of each channel (C,)."""
        return decibels(self.signal, self.noise)

    def worst_channel(self) -> tuple[int, float]:
        """(channel, dB) of the worst channel that carries a signal worth the name."""
        found = self.channels_db()
        strong = self.signal >= FAINT * self.signal.mean() if self.signal.size else np.zeros(0, bool)
        masked = np.where(strong | ~np.isfinite(self.signal), found, np.inf)
        worst = int(masked.argmin()) if np.isfinite(masked).any() else int(found.argmin())
        return worst, float(found[worst])


def signal_to_noise(reference: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """dB of one array against another of the same shape, as a whole."""
    sums = SignalToNoise()
    sums.add(reference.reshape(1, -1), other.reshape(1, -1))
    return sums.layer_db
