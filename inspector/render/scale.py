"""From the values of a layer to the indices of a palette. Pure functions; nothing is drawn here."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inspector.errors import UsageError, listing
from inspector.records import record
from inspector.render.colormap import is_diverging, make_color_table

SCALES = ("channel", "layer", "fixed", "lecture")

LEVELS = 224
"""Palette indices 0 to LEVELS - 1 are the colors of the map, lowest value first."""
GREYS = 24
"""Indices LEVELS to LEVELS + GREYS - 1 run from white to black: paper, text and hatching."""
PAPER_INDEX = LEVELS
NAN_INDEX = LEVELS + GREYS
NAN_COLOR = (255, 0, 255)

# Elements worked on at a time, so that the buffers stay in the processor's cache.
_CHUNK = 1 << 16


class MapRange(NamedTuple):
    """What somebody who has looked at maps already knows of them; all their elements are finite.

    Attributes:
        low: Smallest element of each channel, (C,).
        high: Largest element of each channel, (C,).
        zero_fraction: Share of elements that are exactly 0.
    """

    low: NDArray[Any]
    high: NDArray[Any]
    zero_fraction: float


@record
class Scaled:
    """A layer as palette indices.

    Attributes:
        indices: uint8 (C, H, W), 0..LEVELS-1, or NAN_INDEX where the value is not finite.
        low: float64 (C,), smallest finite value of each channel; 0 where there is none.
        high: float64 (C,), largest finite value of each channel; 0 where there is none.
        blank: bool (C,), the channel has more than one element and all are equal and finite.
        limits: The common range that the colors span, or None where each channel has its own.
        scale: The scale used; "layer" where "channel" or "lecture" was asked for maps of one element.
        zero_fraction: Share of elements that are exactly 0.
        nan: Number of elements that are NaN.
        infinite: Number of elements that are infinite.
    """

    indices: NDArray[np.uint8]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    blank: NDArray[np.bool_]
    limits: tuple[float, float] | None
    scale: str
    zero_fraction: float
    nan: int
    infinite: int


def as_maps(maps: NDArray[Any]) -> NDArray[Any]:
    """`maps` as float (C, H, W), copied only where the type must change.

    Raises:
        UsageError: For another shape.
    """
    array = np.asarray(maps)
    if array.ndim != 3 or 0 in array.shape:
        raise UsageError(f"maps must have the shape (C, H, W) with no empty side, not {array.shape}")
    if array.dtype.kind not in "fiub":
        raise UsageError(f"maps must be real numbers, not {array.dtype}")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def to_indices(
    maps: NDArray[Any],
    scale: str = "channel",
    limits: tuple[float, float] | None = None,
    symmetric: bool = False,
    shrink: int = 1,
    known: MapRange | None = None,
) -> Scaled:
    """Scale `maps` to palette indices.

    Elements that are not finite take no part in any range.

    Args:
        maps: Any real type, (C, H, W).
        scale: Where the colors begin and end:
            "channel": each channel from its own minimum to its own maximum;
            "layer": all channels from the minimum of the layer to its maximum;
            "fixed": all channels from limits[0] to limits[1]; values outside take the color of the end;
            "lecture": each channel: subtract mean, divide by standard deviation, times 64, plus 128, clip to 0..255.
        limits: The range of the scale "fixed".
        symmetric: Widen every range to -m..m, so that zero is in the middle of a diverging map.
        shrink: Reduce the maps by this factor, each new element the mean of shrink x shrink old ones; the statistics
            are of the maps as given.
        known: Their range, where it need not be looked for.

    Raises:
        UsageError: There is no such scale, the limits are missing or not increasing, or they are given with another
            scale.
    """
    check_scale(scale, limits)
    array = as_maps(maps)
    channels, height, width = array.shape
    flat = flat_given = array.reshape(channels, height * width)
    low, high, finite = _find_range(flat, known)
    blank = (low == high) & (height * width > 1)
    nan = infinite = 0
    if finite is not None:
        nan = int(np.isnan(flat).sum())
        infinite = int(flat.size - finite.sum()) - nan
        blank &= finite.all(axis=1)
    if scale in ("channel", "lecture") and height * width == 1:
        # A map of one element has no range of its own; among its neighbours it says something.
        scale = "layer"
    common = _common_range(scale, limits, low, high, symmetric)
    if common is not None:
        start, stop = np.full(channels, common[0]), np.full(channels, common[1])
    elif scale == "lecture":
        start, stop = _lecture_range(flat, finite)
    else:
        start, stop = _widen(low, high) if symmetric else (low, high)
    if shrink > 1:
        with np.errstate(all="ignore"):
            array = average_areas(array, shrink)
        flat = array.reshape(channels, -1)
        finite = np.isfinite(flat) if finite is not None else None
    indices = _quantize(flat, start, stop, uniform=common is not None, clip=scale in ("fixed", "lecture"))
    if finite is not None:
        indices[~finite] = NAN_INDEX
    share = known.zero_fraction if known is not None else _count_zeros(flat_given) / flat_given.size
    return Scaled(indices.reshape(array.shape), low, high, blank, common, scale, share, nan, infinite)


def _find_range(
    flat: NDArray[Any], known: MapRange | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_] | None]:
    """(lowest, highest finite value of each channel, 0 where there is none; which are finite, or None for all)."""
    if known is not None:
        return known.low.astype(np.float64), known.high.astype(np.float64), None
    with np.errstate(all="ignore"):
        low, high = flat.min(axis=1), flat.max(axis=1)
        finite: NDArray[np.bool_] | None = None
        # min and max hand NaN and infinities on, so looking at 2 C numbers finds them all.
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            finite = np.isfinite(flat)
            none = ~finite.any(axis=1)
            low = np.where(none, 0, np.where(finite, flat, np.inf).min(axis=1))
            high = np.where(none, 0, np.where(finite, flat, -np.inf).max(axis=1))
    return low.astype(np.float64), high.astype(np.float64), finite


def _common_range(
    scale: str,
    limits: tuple[float, float] | None,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    symmetric: bool,
) -> tuple[float, float] | None:
    """The range of all channels; None where each has its own."""
    if scale == "fixed":
        assert limits is not None
        return float(limits[0]), float(limits[1])
    if scale != "layer":
        return None
    lowest, highest = float(low.min()), float(high.max())
    most = max(abs(lowest), abs(highest))
    return (-most, most) if symmetric else (lowest, highest)


def _widen(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ranges -m..m that hold those from low to high."""
    most = np.maximum(np.abs(low), np.abs(high))
    return -most, most


