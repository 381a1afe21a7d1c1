"""Linear CKA of two layers over pictures, from sums."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
"""Pictures whose features are held at once."""
FEWEST = 3
"""Pictures below which any two layers are alike: two points always lie on a line."""


@dataclass
class LinearCka:
    """Linear centered kernel alignment.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited":
    CKA = |Y'X|^2 / (|X'X| |Y'Y|) in Frobenius norms, with X and Y (pictures, channels) the means of each channel over
    its places, centered over the pictures. With up to 64 pictures it is exactly that. With more, numerator and
    denominators are sums over blocks of 64 (Nguyen, Raghu and Kornblith 2021, "Do Wide and Deep Networks Learn the
    Same Things?"), so that memory does not grow with their number.
    """

    _a: list[NDArray[np.float64]] = field(default_factory=list, repr=False)
    _b: list[NDArray[np.float64]] = field(default_factory=list, repr=False)
    _sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3), repr=False)
    pictures: int = 0

    def add(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
        """Take in the features of one picture: float64 (C,) of each layer; their numbers of channels may differ."""
        self._a.append(a)
        self._b.append(b)
        self.pictures += 1
        if len(self._a) == BLOCK:
            self._sums = self._sums + self._measure()
            self._a.clear()
            self._b.clear()

    @property
    def value(self) -> float | None:
        """In [0, 1]; None for fewer than three pictures, and for layers that do not change with the picture."""
        sums = self._sums + self._measure() if len(self._a) >= FEWEST else self._sums
        if self.pictures < FEWEST or not np.isfinite(sums).all() or sums[1] * sums[2] <= 0:
            return None
        return float(min(1.0, sums[0] / np.sqrt(sums[1] * sums[2])))

    def _measure(self) -> NDArray[np.float64]:
        """(|Y'X|^2, |X'X|^2, |Y'Y|^2) of the pictures at hand, by way of the products of pictures with each other."""
        grams = []
        for rows in (self._a, self._b):
            features = np.array(rows)
            features = features - features.mean(axis=0)
            grams.append(features @ features.T)
        a, b = grams
        return np.array([np.vdot(a, b), np.vdot(a, a), np.vdot(b, b)])
