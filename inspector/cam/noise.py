"""How much of a map is rounding: what changes in it when every number that goes in changes by its last bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.cam.context import FloatArray, MethodContext
from inspector.cam.method import Method

_REPEATS = 3
"""Computations with other last bits. One alone may happen to agree."""

_SAFE = 4.0
"""Evidence counts from this many times the largest change on."""

_SMALL = 1e-2
"""A map is looked at more closely where it is below this share of what went into it."""


def measure_noise(method: Method, context: MethodContext, maps: Sequence[FloatArray]) -> list[float]:
    """The magnitude up to which the values of each map are rounding.

    A gradient that is zero by arithmetic (before an instance norm and a mean, over the places of a softmax) comes out
    as rounding. Its share of the map is unknown beforehand, as the sums inside the network are, so it is measured.

    Args:
        method: What made the maps.
        context: The layer on the picture.
        maps: The maps, float32 (h, w), one for each target.

    Returns:
        One number for each map; 0 where the map is far from the rounding of what went in.
    """
    if not any(_is_small(method, context, t, raw) for t, raw in enumerate(maps)):
        return [0.0] * len(maps)
    rng = np.random.default_rng(0)
    noise = [0.0] * len(maps)
    for _ in range(_REPEATS):
        again = context.repeat(rng)
        for t, (raw, other) in enumerate(zip(maps, method.maps(again), strict=True)):
            noise[t] = max(noise[t], _SAFE * _change_between(raw, other))
            if method.needs == "gradient":
                # A formula with powers (Grad-CAM++) makes large differences of small ones: the gradient tells.
                gradient, repeated = context.gradient(context.targets[t]), again.gradient(context.targets[t])
                if np.abs(gradient).max() <= _SAFE * _change_between(gradient, repeated):
                    noise[t] = np.inf
    return noise


def _change_between(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(other.astype(np.float64) - one).max())


def _is_small(method: Method, context: MethodContext, target: int, raw: FloatArray) -> bool:
    """Whether a map is so much smaller than what went into it that rounding may be all it shows."""
    reach = float(np.abs(raw).max(initial=0.0))
    if reach == 0 or not np.isfinite(reach) or method.needs == "activation":
        return False
    # Ablation-CAM divides by the score, which may be rounding itself.
    share = min(1.0, float(np.abs(context.scores[target])) or 1.0) if method.needs == "runs" else 1.0
    if share * reach * raw.size <= _SMALL * max(context.reach, float(np.abs(context.activation).max())):
        return True
    if method.needs != "gradient":
        return False
    # Grad-CAM's means over places, and sums over channels, may cancel.
    gradient = np.abs(context.gradient(context.targets[target])).mean(axis=(1, 2))
    terms = np.einsum("c,chw->hw", gradient, np.abs(context.activation))
    return reach <= _SMALL * float(terms.max())


def change_last_bits(values: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """The values with every float moved by up to one rounding of its type; zeros and integers stay."""
    return {name: change_rounding(value, rng) for name, value in values.items()}


def change_rounding(value: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Values with every float moved by up to one rounding of its type."""
    if value.dtype.kind != "f":
        return value
    moved = value * (1 + np.finfo(value.dtype).eps * rng.uniform(-1, 1, value.shape))
    return np.asarray(moved, value.dtype)
