"""Resize and Upsample: torch's interpolation where it computes the same, otherwise taps along one axis after the other.

Coordinates are computed in float32, as onnxruntime does: a nearest pixel can hang on the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.table import Node, NotSupported, Run, operator

Floats = NDArray[np.float32]
_ONE = np.float32(1)
_HALF = np.float32(0.5)
_NATIVE = {
    ("linear", 3): "linear",
    ("linear", 4): "bilinear",
    ("linear", 5): "trilinear",
    ("cubic", 4): "bicubic",
}
_REPEATS = {
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("pytorch_half_pixel", "round_prefer_floor"),
    ("pytorch_half_pixel", "round_prefer_ceil"),
    ("tf_half_pixel_for_nn", "floor"),
}
"""Nearest modes in which enlarging by a whole number repeats each pixel."""


@dataclass(frozen=True)
class ResizeSettings:
    """The settings of a Resize node."""

    mode: str
    coordinates: str
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    extrapolation: float = 0.0
    antialias: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis to be resized: from `size` to `out` elements, by `scale`, over the part [start, end] of it (roi)."""

    index: int
    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0


def source_places(axis: Axis, coordinates: str) -> Floats:
    """Where each output element lies on the input axis: float32 (out,), in elements."""
    x = np.arange(axis.out, dtype=np.float32)
    scale, size = np.float32(axis.scale), np.float32(axis.size)
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        if coordinates == "pytorch_half_pixel" and axis.out <= 1:
            return np.zeros_like(x)
        return (x + _HALF) / scale - _HALF
    if coordinates == "half_pixel_symmetric":
        adjustment = np.float32(axis.out) / (scale * size)
        return size / 2 * (_ONE - adjustment) + (x + _HALF) / scale - _HALF
    if coordinates == "align_corners":
        return x * (size - 1) / np.float32(axis.out - 1) if axis.out > 1 else np.zeros_like(x)
    if coordinates == "asymmetric":
        return x / scale
    if coordinates == "tf_half_pixel_for_nn":
        return (x + _HALF) / scale
    start, end = np.float32(axis.start), np.float32(axis.end)
    if axis.out > 1:
        return start * (size - 1) + x * (end - start) * (size - 1) / np.float32(axis.out - 1)
    return np.full_like(x, _HALF * (start + end) * (size - 1))


_COORDINATES = {
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
}


def _nearest(places: Floats, rule: str, shrinking: bool) -> NDArray[Any]:
    if rule == "simple":  # onnxruntime, before there was a choice
        rule = "ceil" if shrinking else "floor"
    if rule == "round_prefer_floor":
        places, rule = places - _HALF, "ceil"
    if rule == "round_prefer_ceil":
        places, rule = places + _HALF, "floor"
    chosen: NDArray[Any] = np.floor(places) if rule == "floor" else np.ceil(places)
    return chosen


def _kernel(distance: Floats, mode: str, a: float) -> Floats:
    """The weight of a pixel at this distance: a triangle, or Keys' cubic with parameter a."""
    d: Floats = np.abs(distance)
    if mode == "linear":
        return np.maximum(1 - d, 0, dtype=np.float32)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0)).astype(np.float32)


def taps(axis: Axis, rule: ResizeSettings) -> tuple[NDArray[np.int64], Floats]:
    """Which input elements each output element is made of, and how: places and weights, both (taps, out)."""
    places = source_places(axis, rule.coordinates)
    if rule.mode == "nearest":
        chosen = _nearest(places, rule.nearest, axis.scale < 1)
        return np.clip(chosen, 0, axis.size - 1).astype(np.int64)[None], np.ones((1, axis.out), np.float32)
    squeeze = np.float32(min(axis.scale, 1.0) if rule.antialias else 1.0)
    reach = 1 if rule.mode == "linear" else 2
    first = math.floor(-reach / float(squeeze)) + 1
    base = np.floor(places)
    steps = np.arange(first, 2 - first, dtype=np.float32)[:, None] + base
    weights = _kernel((steps - places) * squeeze, rule.mode, rule.cubic)
    if rule.exclude_outside:
        weights = np.where((steps < 0) | (steps > axis.size - 1), np.float32(0), weights)
    if rule.exclude_outside or rule.antialias:
        weights = weights / weights.sum(0, keepdims=True)
    return np.clip(steps, 0, axis.size - 1).astype(np.int64), weights


