"""Masks against masks: which pixels have their own class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
"""The class of pixels that are not judged, in the masks that people have."""


_STRIP = 1 << 20
"""Pixels that are counted at a time."""

PLACES = 64
"""Places along each side at which classes of pixels are kept, where whole masks would be too much."""


def sample_classes(classes: NDArray[np.int32]) -> NDArray[np.int32]:
    """The classes of pixels, int32 (H, W), at PLACES places each way, evenly spread: int32 (PLACES, PLACES)."""
    rows, columns = (((2 * np.arange(PLACES) + 1) * size // (2 * PLACES)).astype(np.int64) for size in classes.shape)
    return np.ascontiguousarray(classes[np.ix_(rows, columns)])


def share_of_same(before: NDArray[np.int32], after: NDArray[np.int32]) -> float:
    """Share of the pixels with one class in both, of those that both saw (0 or more); 1 where there are none."""
    seen = (before >= 0) & (after >= 0)
    return float((before[seen] == after[seen]).mean()) if seen.any() else 1.0


class PixelCounts:
    """The table of pixels by true and given class, over pictures.

    Attributes:
        count: Number of classes K.
        table: int64 (K, K): pixels by their own class (rows) and by the class given to them (columns).
        skipped: Pixels that were not judged.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.table = np.zeros((count, count), np.int64)
        self.skipped = 0

    def add(self, true: NDArray[Any], given: NDArray[Any], ignored: int = IGNORED) -> NDArray[np.bool_]:
        """Take in one picture.

        Args:
            true: Integers (H, W): each pixel's own class, `ignored` where it is not judged.
            given: Integers (H, W): the class that the network gives, below 0 where it saw nothing.
            ignored: The class that is not judged.

        Returns:
            bool (H, W): which pixels were judged.

        Raises:
            ValueError: The shapes differ, or a class is K or more.
        """
        if true.shape != given.shape:
            raise ValueError(f"masks of {true.shape} and {given.shape} pixels cannot be compared")
        judged: NDArray[np.bool_] = (true != ignored) & (given >= 0)
        largest = max(int(mask.max(initial=0, where=judged)) for mask in (true, given))
        if largest >= self.count:
            raise ValueError(f"class {largest} is beyond the {self.count} classes")
        rows = max(1, _STRIP // max(1, judged.shape[1]))
        for start in range(0, len(judged), rows):  # a photograph at once would take a few hundred megabytes
            part = slice(start, start + rows)
            own, answer = true[part][judged[part]].astype(np.int64), given[part][judged[part]]
            found = np.bincount(own * self.count + answer, minlength=self.count**2)
            self.table += found.reshape(self.count, self.count)
        self.skipped += int(judged.size - judged.sum())
        return judged

    @property
    def present(self) -> NDArray[np.int64]:
        """The classes that the true masks hold, ascending."""
        return np.flatnonzero(self.table.sum(axis=1))

    def overlaps(self) -> dict[int, float]:
        """Intersection over union of each class that the true masks hold."""
        right = np.diagonal(self.table)
        union = self.table.sum(axis=0) + self.table.sum(axis=1) - right
        return {int(k): float(right[k] / union[k]) for k in self.present}

    @property
    def mean_overlap(self) -> float:
        """mIoU: the mean over the classes that the true masks hold; NaN where no pixel was judged."""
        found = list(self.overlaps().values())
        return float(np.mean(found)) if found else float("nan")

    @property
    def agreement(self) -> float:
        """Share of the judged pixels that have their own class; 1 where none was judged."""
        total = self.table.sum()
        return float(np.trace(self.table) / total) if total else 1.0
