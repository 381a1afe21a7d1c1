"""Maps and numbers of all channels, packed for the page."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.layers.statistics import LayerStatistics

SPRITE_LEVELS = 47
"""Sprites hold 0 for exactly zero, 1 to LEVELS + 1 from the channel's minimum to its maximum, 255 for not finite."""


def make_sprite(maps: NDArray[np.float32], found: LayerStatistics, side: int) -> tuple[str, tuple[int, int]]:
    """(PNG as base64, (h, w) of one tile): every channel of (C, H, W) as a tile of at most `side` elements a side.

    Tiles fill rows of ceil(sqrt(C)). A reduced element is the mean of what it covers, and zero only if all of that is.
    """
    from inspector.render.png import encode_sprite
    from inspector.render.scale import average_areas

    channels, height, width = maps.shape
    factor = math.ceil(max(height, width) / side)
    zero, bad = maps == 0, ~np.isfinite(maps)
    with np.errstate(invalid="ignore", over="ignore"):
        small = average_areas(np.array(maps, np.float32), factor) if factor > 1 else maps
    if factor > 1:
        zero = average_areas(zero.astype(np.float32), factor) == 1
        bad = ~np.isfinite(small)
    low, high = np.nan_to_num(found.channel_minimum), np.nan_to_num(found.channel_maximum)
    span = (high.astype(np.float64) - low)[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        share = np.where(span > 0, (small - low[:, None, None]) / np.where(span > 0, span, 1), 0)
    levels = 1 + np.rint(np.nan_to_num(share).clip(0, 1) * SPRITE_LEVELS)
    indices = np.where(bad, 255, np.where(zero, 0, levels)).astype(np.uint8)
    _, h, w = indices.shape
    columns = math.ceil(math.sqrt(channels))
    rows = math.ceil(channels / columns)
    sheet = np.zeros((rows * columns, h, w), np.uint8)
    sheet[:channels] = indices
    pixels = sheet.reshape(rows, columns, h, w).transpose(0, 2, 1, 3).reshape(rows * h, columns * w)
    return base64.b64encode(encode_sprite(pixels)).decode(), (h, w)


def pack_channels(found: LayerStatistics) -> bytes:
    """The numbers of every channel, little endian.

    First float32: minimum (C) and maximum (C). Then uint16, in 1/65535: the mean within that range (C), the standard
    deviation as a share of it (C), and the zero fraction (C). A channel without finite elements has NaN as its minimum
    and maximum.
    """
    low, high = found.channel_minimum, found.channel_maximum
    span = high.astype(np.float64) - low
    safe = np.where(span > 0, span, 1)

    def share(values: NDArray[Any]) -> bytes:
        scaled: NDArray[np.uint16] = np.rint(np.nan_to_num(values).clip(0, 1) * 65535).astype("<u2")
        return scaled.tobytes()

    parts = (
        low.astype("<f4").tobytes(),
        high.astype("<f4").tobytes(),
        share((found.channel_mean - low) / safe),
        share(found.channel_std / safe),
        share(found.channel_zero_fraction),
    )
    return b"".join(parts)
