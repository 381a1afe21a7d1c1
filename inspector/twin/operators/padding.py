"""Pad in all its modes, and CenterCropPad."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.table import Node, NotSupported, Run, operator

Sides = list[tuple[int, int]]


def _sides(pads: Sequence[int], axes: Sequence[int] | None, rank: int) -> Sides:
    """(before, after) for every axis of a tensor of this rank."""
    axes = range(rank) if axes is None else axes
    count = len(axes)
    sides = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        sides[axis] = (pads[i], pads[count + i])
    return sides


def _source(size: int, before: int, after: int, mode: str) -> Tensor:
    """For each place along a padded axis, the place of the tensor that it repeats."""
    place = torch.arange(-before, size + after)
    if mode == "edge":
        return place.clamp(0, size - 1)
    if mode == "wrap":
        return place % size
    if size == 1:
        return torch.zeros_like(place)
    period = 2 * (size - 1)
    place = place % period
    return torch.where(place < size, place, period - place)


def _pad(x: Tensor, sides: Sides, mode: str, value: float) -> Tensor:
    if mode == "constant":
        flat = [side for pair in reversed(sides) for side in pair]
        return F.pad(x, flat, value=value) if x.dtype != torch.bool else F.pad(x, flat, value=bool(value))
    for axis, (before, after) in enumerate(sides):
        if mode == "wrap" and min(before, after) < 0:  # onnxruntime wraps what is left after cropping
            x = x.narrow(axis, max(-before, 0), x.shape[axis] + min(before, 0) + min(after, 0))
            before, after = max(before, 0), max(after, 0)
        if before or after:
            x = x.index_select(axis, _source(x.shape[axis], before, after, mode).to(x.device))
    return x


_NATIVE = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _native_pad(sides: Sides, x: Tensor, mode: str) -> bool:
    """Whether torch pads this way itself: the last one to three axes, and not by more than it may."""
    inner = x.dim() - 2
    if not 1 <= inner <= 3 or not x.is_floating_point() or any(side for pair in sides[:2] for side in pair):
        return False
    spare = 1 if mode == "reflect" else 0
    return all(0 <= side <= size - spare for pair, size in zip(sides[2:], x.shape[2:], strict=True) for side in pair)


def _padding(node: Node, pads: Callable[[Tensor, Tensor | None, Tensor | None], Sides], value: float | None) -> Run:
    mode = node.get("mode", "constant")
    if mode != "constant" and mode not in _NATIVE:
        raise NotSupported(f"padding mode {mode!r}")

    def run(x: Tensor, given: Tensor | None = None, fill: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        sides = pads(x, given, axes)
        if mode != "constant" and _native_pad(sides, x, mode):
            flat = [side for pair in reversed(sides[2:]) for side in pair]
            return F.pad(x, flat, mode=_NATIVE[mode])
        number = value if value is not None else 0.0 if fill is None else fill.item()
        return _pad(x, sides, mode, number)

    return run


@operator("Pad")
def _pad_attributes(node: Node) -> Run:
    pads = node.get("pads") or node.need("paddings")
    return _padding(node, lambda x, given, axes: _sides(pads, None, x.dim()), node.get("value", 0.0))


@operator("Pad", since=11, settings=(1, 2, 3))
def _pad_inputs(node: Node) -> Run:
    fixed, fixed_axes = node.integers(1), node.integers(3)

    def sides(x: Tensor, given: Tensor | None, axes: Tensor | None) -> Sides:
        pads = fixed if fixed is not None or given is None else given.tolist()
        along = fixed_axes if fixed_axes is not None or axes is None else axes.tolist()
        return _sides(pads or [], along, x.dim())

    value = node.constant(2)
    return _padding(node, sides, value.reshape(()).item() if value is not None and value.numel() else None)


@operator("CenterCropPad", since=18, settings=(1,))
def _center_crop_pad(node: Node) -> Run:
    axes = node.get("axes")

    def run(x: Tensor, shape: Tensor) -> Tensor:
        for axis, wanted in zip(axes if axes is not None else range(x.dim()), shape.tolist(), strict=True):
            size = x.shape[axis]
            if wanted < size:
                x = x.narrow(axis, (size - wanted) // 2, wanted)
            elif wanted > size:
                before = (wanted - size) // 2
                x = _pad(x, _sides([before, wanted - size - before], [axis % x.dim()], x.dim()), "constant", 0.0)
        return x

    return run