def check_scale(scale: str, limits: tuple[float, float] | None) -> None:
    """Raise UsageError unless `scale` is one of SCALES and `limits` fit it."""
    if scale not in SCALES:
        raise UsageError(f"no scale is called {scale!r}", f"there are {listing(SCALES, len(SCALES))}")
    if (scale == "fixed") != (limits is not None):
        raise UsageError("limits go with the scale 'fixed', and only with it", "give both or neither")
    if limits is not None and not (np.isfinite(limits).all() and limits[0] < limits[1]):
        raise UsageError(f"the limits {limits[0]:g} to {limits[1]:g} are not an increasing finite range")


def average_areas(maps: NDArray[Any], factor: int) -> NDArray[Any]:
    """`maps` (C, H, W) reduced by `factor`: (C, ceil(H / factor), ceil(W / factor)), each the mean of its block.

    Blocks at the right and bottom edge may be smaller; the mean is of what they hold.
    """
    _, height, width = maps.shape
    rows, columns = np.arange(0, height, factor), np.arange(0, width, factor)
    out = np.add.reduceat(maps, rows, axis=1)
    out /= np.diff(np.append(rows, height)).astype(out.dtype)[:, None]
    out = np.add.reduceat(out, columns, axis=2)
    out /= np.diff(np.append(columns, width)).astype(out.dtype)
    return out


@lru_cache(maxsize=16)
def make_palette(colormap: str = "viridis") -> bytes:
    """The 256 colors of a sheet as 768 bytes: the map, the greys, and the color for what is not finite."""
    table = np.full((256, 3), 255, np.uint8)
    table[:LEVELS] = make_color_table(colormap, LEVELS)
    table[LEVELS : LEVELS + GREYS] = np.rint(np.linspace(255, 0, GREYS))[:, None].astype(np.uint8)
    table[NAN_INDEX] = NAN_COLOR
    return table.tobytes()


GREY_TABLE = bytes(PAPER_INDEX + round((255 - grey) / 255 * (GREYS - 1)) for grey in range(256))
"""The index of the palette's nearest grey for every grey 0..255."""