def _resampled(x: Tensor, axis: Axis, rule: ResizeSettings, cache: dict[Any, list[tuple[Tensor, Tensor]]]) -> Tensor:
    key = (axis, x.device, x.dtype)
    if key not in cache:
        if len(cache) > 32:
            cache.clear()
        index, weights = taps(axis, rule)
        shape = [-1] + [1] * (x.dim() - 1 - axis.index)
        cache[key] = [
            (torch.from_numpy(i).to(x.device), torch.from_numpy(w).to(x.device, x.dtype).reshape(shape))
            for i, w in zip(index, weights, strict=True)
            if w.any()
        ]
    if rule.mode == "nearest":
        return x.index_select(axis.index, cache[key][0][0])
    y = None
    for index_, weight in cache[key]:
        part = x.index_select(axis.index, index_) * weight
        y = part if y is None else y + part
    assert y is not None
    return y


def resize_axes(x: Tensor, axes: Sequence[Axis], rule: ResizeSettings, cache: dict[Any, Any]) -> Tensor:
    """x resized along `axes`; the other axes stay."""
    crop = rule.coordinates == "tf_crop_and_resize"
    moving = [a for a in axes if crop or a.out != a.size or a.scale != 1]
    if not moving:
        return x
    native = None if crop else _native(x, moving, rule)
    if native is not None:
        return native
    if not x.is_floating_point() and rule.mode != "nearest":
        return resize_axes(x.to(torch.float64), axes, rule, cache).to(x.dtype)
    y = x
    for axis in moving:
        y = _resampled(y, axis, rule, cache)
    if not crop:
        return y
    outside = torch.zeros((), dtype=torch.bool)
    for axis in moving:
        places = source_places(axis, rule.coordinates)
        beyond = torch.from_numpy((places < 0) | (places > axis.size - 1))
        outside = outside | beyond.reshape([-1] + [1] * (x.dim() - 1 - axis.index))
    return y.masked_fill(outside.to(x.device), rule.extrapolation)


def _native(x: Tensor, axes: Sequence[Axis], rule: ResizeSettings) -> Tensor | None:
    """torch's own interpolation, or None where it computes something else."""
    if not x.is_floating_point() or not 3 <= x.dim() <= 5 or any(a.index < 2 for a in axes):
        return None
    sizes = list(x.shape[2:])
    for a in axes:
        sizes[a.index - 2] = a.out
    if rule.mode == "nearest":
        whole = all(a.out == a.size * a.scale and a.out % a.size == 0 for a in axes)
        double = (rule.coordinates, rule.nearest) == ("asymmetric", "round_prefer_floor")
        repeats = (rule.coordinates, rule.nearest) in _REPEATS or rule.nearest == "simple"
        if whole and (repeats or (double and all(a.out == 2 * a.size for a in axes))):
            return F.interpolate(x, size=sizes, mode="nearest")
        return None
    mode = _NATIVE.get((rule.mode, x.dim()))
    corners = rule.coordinates == "align_corners"
    centred = rule.coordinates == "half_pixel" or (
        rule.coordinates == "pytorch_half_pixel" and all(a.out > 1 for a in axes)
    )
    # torch takes the scale from the sizes; a scale that does not give a whole number of pixels is another mapping.
    exact = corners or all(math.isclose(a.size * a.scale, a.out, rel_tol=1e-6) for a in axes)
    cubic = rule.mode == "cubic" and (rule.cubic != -0.75 or rule.exclude_outside)
    if mode is None or rule.antialias or cubic or not exact or not (corners or centred):
        return None
    return F.interpolate(x, size=sizes, mode=mode, align_corners=corners)


