"""Where pictures lie in the embedding: principal components, neighbours, outliers, clusters. Everything is seeded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.image import choose_evenly
from inspector.scanning.columns import STEP, AnyRows, Columns, walk_rows

DIMENSIONS = 32
"""Principal components that neighbours are sought in."""
NEIGHBOURS = 10
"""Nearest pictures whose mean distance makes an outlier."""
_SAMPLE = 20_000
"""Pictures that components are computed from, that distances are measured to, and that clusters are begun with."""
_WIDEST = 4096
_NEAR_STEP = 16
"""Pictures whose distances to 20,000 others are in memory: 2.5 MB, and three times that while they are worked out."""


@dataclass(frozen=True)
class Components:
    """The pictures in their principal components.

    Attributes:
        values: float32 (n, r), r at most DIMENSIONS, centred; the first two columns are the map. In a file where the
            embeddings are.
        mean: Of each number of the embedding, float64 (D,).
        std: Of each number of the embedding, float64 (D,).
        explained: Share of the variance that each component holds, float64 (r,).
    """

    values: AnyRows
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    explained: NDArray[np.float64]


def reduce_embeddings(columns: Columns) -> Components:
    """Compute principal components of the embeddings, from at most 20,000 evenly chosen pictures.

    Each component's sign is that in which its largest weight is positive.
    """
    count, width = columns.embedding.shape
    chosen = np.array(choose_evenly(count, _SAMPLE))
    projection = None
    if width > _WIDEST:
        projection = np.random.default_rng(0).standard_normal((width, _WIDEST // 4)) / np.sqrt(_WIDEST // 4)
    # Piece by piece, and twice: all of them in double precision would be the largest thing in memory.
    mean, squares = np.zeros(width), np.zeros(width)
    for rows in _walk_chosen(columns, chosen):
        mean += rows.sum(axis=0) / len(chosen)
    inner = width if projection is None else projection.shape[1]
    covariance = np.zeros((inner, inner))
    for rows in _walk_chosen(columns, chosen):
        rows -= mean
        squares += np.square(rows).sum(axis=0)
        part = rows if projection is None else rows @ projection
        covariance += part.T @ part
    std = np.sqrt(squares / max(len(chosen), 1))
    spread, axes = np.linalg.eigh(covariance / max(len(chosen), 1))
    kept = min(DIMENSIONS, axes.shape[1])
    axes, spread = axes[:, ::-1][:, :kept], spread[::-1].clip(0)
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(kept)] < 0, -1, 1)
    axes = axes if projection is None else projection @ axes
    pieces = (((rows.astype(np.float64) - mean) @ axes).astype(np.float32) for _, rows in columns.walk("embedding"))
    return Components(columns.keep("components", pieces), mean, std, spread[:kept] / max(float(spread.sum()), 1e-300))


def _walk_chosen(columns: Columns, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(chosen), STEP):
        yield np.array(columns.embedding[chosen[start : start + STEP]], np.float64)


def measure_outliers(values: AnyRows) -> NDArray[np.float64]:
    """Mean distance of each picture to its nearest others, over the median of these: 1 is usual, float64 (n,).

    Ramaswamy, Rastogi & Shim, "Efficient algorithms for mining outliers" (2000). Of more than 20,000 pictures the
    nearest are sought among so many, evenly chosen.

    Args:
        values: Principal components, float32 (n, r).
    """
    count = len(values)
    chosen = np.array(choose_evenly(count, _SAMPLE))
    others = values[chosen].astype(np.float64)
    lengths = np.square(others).sum(axis=1)
    near = min(NEIGHBOURS, len(others) - 1)
    if near < 1:
        return np.ones(count)
    found = np.zeros(count)
    place = np.full(count, -1)
    place[chosen] = np.arange(len(chosen))
    for start, piece in walk_rows(values, _NEAR_STEP):
        rows = piece.astype(np.float64)
        far = np.square(rows).sum(axis=1)[:, None] + lengths - 2 * rows @ others.T
        own = place[start : start + len(rows)]
        far[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
        nearest = np.sort(np.partition(far, near - 1, axis=1)[:, :near], axis=1)
        found[start : start + len(rows)] = np.sqrt(nearest.clip(0)).mean(axis=1)
    usual = float(np.median(found))
    return found / usual if usual > 0 else found


def measure_class_distances(values: AnyRows, classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of each picture to the mean of its class, over the class's root mean square: 1 is usual, float64 (n,).

    Args:
        values: Principal components, float32 (n, r).
        classes: int64 (n,); -1 for none, which gives NaN.
    """
    own = classes >= 0
    size = int(classes.max(initial=-1)) + 1
    counts = np.bincount(classes[own], minlength=size)
    sums = np.zeros((size, values.shape[1]))
    for start, rows in walk_rows(values):
        known = own[start : start + len(rows)]
        np.add.at(sums, classes[start : start + len(rows)][known], rows[known].astype(np.float64))
    means = sums / np.maximum(counts, 1)[:, None]
    squares = np.full(len(values), np.nan)
    for start, rows in walk_rows(values):
        places = start + np.flatnonzero(own[start : start + len(rows)])
        squares[places] = np.square(rows[places - start].astype(np.float64) - means[classes[places]]).sum(axis=1)
    usual = np.sqrt(np.bincount(classes[own], squares[own], size) / np.maximum(counts, 1))
    found = np.full(len(values), np.nan)
    found[own] = np.sqrt(squares[own]) / np.where(usual > 0, usual, 1)[classes[own]]
    return found


