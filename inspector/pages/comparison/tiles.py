"""The channels of one pair of layers on one picture: A's, B's and their difference, for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.layers import Layer
from inspector.layers.statistics import statistics
from inspector.pages.maps import to_maps
from inspector.pages.report.sprites import make_sprite

MOST_CHANNELS = 64
"""Channels of a layer that are on the page, the worst first."""


@dataclass(frozen=True)
class TilePart:
    """The channels of one pair on one picture.

    Attributes:
        entry: Which channels, how large a tile is, and the ranges.
        sprites: PNG of A's, of B's and of the difference, as base64; all empty where nothing can be shown.
    """

    entry: dict[str, Any]
    sprites: tuple[str, str, str]


def draw_tiles(
    layer: Layer, a: NDArray[np.float32], b: NDArray[np.float32] | None, channels_db: NDArray[np.float64], side: int
) -> TilePart:
    """Draw the worst channels of a pair.

    Args:
        layer: A's layer.
        a: float32 (C, ...) of A.
        b: The same of B, laid out alike; None where it has another shape.
        channels_db: float64 (C,), the ratio of each channel.
        side: Longest side of a tile, in elements.
    """
    if b is None or not a.size:
        return TilePart({"channels": []}, ("", "", ""))
    ours, theirs = (to_maps(_to_places(layer, x)) for x in (a, b))
    order = np.argsort(channels_db, kind="stable")[:MOST_CHANNELS] if len(channels_db) == len(ours) else None
    chosen = np.arange(min(len(ours), MOST_CHANNELS)) if order is None else order
    ours, theirs = ours[chosen], theirs[chosen]
    with np.errstate(over="ignore", invalid="ignore"):
        apart = theirs - ours
    together = statistics(np.concatenate([ours, theirs], axis=1))
    around = statistics(np.concatenate([apart, -apart], axis=1))
    sprites = [
        make_sprite(maps, found, side) for maps, found in ((ours, together), (theirs, together), (apart, around))
    ]
    entry = {
        "channels": chosen.tolist(),
        "db": _shorten(channels_db[chosen]) if order is not None else [],
        "tile": list(sprites[0][1]),
        "low": _shorten(together.channel_minimum),
        "high": _shorten(together.channel_maximum),
        "apart": _shorten(around.channel_maximum),
    }
    return TilePart(entry, (sprites[0][0], sprites[1][0], sprites[2][0]))


def _to_places(layer: Layer, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(layer.to_maps(values[None])[0])


def _shorten(values: NDArray[Any]) -> list[float]:
    """Numbers of five digits: the page is read by people."""
    return [float(f"{x:.5g}") if np.isfinite(x) else 0.0 for x in values.tolist()]