def _axes(
    x: Tensor,
    along: Sequence[int] | None,
    scales: Sequence[float] | None,
    sizes: Sequence[int] | None,
    roi: Sequence[float] | None,
    policy: str = "stretch",
) -> list[Axis]:
    which = [a % x.dim() for a in along] if along is not None else list(range(x.dim()))
    starts = list(roi[: len(which)]) if roi else [0.0] * len(which)
    ends = list(roi[len(which) :]) if roi else [1.0] * len(which)
    if sizes:
        factors = [wanted / x.shape[i] for i, wanted in zip(which, sizes, strict=True)]
        outs = list(sizes)
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(which)
            outs = [math.floor(factor * x.shape[i] + 0.5) for i in which]
    elif scales:
        factors = list(scales)
        # The specification also multiplies by the part that the roi covers; onnxruntime, the measure here, does not.
        outs = [
            math.floor(float(np.float32(x.shape[axis]) * np.float32(factor)))
            for axis, factor in zip(which, factors, strict=True)
        ]
    else:
        raise ValueError("neither scales nor sizes are given")
    return [
        Axis(i, x.shape[i], out, factor, start, end)
        for i, out, factor, start, end in zip(which, outs, factors, starts, ends, strict=True)
    ]


def _plain(node: Node, scales: list[float] | None) -> Run:
    """Upsample, and Resize of opset 10: x / scale, and the nearest pixel below."""
    rule = ResizeSettings(_mode(node), "asymmetric", "simple")
    cache: dict[Any, Any] = {}

    def run(x: Tensor, given: Tensor | None = None) -> Tensor:
        factors = scales if scales is not None or given is None else given.tolist()
        return resize_axes(x, _axes(x, None, factors, None, None), rule, cache)

    return run


def _mode(node: Node) -> str:
    mode = node.get("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear", "cubic"):
        raise NotSupported(f"the resize mode {mode!r}")
    return "linear" if mode == "bilinear" else str(mode)


@operator("Upsample", since=7)
def _upsample_attribute(node: Node) -> Run:
    return _plain(node, node.need("scales"))


@operator("Upsample", since=9, settings=(1,))
@operator("Resize", since=10, settings=(1,))
def _upsample_input(node: Node) -> Run:
    value = node.constant(1)
    return _plain(node, None if value is None else value.flatten().tolist())


@operator("Resize", since=11, settings=(1, 2, 3))
def _resize(node: Node) -> Run:
    rule = ResizeSettings(
        _mode(node),
        node.get("coordinate_transformation_mode", "half_pixel"),
        node.get("nearest_mode", "round_prefer_floor"),
        node.get("cubic_coeff_a", -0.75),
        bool(node.get("exclude_outside", 0)),
        node.get("extrapolation_value", 0.0),
        bool(node.get("antialias", 0)),
    )
    if rule.coordinates not in _COORDINATES:
        raise NotSupported(f"the coordinate mode {rule.coordinates!r}")
    along, policy = node.get("axes"), node.get("keep_aspect_ratio_policy", "stretch")
    crop = rule.coordinates == "tf_crop_and_resize"
    declared = node.batch
    cache: dict[Any, Any] = {}

    def run(
        x: Tensor,
        roi: Tensor | None,
        scales: Tensor | None = None,
        sizes: Tensor | None = None,
        batch: int | None = None,
    ) -> Tensor:
        wanted = sizes.tolist() if sizes is not None else None
        if batch == x.shape[0] and wanted and along is None and len(wanted) == x.dim() and wanted[0] == declared:
            wanted[0] = batch  # the fixed batch of the file stands for the batch there is
        part = roi.tolist() if crop and roi is not None and roi.numel() else None
        factors = scales.tolist() if scales is not None and scales.numel() else None
        return resize_axes(x, _axes(x, along, factors, wanted, part, policy), rule, cache)

    if declared is None:
        return run
    node.with_batch()

    def any_batch(
        batch: int,
        x: Tensor,
        roi: Tensor | None,
        scales: Tensor | None = None,
        sizes: Tensor | None = None,
    ) -> Tensor:
        return run(x, roi, scales, sizes, batch)

    return any_batch
