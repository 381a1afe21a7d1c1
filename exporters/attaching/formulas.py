"""The formulas of the methods as nodes; each is the one of its file in :mod:`inspector.cam.methods`.

Activation and gradient are float32 (N, C, P), with P = h w places; a map is (N, 1, P).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.attaching.writer import GraphWriter
from inspector.cam.methods.gradcampp import SMALL
from inspector.cam.result import NOISE

_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PlaceSums:
    """Sums and means over the places of maps (N, C, P): (N, C, 1).

    Attributes:
        write: Where they are written.
        rows: A tensor (N, C, h, w): its rows are added up first, and then what comes of them, so that the rounding of
            fifty thousand numbers does not add up; empty adds up all at once, which is enough for small maps.
    """

    write: GraphWriter
    rows: str = ""

    def reduce(self, op: str, x: str) -> str:
        """Reduce the places by ReduceSum or ReduceMean."""
        if not self.rows:
            return self.write.reduce(op, x, [2])
        by_rows = self.write.reduce(op, self.write.reshape_like(x, self.rows), [3])
        return self.write.reshape(self.write.reduce(op, by_rows, [2]), 0, 0, 1)


Formula = Callable[[PlaceSums, str, str], str]
_UNIFORM = 1e-5
"""Gradients that differ by less from place to place, as a share of their largest, are the same: as `cam` has it."""


def _weigh(write: GraphWriter, weights: str, activation: str) -> str:
    """sum_c w_c A_c: weights (N, C, 1)."""
    return write.emit("MatMul", write.emit("Transpose", weights, perm=[0, 2, 1]), activation)


def _gradcam(sums: PlaceSums, activation: str, gradient: str) -> str:
    return _weigh(sums.write, sums.reduce("ReduceMean", gradient), activation)


def _hirescam(sums: PlaceSums, activation: str, gradient: str) -> str:
    return sums.write.reduce("ReduceSum", sums.write.emit("Mul", gradient, activation), [1])


def _layercam(sums: PlaceSums, activation: str, gradient: str) -> str:
    return _hirescam(sums, activation, sums.write.emit("Relu", gradient))


def _gradcampp(sums: PlaceSums, activation: str, gradient: str) -> str:
    write, whole = sums.write, sums.reduce("ReduceSum", activation)
    square = write.emit("Mul", gradient, gradient)
    cube = write.emit("Mul", square, gradient)
    divisor = write.emit("Add", write.emit("Mul", square, write.number(2)), write.emit("Mul", whole, cube))
    divisor = write.emit("Add", divisor, write.number(SMALL))
    counts = write.emit("And", _is_not_zero(write, gradient), _is_not_zero(write, divisor))
    share = write.keep_where(counts, write.emit("Div", square, _or_one(write, counts, divisor)))
    return _weigh(write, sums.reduce("ReduceSum", write.emit("Mul", share, write.emit("Relu", gradient))), activation)


def _xgradcam(sums: PlaceSums, activation: str, gradient: str) -> str:
    write, whole = sums.write, sums.reduce("ReduceSum", activation)
    along = sums.reduce("ReduceSum", write.emit("Mul", gradient, activation))
    counts = _is_not_zero(write, whole)
    quotient = write.keep_where(counts, write.emit("Div", along, _or_one(write, counts, whole)))
    high = write.reduce("ReduceMax", gradient, [2])
    low = write.reduce("ReduceMin", gradient, [2])
    return _weigh(write, write.emit("Where", write.emit("Equal", high, low), high, quotient), activation)


def _is_not_zero(write: GraphWriter, x: str) -> str:
    return write.emit("Not", write.emit("Equal", x, write.number(0)))


def _or_one(write: GraphWriter, condition: str, x: str) -> str:
    return write.emit("Where", condition, x, write.number(1))


FORMULAS: dict[str, Formula] = {
    "cam": _gradcam,  # the same map but for the number of places, which the scaling takes out
    "gradcam": _gradcam,
    "gradcam++": _gradcampp,
    "hirescam": _hirescam,
    "layercam": _layercam,
    "xgradcam": _xgradcam,
}
"""Method -> what writes its map."""


def emit_map(write: GraphWriter, method: str, activation: str, gradient: str, rows: str = "") -> str:
    """Write the map of a method, before ReLU and scaling: (N, 1, P).

    Args:
        write: Where to.
        method: Its name.
        activation: The maps, (N, C, P).
        gradient: Their gradient, (N, C, P).
        rows: Of large maps the same as (N, C, h, w), see :class:`PlaceSums`.
    """
    return FORMULAS[method](PlaceSums(write, rows), activation, gradient)


def scale_maps(write: GraphWriter, raw: str, axes: Sequence[int], many: bool = False) -> str:
    """max(raw, 0) / max(raw) over the last axes; zeros where there is no positive evidence beyond rounding.

    What shows nothing is divided by infinity, which costs less than to choose at each place.

    Args:
        write: Where to.
        raw: The maps.
        axes: Those of the places.
        many: There are many maps; onnxruntime is slow with long rows of numbers that end in axes of length 1.
    """
    high = write.reduce("ReduceMax", raw, axes, keep=not many)
    low = write.reduce("ReduceMin", raw, axes, keep=not many)
    shows = write.emit("Greater", high, write.emit("Mul", low, write.number(-NOISE)))
    whole = write.emit("Where", shows, high, write.number(np.inf))
    if many:
        whole = write.emit("Unsqueeze", whole, write.ints(*axes))
    return write.emit("Div", write.emit("Relu", raw), whole)


def find_channel_weights(method: str, gradient: _Floats, sized: bool) -> _Floats | None:
    """The weights of channels that make a method's maps of several classes as one product, but for a positive factor.

    Args:
        method: The name of the method.
        gradient: float32 (K, C, h, w), the same for every picture.
        sized: Whether h and w are fixed.

    Returns:
        float32 (K, C); None where the map is no such product.
    """
    first = gradient[:, :, :1, :1]
    spread = np.abs(gradient - first).max(axis=(1, 2, 3))
    uniform = bool((spread <= _UNIFORM * np.abs(first).max(axis=(1, 2, 3))).all())
    if not uniform and (method != "gradcam" or not sized):
        return None
    places = gradient.shape[2] * gradient.shape[3]
    weights = np.asarray(gradient.mean(axis=(2, 3), dtype=np.float64) * places, np.float32)
    if method == "gradcam++":
        return None
    return np.maximum(weights, 0) if method == "layercam" else weights
