"""The formulas written a second time, slowly, in double precision, from the papers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def places(a: Any) -> Iterator[tuple[int, int]]:
    for i in range(a.shape[1]):
        for j in range(a.shape[2]):
            yield i, j


def gradcam(a: Array, g: Array) -> Array:
    out = np.zeros(a.shape[1:])
    for c in range(len(a)):
        alpha = sum(g[c, i, j] for i, j in places(a)) / (a.shape[1] * a.shape[2])
        out += alpha * a[c]
    return out


def hirescam(a: Array, g: Array) -> Array:
    out = np.zeros(a.shape[1:])
    for i, j in places(a):
        out[i, j] = sum(g[c, i, j] * a[c, i, j] for c in range(len(a)))
    return out


def layercam(a: Array, g: Array) -> Array:
    out = np.zeros(a.shape[1:])
    for i, j in places(a):
        out[i, j] = sum(max(g[c, i, j], 0) * a[c, i, j] for c in range(len(a)))
    return out


def xgradcam(a: Array, g: Array) -> Array:
    out = np.zeros(a.shape[1:])
    for c in range(len(a)):
        total = sum(a[c, i, j] for i, j in places(a))
        out += sum(a[c, i, j] / total * g[c, i, j] for i, j in places(a)) * a[c]
    return out


def gradcampp(a: Array, g: Array, small: float) -> Array:
    out = np.zeros(a.shape[1:])
    for c in range(len(a)):
        total = sum(a[c, i, j] for i, j in places(a))
        weight = 0.0
        for i, j in places(a):
            d = g[c, i, j]
            if d > 0:
                weight += d**2 / (2 * d**2 + total * d**3 + small) * d
        out += weight * a[c]
    return out


def eigencam(a: Array) -> Array:
    rows = np.stack([a[:, i, j] for i, j in places(a)])
    rows = rows - rows.mean(axis=0)
    _, _, vt = np.linalg.svd(rows, full_matrices=True)
    return (rows @ vt[0]).reshape(a.shape[1:])


def numeric_gradient(f: Callable[[Array], float], x: Array, step: float = 1e-5) -> Array:
    """Central differences of a scalar function, element by element."""
    out = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        out[index] = (f(up) - f(down)) / (2 * step)
    return out


def bilinear(a: Array, size: tuple[int, int], align_corners: bool) -> Array:
    """One map (h, w) -> size, sample by sample."""
    h, w = a.shape
    out = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            if align_corners:
                v = y * (h - 1) / (size[0] - 1) if size[0] > 1 else 0.0
                u = x * (w - 1) / (size[1] - 1) if size[1] > 1 else 0.0
            else:
                v = min(max((y + 0.5) * h / size[0] - 0.5, 0), h - 1)
                u = min(max((x + 0.5) * w / size[1] - 0.5, 0), w - 1)
            i, j = int(v), int(u)
            i1, j1 = min(i + 1, h - 1), min(j + 1, w - 1)
            di, dj = v - i, u - j
            top = a[i, j] * (1 - dj) + a[i, j1] * dj
            bottom = a[i1, j] * (1 - dj) + a[i1, j1] * dj
            out[y, x] = top * (1 - di) + bottom * di
    return out


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()
