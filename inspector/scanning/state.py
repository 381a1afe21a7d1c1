"""What a shard of a scan has summed up. States merge with ``+``, in any order, to the same.

Everything in a state is a whole number, a minimum, a maximum, an exact sum, or a row of one picture; so no order of
merging rounds in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.scanning.listing import ScanError


@dataclass(frozen=True)
class ChannelSums:
    """What is summed over pictures for the channels of all layers, one after the other: C of them.

    Attributes:
        pictures: How many pictures.
        elements: Elements of each layer on all pictures, int64 (L,).
        non_finite: NaN and infinite elements of each layer, int64 (L,).
        zeros: Elements that are exactly 0, int64 (C,).
        blank: Pictures on which the channel is constant, int64 (C,).
        active: Pictures on which it is above 0 somewhere, int64 (C,).
        low: Smallest value, float32 (C,); infinite before the first picture.
        high: Largest value, float32 (C,).
        mean: Exact sum of the channel's mean on each picture, int64 (C, CELLS).
        square: The same of its mean square.
        mean_square: The same of the square of its mean.
        peak: The same of its largest value.
        zero_square: Exact sum of the square of each layer's share of zeros on each picture, int64 (L, CELLS).
        histogram: Pictures by their largest value, uint32 (C, BINS).
        class_rows: The classes that occur, ascending, int64 (R,).
        class_counts: Pictures of each, int64 (R,).
        class_sums: Sums of the channel's mean by class, in units of 2^-24, int64 (R, C).
        top_values: The largest values, one a picture, best first, float32 (C, k); -inf where there are fewer.
        top_pictures: Numbers of these pictures, int64 (C, k); -1 where there are fewer.
        top_places: (row, column) in the picture's map, int32 (C, k, 2).
    """

    pictures: int
    elements: NDArray[np.int64]
    non_finite: NDArray[np.int64]
    zeros: NDArray[np.int64]
    blank: NDArray[np.int64]
    active: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.int64]
    square: NDArray[np.int64]
    mean_square: NDArray[np.int64]
    peak: NDArray[np.int64]
    zero_square: NDArray[np.int64]
    histogram: NDArray[np.uint32]
    class_rows: NDArray[np.int64]
    class_counts: NDArray[np.int64]
    class_sums: NDArray[np.int64]
    top_values: NDArray[np.float32]
    top_pictures: NDArray[np.int64]
    top_places: NDArray[np.int32]

    def __add__(self, other: ChannelSums) -> ChannelSums:
        added = {name: getattr(self, name) + getattr(other, name) for name in ADDED}
        rows = np.union1d(self.class_rows, other.class_rows)
        counts = np.zeros(len(rows), np.int64)
        sums = np.zeros((len(rows), self.class_sums.shape[1]), np.int64)
        for one in (self, other):
            at = np.searchsorted(rows, one.class_rows)
            counts[at] += one.class_counts
            sums[at] += one.class_sums
        values, pictures, places = merge_top(self, other)
        return ChannelSums(
            **added,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            class_rows=rows,
            class_counts=counts,
            class_sums=sums,
            top_values=values,
            top_pictures=pictures,
            top_places=places,
        )


ADDED = (
    "pictures", "elements", "non_finite", "zeros", "blank", "active", "mean", "square", "mean_square", "peak",
    "zero_square", "histogram",
)  # fmt: skip
"""What of :class:`ChannelSums` is merged by adding."""


def merge_top(one: ChannelSums, other: ChannelSums) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]:
    """The k best of two times k, of equal values that of the picture that comes first in the list."""
    keep = one.top_values.shape[1]
    values = np.concatenate([one.top_values, other.top_values], axis=1)
    pictures = np.concatenate([one.top_pictures, other.top_pictures], axis=1)
    places = np.concatenate([one.top_places, other.top_places], axis=1)
    order = order_top(values, pictures)[:, :keep]
    return (
        np.take_along_axis(values, order, axis=1),
        np.take_along_axis(pictures, order, axis=1),
        np.take_along_axis(places, order[:, :, None], axis=1),
    )


def order_top(values: NDArray[np.float32], pictures: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order of each row (C, n) by value, largest first; of equal values by picture, those without any last."""
    by_picture = np.argsort(np.where(pictures < 0, np.iinfo(np.int64).max, pictures), axis=1, kind="stable")
    sorted_values = np.take_along_axis(values, by_picture, axis=1)
    by_value = np.argsort(-sorted_values, axis=1, kind="stable")
    return np.take_along_axis(by_picture, by_value, axis=1)


