"""What values the first nodes of a graph want: constants tell.

Who subtracts 123.68 wants bytes, who divides by 0.229 wants numbers from 0 to 1.
"""

from __future__ import annotations

import numpy as np

from inspector.image import IMAGENET_MEAN, IMAGENET_STD
from inspector.model.arithmetic import Arithmetic, PixelRange, Vector

_USUAL = (
    (-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5), (-2.118, 2.64), (-123.68, 151.061), (-127.5, 127.5),
)  # fmt: skip
"""Ranges that networks are trained on: signed, unit, ImageNet's mean and std, caffe's mean."""

_IDENTICAL = 0.05
"""A factor so near to 1, and a shift so near to 0, normalise nothing: a norm that learned ImageNet's own statistics."""

_FARTHEST, _FARTHEST_LEARNED = 0.1, 0.6
"""How far from all usual ranges, relative to their widths, an outcome may lie to tell anything; what a norm has learned
of its pictures is less exact than what somebody wrote down."""

_SMALLEST = 0.02
"""Part of the range of pixels below which neither a mean nor a deviation of pictures lies."""

_NEAR, _NEAR_GRID = 0.02, 0.1
"""How far the ends of a limit may lie from those of usual pixels, relative to their width: where somebody wrote them
down, and where they were measured on pictures."""

_SAME_MEAN = 0.03
"""How far a mean may lie from ImageNet's, relative to it, to be the same."""


def choose_range(arithmetic: Arithmetic) -> tuple[str, tuple[float, float], bool] | None:
    """Which pixels make sense of an arithmetic: (name of a preprocess, what they become, whether that is proven).

    Returns:
        ``raw``, ``unit``, ``signed`` or ``imagenet`` with the smallest and largest value behind the arithmetic, also
        where no pixels come near what networks are trained on: then bytes, which most networks of that kind take. None
        where the arithmetic changes next to nothing.
    """
    pixels = _list_pixels(len(arithmetic.factor))
    limited = next((name for limit in arithmetic.limits if (name := _read_limit(limit, pixels))), "")
    if np.abs(arithmetic.factor - 1).max() < _IDENTICAL and np.abs(arithmetic.shift).max() < _IDENTICAL:
        return (limited, arithmetic.range_of(*pixels[limited]), True) if limited else None
    found = []
    for name, (low, high) in pixels.items():
        ends = arithmetic.range_of(low, high)
        found.append((_measure_distance(ends), name, ends))
    far, name, ends = min(found)
    if far <= _find_limit(arithmetic):
        return name, ends, True
    told = limited or ("" if _is_learned(arithmetic) else _read_constants(arithmetic))
    if told:
        return told, arithmetic.range_of(*pixels[told]), True
    # A convolution that fits no usual pixels may be one of the network's own.
    return None if "Conv" in arithmetic.nodes else (*found[0][1:], False)


def makes_usual(arithmetic: Arithmetic, low: Vector, high: Vector) -> bool:
    """Whether an arithmetic makes what networks are trained on of values between `low` and `high` (C,)."""
    return _measure_distance(arithmetic.range_of(low, high)) <= _find_limit(arithmetic)


def _measure_distance(ends: tuple[float, float]) -> float:
    """How far an outcome lies from the nearest of the usual ranges, relative to its width."""
    return min((abs(ends[0] - a) + abs(ends[1] - b)) / (b - a) for a, b in _USUAL)


def _is_learned(arithmetic: Arithmetic) -> bool:
    return "BatchNormalization" in arithmetic.nodes


def _find_limit(arithmetic: Arithmetic) -> float:
    return _FARTHEST_LEARNED if _is_learned(arithmetic) else _FARTHEST


def _list_pixels(count: int) -> dict[str, tuple[Vector, Vector]]:
    """Preprocess -> the smallest and the largest value that it makes in each channel."""
    zero, one = np.zeros(count), np.ones(count)
    mean, std = np.resize(IMAGENET_MEAN, count), np.resize(IMAGENET_STD, count)
    return {
        "raw": (zero, 255 * one),
        "unit": (zero, one),
        "signed": (-one, one),
        "imagenet": (-mean / std, (1 - mean) / std),
    }


def _read_limit(limit: PixelRange, pixels: dict[str, tuple[Vector, Vector]]) -> str:
    """Which pixels lie between these values; "" where none do."""
    for name, (lows, highs) in pixels.items():
        low, high = float(lows.min()), float(highs.max())
        if limit.symmetric:  # of -1 to 1 nobody knows whether anything is below 0
            low, near = -max(-low, high), name not in ("unit", "signed")
        else:
            near = True
        allowed = _NEAR_GRID if limit.by == "QuantizeLinear" else _NEAR
        if near and (abs(limit.low - low) + abs(limit.high - high)) / (high - low) <= allowed:
            return name
    return ""


def is_blue_first(arithmetic: Arithmetic) -> bool:
    """Whether the constants are ImageNet's means in the order blue, green, red."""
    if len(arithmetic.factor) != 3 or (arithmetic.factor == 0).any():
        return False
    mean = -arithmetic.shift / arithmetic.factor
    ours = np.array(IMAGENET_MEAN)
    fit = [np.abs(mean / scale / ours[::-1] - 1).max() <= _SAME_MEAN for scale in (1.0, 255.0)]
    return any(fit)


def _read_constants(arithmetic: Arithmetic) -> str:
    """Which pixels the constants alone tell of: "unit", "raw" or "" where they tell nothing.

    (x - 0.5) / 0.25 takes off a mean between 0 and 1 and divides by a deviation that fits it, whatever comes out.
    """
    if (arithmetic.factor == 0).any():
        return ""
    mean, deviation = -arithmetic.shift / arithmetic.factor, 1 / np.abs(arithmetic.factor)
    for name, largest in (("unit", 1.0), ("raw", 255.0)):
        inside = (mean > _SMALLEST * largest) & (mean < largest)
        if (inside & (deviation > _SMALLEST * largest) & (deviation <= largest)).all():
            return name
    return ""