def find_grey_index(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Greys 0..255 as indices of the palette's greys, nearest first; same shape, uint8."""
    return np.frombuffer(bytearray(grey.tobytes().translate(GREY_TABLE)), np.uint8).reshape(grey.shape)


@lru_cache(maxsize=16)
def draw_hatch(height: int, width: int) -> NDArray[np.uint8]:
    """Diagonal lines on light grey, for what is constant: palette indices (height, width), read-only."""
    y, x = np.ogrid[:height, :width]
    lines = (x + y) % 7 < 2
    tile = np.where(lines, np.uint8(GREY_TABLE[150]), np.uint8(GREY_TABLE[236]))
    tile.setflags(write=False)
    return tile


def to_rgb(indices: NDArray[np.uint8], colormap: str = "viridis") -> NDArray[np.uint8]:
    """Palette indices as colors: uint8 (..., 3)."""
    return np.frombuffer(make_palette(colormap), np.uint8).reshape(256, 3)[indices]


def wants_symmetric(colormap: str, scale: str) -> bool:
    """Whether ranges must be centred on zero: for a diverging map, unless the user fixed the range."""
    return is_diverging(colormap) and scale in ("channel", "layer")


def _lecture_range(
    flat: NDArray[Any], finite: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # 64 z + 128 in 0..255 is a straight line from mean - 2 std to mean + 127/64 std.
    if finite is None:
        mean, std = flat.mean(axis=1, dtype=np.float64), flat.std(axis=1, dtype=np.float64)
    else:
        mean, std = np.zeros(len(flat)), np.zeros(len(flat))
        for c, keep in enumerate(finite):
            if keep.any():
                mean[c], std[c] = (
                    np.mean(flat[c, keep], dtype=np.float64),
                    np.std(flat[c, keep], dtype=np.float64),
                )
    return mean - 2 * std, mean + (127 / 64) * std


def _count_zeros(flat: NDArray[Any]) -> int:
    total = 0
    line = flat.reshape(-1)
    for at in range(0, line.size, _CHUNK):
        total += int(np.count_nonzero(line[at : at + _CHUNK] == 0))
    return total


def _quantize(
    flat: NDArray[Any],
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    uniform: bool,
    clip: bool,
) -> NDArray[np.uint8]:
    """Values (C, K) to indices, linear from first (C,) to last (C,); constant ranges give 0."""
    with np.errstate(all="ignore"):
        span = last - first
        factor = np.where(span > 0, (LEVELS - 1) / span, 0.0)
    size = np.abs(np.concatenate([first, last]))
    # float32 holds a difference of neighbours exactly enough, unless the span is near the ends of its range.
    delicate = bool((size > 1e37).any() or (factor > 1e37).any())
    work = np.float64 if delicate or flat.dtype == np.float64 else np.float32
    if delicate:
        # Halved, the widest span float64 has stays finite; and a span too small to divide by is as good as none.
        flat, first, last = flat.astype(np.float64) * 0.5, first * 0.5, last * 0.5
        with np.errstate(all="ignore"):
            factor = np.nan_to_num((LEVELS - 1) / (last - first), posinf=0.0, neginf=0.0)
    count, length = flat.shape
    out = np.empty((count, length), np.uint8)
    if uniform:
        # One range for all: the channels may be cut anywhere.
        values, result = flat.reshape(1, -1), out.reshape(1, -1)
        offsets, factors = first[:1].astype(work)[:, None], factor[:1].astype(work)[:, None]
    else:
        values, result = flat, out
        offsets, factors = first.astype(work)[:, None], factor.astype(work)[:, None]
    rows, columns = values.shape
    high = max(1, _CHUNK // columns)
    wide = min(columns, _CHUNK)
    buffer = np.empty((min(high, rows), wide), work)
    with np.errstate(all="ignore"):
        for top in range(0, rows, high):
            for left in range(0, columns, wide):
                part = values[top : top + high, left : left + wide]
                piece = buffer[: part.shape[0], : part.shape[1]]
                np.subtract(part, offsets[top : top + high], out=piece)
                piece *= factors[top : top + high]
                if clip:
                    np.clip(piece, 0, LEVELS - 1, out=piece)
                piece += 0.5
                np.copyto(result[top : top + high, left : left + wide], piece, casting="unsafe")
    return out