@dataclass(frozen=True)
class PictureRows:
    """What is kept of each picture that could be read: n of them, in the order of their numbers.

    Attributes:
        number: PatchPlace in the list, int64 (n,).
        label: Class of its label, int32 (n,); -1 without one.
        size: (width, height) as it is seen, int32 (n, 2).
        digest: The first 16 bytes of SHA-256 over its file, uint8 (n, 16).
        top_classes: The most likely classes, best first, int32 (n, m); m is 0 for a network without classes.
        top_probabilities: Their probabilities, float32 (n, m).
        label_probability: That of the label's class; NaN without one, float32 (n,).
        entropy: Of all probabilities, in nats, float32 (n,); NaN without classes.
        embedding: Mean of the embedding layer over its positions, float16 (n, D).
        small: The picture as the network sees it, grey, uint8 (n, 32, 32).
    """

    number: NDArray[np.int64]
    label: NDArray[np.int32]
    size: NDArray[np.int32]
    digest: NDArray[np.uint8]
    top_classes: NDArray[np.int32]
    top_probabilities: NDArray[np.float32]
    label_probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    embedding: NDArray[np.float16]
    small: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.number)

    def __bool__(self) -> bool:
        return True

    def __add__(self, other: PictureRows) -> PictureRows:
        order = np.argsort(np.concatenate([self.number, other.number]), kind="stable")
        joined = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])[order] for name in vars(self)
        }  # fmt: skip
        return PictureRows(**joined)


@dataclass(frozen=True)
class ScanState:
    """What some shards of a scan have summed up.

    Attributes:
        scan: Digest of the scan's plan: only states of the same scan merge.
        ranges: (first, end) of the numbers of the pictures that it covers, ascending, none touching the next.
        sums: Of the channels.
        rows: Of the pictures; None where only the sums were read.
        skipped: (number, reason) of each picture that could not be used, ascending.
    """

    scan: str
    ranges: tuple[tuple[int, int], ...]
    sums: ChannelSums
    rows: PictureRows | None = field(repr=False)
    skipped: tuple[tuple[int, str], ...] = field(default=(), repr=False)

    @property
    def pictures(self) -> int:
        """How many pictures were used."""
        return self.sums.pictures

    def __add__(self, other: ScanState) -> ScanState:
        """Merge two states of one scan.

        Raises:
            ScanError: They are of different scans, or both cover some picture.
        """
        if self.scan != other.scan:
            raise ScanError(
                "the states are of different scans: the model, the layers, the pictures or the options differ",
                "merge only what the same command made",
            )
        rows = self.rows + other.rows if self.rows is not None and other.rows is not None else None
        return ScanState(
            self.scan,
            join_ranges((*self.ranges, *other.ranges)),
            self.sums + other.sums,
            rows,
            tuple(sorted((*self.skipped, *other.skipped))),
        )

    def without_rows(self) -> ScanState:
        """The same without what grows with the number of pictures, but for those that were skipped."""
        return replace(self, rows=None)


def join_ranges(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Ranges in order, those that touch made into one.

    Raises:
        ScanError: Two overlap.
    """
    joined: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if joined and first < joined[-1][1]:
            raise ScanError(f"pictures {first} to {min(end, joined[-1][1]) - 1} are in two states", "merge each once")
        if joined and first == joined[-1][1]:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((first, end))
    return tuple(joined)


def list_arrays(part: ChannelSums | PictureRows) -> Mapping[str, Any]:
    """The arrays of a part of a state, by name."""
    return {name: value for name, value in vars(part).items() if isinstance(value, np.ndarray)}
