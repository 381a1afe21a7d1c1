"""The map of the pictures: UMAP where it is installed, else the two strongest principal components."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.extras import is_installed
from inspector.image import choose_evenly
from inspector.scanning.columns import AnyRows, walk_rows

FEWEST = 100
"""Pictures below which neighbours say little: their map is that of principal components."""
MOST_FITTED = 20_000
"""Pictures that UMAP is fitted to, evenly chosen; the others are placed among them."""
NEIGHBOURS = 15
"""Nearest pictures that UMAP keeps near; its own usual number."""


@dataclass(frozen=True)
class PictureMap:
    """Where pictures lie on a map: n of them.

    Attributes:
        values: Two numbers for each, float32 (n, 2).
        about: `map` of scan.json: the method, and what it was done with.
    """

    values: NDArray[np.float32]
    about: Mapping[str, Any]


def draw_map(values: AnyRows) -> PictureMap:
    """Place pictures on a map by their principal components.

    L. McInnes, J. Healy, J. Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction"
    (2018), where the package umap-learn is installed and there are at least FEWEST pictures. It begins with the two
    strongest components and a fixed seed, on one thread, so that the same pictures give the same map.

    Args:
        values: Principal components, float32 (n, r).
    """
    last = min(1, values.shape[1] - 1)
    pieces = (rows[:, [0, last]] for _, rows in walk_rows(values))
    plain = np.concatenate([np.zeros((0, 2), np.float32), *pieces])
    umap = _find_umap() if len(values) >= FEWEST and values.shape[1] > 2 else None
    if umap is None:
        return PictureMap(plain, {"method": "pca"})
    chosen = np.array(choose_evenly(len(values), MOST_FITTED))
    first = plain[chosen] / max(float(plain[chosen].std()), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = umap.UMAP(n_neighbors=NEIGHBOURS, random_state=0, n_jobs=1, init=10 * first)
        placed = np.zeros((len(values), 2), np.float32)
        placed[chosen] = fitted.fit_transform(np.array(values[chosen]))
        other = np.ones(len(values), np.bool_)
        other[chosen] = False
        for start, rows in walk_rows(values):
            own = other[start : start + len(rows)]
            if own.any():
                placed[start + np.flatnonzero(own)] = fitted.transform(rows[own])
    version = str(getattr(umap, "__version__", ""))
    about = {"method": "umap", "version": version, "neighbours": NEIGHBOURS, "fitted": len(chosen)}
    return PictureMap(placed, about)


def _find_umap() -> Any:
    """The module of umap-learn; None where it is not there, cannot be loaded, or another package has its name."""
    if not is_installed("umap"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            umap = import_module("umap")
        except Exception:  # numba and llvmlite have errors of their own where their versions do not go together
            return None
    return umap if hasattr(umap, "UMAP") else None