def find_clusters(values: AnyRows, most: int = 24) -> NDArray[np.int64]:
    """The cluster of each picture by k-means, int64 (n,); 0 is the largest.

    There are sqrt(n / 2) of them, `most` at most. They begin with k-means++ (Arthur & Vassilvitskii 2007) of seed 0 and
    move at most 50 times (Lloyd 1982), on at most 20,000 evenly chosen pictures.

    Args:
        values: Principal components, float32 (n, r).
        most: How many clusters at most.
    """
    count = max(1, min(most, int(np.sqrt(len(values) / 2))))
    sample = np.array(values[np.array(choose_evenly(len(values), _SAMPLE))])
    centers = _seed_centers(sample, count)
    for _ in range(50):
        near = _assign(sample, centers)
        sizes = np.bincount(near, minlength=count)
        sums = np.stack([np.bincount(near, column.astype(np.float64), count) for column in sample.T], axis=1)
        moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centers)
        if np.array_equal(moved, centers):
            break
        centers = moved
    found = _assign(values, centers)
    rank = np.empty(count, np.int64)
    rank[np.argsort(-np.bincount(found, minlength=count), kind="stable")] = np.arange(count)
    return np.asarray(rank[found])


def _seed_centers(sample: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    centers = [sample[rng.integers(len(sample))].astype(np.float64)]
    far = _measure_far(sample, centers[0])
    while len(centers) < count:
        total = far.sum()
        at = int(np.searchsorted(np.cumsum(far), rng.random() * total)) if total > 0 else len(centers)
        centers.append(sample[min(at, len(sample) - 1)].astype(np.float64))
        far = np.minimum(far, _measure_far(sample, centers[-1]))
    return np.array(centers)


def _measure_far(rows: AnyRows, center: NDArray[np.float64]) -> NDArray[np.float64]:
    """The squared distance of each row to a center."""
    return np.concatenate([np.square(piece - center).sum(axis=1) for _, piece in walk_rows(rows)])


def _assign(rows: AnyRows, centers: NDArray[np.float64]) -> NDArray[np.int64]:
    """The nearest center of each row."""
    lengths = np.square(centers).sum(axis=1)
    return np.concatenate([(lengths - 2 * x.astype(np.float64) @ centers.T).argmin(axis=1) for _, x in walk_rows(rows)])
