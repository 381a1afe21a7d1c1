"""Pictures that are copies of one another though their files differ: scaled, encoded again, cut a little at the edges.

Candidates come from hash buckets, never from all pairs: the difference hash of `inspector/image/likeness.py`, and signs
of random projections of the embedding (M. Charikar, "Similarity estimation techniques from rounding algorithms", 2002),
which find those that were cut. Small grey pictures, laid over one another with a little cut away at any side, decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inspector.image.likeness import Groups, find_similar_pairs, hash_small
from inspector.scanning.columns import AnyRows, Columns, walk_rows

LEAST_CORRELATION = 0.97
"""Between the small pictures of copies, in the best position."""
_LEAST_COSINE = 0.8
"""Between the embeddings of candidates, about the mean of all."""
_TABLES = 12
_CUTS = ((0.0, 1.0), (0.0, 0.95), (0.05, 1.0), (0.025, 0.975), (0.05, 0.95), (0.0, 0.9), (0.1, 1.0))
"""What may be left of a side."""
_FLAT = 1.5
"""Standard deviation, in levels of 255, below which a small picture shows nothing but its brightness."""
_STEP = 256
_LARGEST = 1024
"""A bucket that holds more is cut into runs of so many, by another projection."""


def find_copies_of(columns: Columns, values: AnyRows) -> NDArray[np.int64]:
    """For each picture the row of the first of its group of copies; its own where it has none, int64 (n,).

    Args:
        columns: The pictures.
        values: Principal components of their embeddings, float32 (n, r).
    """
    count = len(columns)
    groups = Groups(count)
    _, first, inverse = np.unique(columns.digest, axis=0, return_index=True, return_inverse=True)
    earlier = first[inverse.reshape(-1)]
    for row in np.flatnonzero(earlier != np.arange(count)).tolist():
        groups.join(row, int(earlier[row]))
    for one, other in _find_candidates(columns, values):
        for start in range(0, len(one), _STEP):
            a, b = one[start : start + _STEP], other[start : start + _STEP]
            alike = match_small(columns.small[a], columns.small[b])
            for x, y in zip(a[alike].tolist(), b[alike].tolist(), strict=True):
                groups.join(x, y)
    return np.array(groups.firsts(), np.int64)


def _find_candidates(columns: Columns, values: AnyRows) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs that may be copies: (rows, rows of the others)."""
    hashes = [hash_small(_halve(small).astype(np.float32)) for _, small in columns.walk("small")]
    if hashes:
        yield from find_similar_pairs(np.concatenate(hashes))
    yield from _find_near(values)


def _find_near(values: AnyRows) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs whose embeddings point the same way, from buckets of the signs of random projections."""
    count = len(values)
    if count < 2:
        return
    bits = int(np.clip(np.ceil(np.log2(count)) - 3, 4, 20))
    rng = np.random.default_rng(0)
    seen: list[NDArray[np.int64]] = []
    for _ in range(_TABLES):
        planes = rng.standard_normal((values.shape[1], bits + 1)).astype(np.float32)
        keys, along = np.zeros(count, np.int32), np.zeros(count, np.float32)
        for start, rows in walk_rows(values):
            signs = rows @ planes
            keys[start : start + len(rows)] = (signs[:, :bits] > 0) @ (1 << np.arange(bits))
            along[start : start + len(rows)] = signs[:, bits]
        order = np.lexsort((along, keys))
        ends = [0, *(np.flatnonzero(np.diff(keys[order])) + 1).tolist(), count]
        pairs = [_pair_bucket(order[a:b], values) for a, b in pairwise(ends) if b - a > 1]
        # They ascend in every table; each table is kept by itself, so that none is copied into a larger one.
        new = np.sort(np.concatenate([np.zeros(0, np.int64), *pairs]))
        for old in seen:
            new = new[~_hold(old, new)]
        seen.append(new)
        yield new // count, new % count


def _hold(ascending: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values an ascending array holds."""
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    at = np.searchsorted(ascending, values)
    return np.asarray(ascending[np.minimum(at, len(ascending) - 1)] == values)


def _pair_bucket(bucket: NDArray[np.int64], values: AnyRows) -> NDArray[np.int64]:
    """The pairs of a bucket whose cosine is large enough, each as row * count + other row."""
    found = []
    for start in range(0, len(bucket), _LARGEST):
        rows = np.sort(bucket[start : start + _LARGEST])
        own = values[rows]
        own = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
        one, other = np.nonzero(np.triu(own @ own.T >= _LEAST_COSINE, 1))
        found.append(rows[one] * len(values) + rows[other])
    return np.concatenate(found)


def match_small(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether small grey pictures (n, 32, 32) show the same, bool (n,), but for brightness, contrast and a cut edge."""
    flat = np.maximum(a.std(axis=(1, 2)), b.std(axis=(1, 2))) < _FLAT
    close = np.abs(a.mean(axis=(1, 2)) - b.mean(axis=(1, 2))) < _FLAT
    best = np.maximum(_correlate_best(a, b), _correlate_best(b, a))
    return np.asarray(np.where(flat, close, best >= LEAST_CORRELATION))


def _correlate_best(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The largest correlation of `b` with `a` cut at its sides, float32 (n,)."""
    whole = _standardise(_halve(b))
    best = np.full(len(a), -1, np.float32)
    size = a.shape[1]
    matrices = [_make_window(low, high, size, size // 2) for low, high in _CUTS]
    source = a.astype(np.float32)
    for vertical in matrices:
        rows = np.einsum("ij,njk->nik", vertical, source)
        for horizontal in matrices:
            part = np.einsum("nik,lk->nil", rows, horizontal)
            best = np.maximum(best, (_standardise(part) * whole).mean(axis=(1, 2)))
    return best


def _standardise(values: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = values - values.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=(1, 2), keepdims=True), 1e-6), np.float32)


def _halve(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 16, 16) of (n, 32, 32), by means of 2 x 2."""
    half = small.shape[1] // 2
    return np.asarray(small.reshape(len(small), half, 2, half, 2).astype(np.float32).mean(axis=(2, 4)))


def _make_window(low: float, high: float, size: int, out: int) -> NDArray[np.float32]:
    """The matrix (out, size) that takes means over `out` equal parts of a side between `low` and `high` of it."""
    edges = np.linspace(low * size, high * size, out + 1)
    start, end = edges[:-1, None], edges[1:, None]
    cells = np.arange(size)[None, :]
    shares = (np.minimum(end, cells + 1) - np.maximum(start, cells)).clip(0)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)
