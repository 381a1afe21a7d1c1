"""Whether a score of 0.8 means that four of five are right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
_STRIP = 1 << 20
"""Answers that are summed at a time: a photograph has millions of pixels."""


@dataclass
class CalibrationSums:
    """Sums per bin of confidence, which grow with neither pictures nor pixels.

    A bin is (low, high], the first one [0, high].

    Attributes:
        bins: How many bins of equal width from 0 to 1.
        counts: Answers in each bin (bins,).
        sure: Sum of their confidence (bins,).
        right: How many of them are right (bins,).
    """

    bins: int = BINS
    counts: NDArray[np.float64] = field(init=False)
    sure: NDArray[np.float64] = field(init=False)
    right: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts, self.sure, self.right = (np.zeros(self.bins) for _ in range(3))

    def add(self, confidence: NDArray[Any], right: NDArray[np.bool_]) -> None:
        """Take in answers: their confidence in [0, 1] and whether each was right, of one shape."""
        sure, good = np.asarray(confidence).reshape(-1), np.asarray(right).reshape(-1)
        for start in range(0, len(sure), _STRIP):
            flat = sure[start : start + _STRIP].astype(np.float64)
            place = np.clip(np.ceil(flat * self.bins).astype(int) - 1, 0, self.bins - 1)
            self.counts += np.bincount(place, minlength=self.bins)
            self.sure += np.bincount(place, flat, self.bins)
            self.right += np.bincount(place, good[start : start + _STRIP].astype(np.float64), self.bins)

    @property
    def total(self) -> int:
        """How many answers were taken in."""
        return int(self.counts.sum())

    @property
    def error(self) -> float:
        """Expected calibration error: sum over bins of n_b / N * |accuracy_b - confidence_b| (Naeini 2015)."""
        return float(np.abs(self.right - self.sure).sum() / max(1, self.total))

    @property
    def gap(self) -> float:
        """Mean confidence less the share that is right: above 0, the answers are too sure."""
        return float((self.sure - self.right).sum() / max(1, self.total))

    def rows(self, what: str = "pictures") -> list[dict[str, float]]:
        """A row for each bin that is not empty, with the number of its answers under the name `what`."""
        return [
            {"low": k / self.bins, "high": (k + 1) / self.bins, what: int(self.counts[k]),
             "confidence": float(self.sure[k] / self.counts[k]), "accuracy": float(self.right[k] / self.counts[k])}
            for k in np.flatnonzero(self.counts).tolist()
        ]  # fmt: skip


def measure_calibration_error(
    confidence: NDArray[Any], right: NDArray[np.bool_], bins: int = BINS
) -> tuple[float, list[dict[str, float]]]:
    """(ECE, bins): sum over bins of n_b / N * |accuracy_b - confidence_b|.

    Args:
        confidence: float (N,) in [0, 1].
        right: bool (N,), whether the answer was right.
        bins: How many bins of equal width.
    """
    sums = CalibrationSums(bins)
    sums.add(confidence, right)
    return sums.error, sums.rows()
