"""Rules for what enlarges or shrinks maps: interpolation, transposed convolutions, and channels laid out as places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.reverse.rule import Array, Gradients, HeadNode, gradient_rule
from inspector.reverse.windows import Windows

_PLACES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric")
_ROUND: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _is_known(step: HeadNode) -> bool:
    """Whether a resize is one whose samples are known here: no crop, no antialiasing, no aspect ratio kept."""
    return (
        step.get("coordinate_transformation_mode", "half_pixel") in _PLACES
        and step.get("mode", "nearest") in ("nearest", "linear", "cubic")
        and not step.get("antialias", 0)
        and step.get("keep_aspect_ratio_policy", "stretch") == "stretch"
        and not any(step.moving[1:])
    )


@gradient_rule("Resize", "Upsample", shapes=True, linear="always", accepts=_is_known)
def _resize(step: HeadNode, g: Array) -> Gradients:
    """Interpolation is one small matrix per axis, and its gradient the transposed matrices."""
    out = g
    for axis, matrix in find_resize_matrices(step, step.x.shape, g.shape).items():
        out = np.moveaxis(np.tensordot(out, matrix.astype(out.dtype), axes=(axis, 0)), -1, axis)
    return [out]


def find_resize_matrices(step: HeadNode, size: tuple[int, ...], out: tuple[int, ...]) -> dict[int, NDArray[np.float64]]:
    """What a resize does along each axis that it changes.

    Args:
        step: The node, and the values of its other inputs.
        size: The shape of what it reads.
        out: The shape of what it makes.

    Returns:
        Axis -> float64 (new, old): each new sample as a mix of old ones.
    """
    return {
        axis: sampling_matrix(size[axis], out[axis], scale, *_kind(step))
        for axis, scale in _scales(step, size, out).items()
        if (out[axis], scale) != (size[axis], 1)
    }


def _scales(step: HeadNode, size: tuple[int, ...], out: tuple[int, ...]) -> dict[int, float]:
    """Axis -> new length over old, as the node gives it: it need not be the ratio of the two whole lengths."""
    modern = step.node.op_type == "Resize" and step.opset >= 11
    position = 2 if modern else 1
    axes = [a % len(size) for a in step.get("axes") or range(len(size))]
    given = step.value(position).ravel().tolist() if step.has(position) else step.get("scales") or []
    if given:
        return dict(zip(axes, map(float, given), strict=True))
    return {axis: out[axis] / size[axis] for axis in axes}


def _kind(step: HeadNode) -> tuple[str, str, str, float, bool]:
    """(mode, where samples lie, how nearest rounds, the cubic's coefficient, whether samples outside count)."""
    old = step.node.op_type == "Upsample" or step.opset < 11
    return (
        step.get("mode", "nearest"),
        "asymmetric" if old else step.get("coordinate_transformation_mode", "half_pixel"),
        "floor" if old else step.get("nearest_mode", "round_prefer_floor"),
        float(step.get("cubic_coeff_a", -0.75)),
        not step.get("exclude_outside", 0),
    )


# Wide: everything that decides which samples are mixed; one of them is kept for each set.
@lru_cache(maxsize=64)
def sampling_matrix(
    old: int, new: int, scale: float, mode: str, places: str, rounding: str, a: float, outside: bool
) -> NDArray[np.float64]:
    """float64 (new, old): each new sample as a mix of old ones, as ONNX defines Resize along one axis."""
    at = _positions(old, new, scale, places)
    matrix = np.zeros((new, old))
    rows = np.arange(new)
    if mode == "nearest":
        matrix[rows, np.clip(_ROUND[rounding](at), 0, old - 1).astype(int)] = 1
        return matrix
    if mode == "linear":
        at = np.clip(at, 0, old - 1)
    low = np.floor(at).astype(int)
    part = at - low
    taps: list[tuple[int, Any]] = [(0, 1 - part), (1, part)]
    if mode == "cubic":
        taps = [(k, _cubic(np.abs(part - k), a)) for k in (-1, 0, 1, 2)]
    for k, weight in taps:
        inside = outside | ((low + k >= 0) & (low + k < old))
        np.add.at(matrix, (rows, np.clip(low + k, 0, old - 1)), np.where(inside, weight, 0.0))
    return matrix if outside or mode == "linear" else matrix / matrix.sum(axis=1, keepdims=True)


def _positions(old: int, new: int, scale: float, places: str) -> NDArray[np.float64]:
    """Where each new sample lies among the old ones."""
    index = np.arange(new, dtype=np.float64)
    if places == "asymmetric":
        return index / scale
    if places == "align_corners":
        return index * ((old - 1) / (new - 1)) if new > 1 else np.zeros(new)
    if places == "pytorch_half_pixel" and new == 1:
        return np.zeros(1)
    at = (index + 0.5) / scale - 0.5
    if places == "half_pixel_symmetric":
        return at + old / 2 * (1 - new / (scale * old))
    return at


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' convolution kernel."""
    d = distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


@gradient_rule("DepthToSpace", linear="always", inputs=False, operands=())
def _depth_to_space(step: HeadNode, g: Array) -> Gradients:
    n, c, h, w = g.shape
    b = step.get("blocksize")
    cells = g.reshape(n, c, h // b, b, w // b, b)
    order = (0, 1, 3, 5, 2, 4) if step.get("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    return [cells.transpose(order).reshape(n, c * b * b, h // b, w // b)]


@gradient_rule("SpaceToDepth", linear="always", inputs=False, operands=())
def _space_to_depth(step: HeadNode, g: Array) -> Gradients:
    n, c, h, w = g.shape
    b = step.get("blocksize")
    cells = g.reshape(n, b, b, c // (b * b), h, w)
    return [cells.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)]


@gradient_rule(
    "ConvTranspose",
    shapes=True,
    linear="product",
    operands=(1,),
    accepts=lambda step: (
        step.moving[0]
        and not any(step.moving[1:])
        and not step.get("output_shape")
        and step.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    ),
)
def _conv_transpose(step: HeadNode, g: Array) -> Gradients:
    """What spreads forwards gathers backwards: a convolution of the gradient, its windows lying on the output."""
    weight = step.value(1)
    batch, channels, size = step.x.shape[0], step.x.shape[1], step.x.shape[2:]
    groups = step.get("group", 1)
    windows = Windows.of(step, g.shape[2:], size, weight.shape[2:])
    padded = windows.make_padded(g.shape[:2], g.dtype)
    windows.strip(padded)[...] = g
    per_group = np.asarray(weight, g.dtype).reshape(groups, channels // groups, *weight.shape[1:])
    out = np.zeros((batch, groups, channels // groups, int(np.prod(size))), g.dtype)
    for at in windows.offsets():
        place: tuple[Any, ...] = (..., *at)
        seen = padded[windows.slices(at)].reshape(batch, groups, g.shape[1] // groups, -1)
        out += per_group[place] @ seen
    return [out.reshape(batch, channels, *size)]
