"""How well a number parts what a network knows from what it does not, and the three numbers that are tried.

Energy: Liu, Wang, Owens, Li: Energy-based Out-of-distribution Detection, 2020 (arXiv:2010.03759), equation 4, T = 1.
Mahalanobis: Lee, Lee, Lee, Shin: A Simple Unified Framework for Detecting Out-of-Distribution Samples, 2018
(arXiv:1807.03888), equation 2, on the features before the last layer. The nearest class mean is the same without the
covariance. The larger, the less is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
_MANY = 5
"""Pictures for each feature from which the covariance is taken as it is."""


@dataclass(frozen=True)
class ClassCenters:
    """Where the features of the classes lie.

    Attributes:
        origin: float64 (C,), the mean of all; it is taken off first, so that nothing cancels.
        turn: float64 (C, R), what makes distances of differences: precision = turn @ turn.T; None for plain distances.
        means: float64 (M, R), the mean of each class after both.
        shrunk: The share of the covariance that was replaced by that of equal directions.
    """

    origin: Rows
    turn: Rows | None
    means: Rows
    shrunk: float = 0.0

    def measure(self, features: Rows) -> Rows:
        """The squared distance to the nearest class: features (N, C) -> float64 (N,)."""
        moved = features - self.origin
        if self.turn is not None:
            moved = moved @ self.turn
        return np.array([np.square(row - self.means).sum(axis=1).min() for row in moved])


def measure_energy(scores: Rows) -> Rows:
    """-log sum_k exp(z_k): scores (N, K) -> float64 (N,)."""
    top = scores.max(axis=1)
    found: Rows = -(top + np.log(np.exp(scores - top[:, None]).sum(axis=1)))
    return found


def fit_centers(features: Rows, labels: NDArray[np.int64], covariance: bool) -> ClassCenters:
    """The means of the classes, and their common covariance.

    With fewer than five pictures for each feature the covariance is shrunk towards equal directions by the share that
    Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004, derive.

    Args:
        features: float64 (N, C).
        labels: int64 (N,), any numbers; classes without a picture have no mean.
        covariance: Whether directions count by how much the features vary along them.
    """
    origin = features.mean(axis=0)
    moved = features - origin
    classes = np.unique(labels)
    means = np.stack([moved[labels == k].mean(axis=0) for k in classes])
    if not covariance:
        return ClassCenters(origin, None, means)
    left = moved - means[np.searchsorted(classes, labels)]
    count, size = left.shape
    spread = left.T @ left / count
    level = float(np.trace(spread)) / size
    share = 0.0
    if count < _MANY * size:
        distance = float(np.square(spread - level * np.eye(size)).sum())
        error = (float(np.square(np.square(left).sum(axis=1)).sum()) / count - float(np.square(spread).sum())) / count
        share = min(max(error, 0.0), distance) / distance if distance else 1.0
    shrunk = (1 - share) * spread + share * level * np.eye(size)
    values, vectors = np.linalg.eigh(shrunk)
    kept = values > 1e-7 * max(float(values[-1]), 1e-300)
    turn = vectors[:, kept] / np.sqrt(values[kept])
    return ClassCenters(origin, turn, means @ turn, share)


def measure_separation(known: Rows, outliers: Rows) -> tuple[float, float]:
    """(AUROC, FPR at 95 % TPR) of a number that is larger for outliers.

    The first is the share of pairs of a known picture and an outlier in which the outlier's number is the larger one,
    equal ones counting half; the second the share of known pictures that are alarmed where 95 % of the outliers are.

    Args:
        known: float64 (N,).
        outliers: float64 (M,).
    """
    order = np.sort(known)
    below = np.searchsorted(order, outliers, "left") + np.searchsorted(order, outliers, "right")
    area = float(below.mean()) / (2 * len(known))
    found = np.sort(outliers)[::-1][int(np.ceil(0.95 * len(outliers))) - 1]
    return area, float((known >= found).mean())


def summarise(known: Rows, outliers: Rows) -> dict[str, Any]:
    """The same as the keys of a document."""
    area, alarms = measure_separation(known, outliers)
    return {"auroc": area, "fpr_at_95_tpr": alarms}
