"""Rules for convolutions, matrix products and batch norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from exporters.attaching.rule import BackStep, Names, emit_rule
from exporters.attaching.rules.pooling import find_windows, make_transposed_settings
from inspector.reverse.windows import Windows


@emit_rule("Gemm")
def _gemm(step: BackStep, g: str) -> Names:
    """The same weights, turned by the attribute: nothing is stored twice."""
    write = step.write
    back = write.emit(
        "Gemm", g, step.value(1), transB=0 if step.get("transB", 0) else 1, alpha=float(step.get("alpha", 1.0))
    )
    return [write.emit("Transpose", back, perm=[1, 0]) if step.get("transA", 0) else back]


def _turned(step: BackStep, position: int) -> str:
    """An operand of a matrix product with its last two axes exchanged."""
    rank = len(step.shape(position))
    order = [*range(rank - 2), rank - 1, rank - 2]
    return step.write.emit("Transpose", step.value(position), perm=order)


def _multiplies_matrices(step: BackStep) -> bool:
    return len(step.shape(0)) >= 2 and len(step.shape(1)) >= 2


def _undo(step: BackStep, g: str, position: int, rank: int) -> str:
    """The gradient of an operand that was broadcast over the axes before its last two."""
    own = step.shape(position)
    lead = rank - len(own)
    if lead:
        g = step.write.reduce("ReduceSum", g, range(lead), keep=False)
    whole = step.result_shape
    axes = [i for i in range(len(own) - 2) if own[i] == 1 and whole[i + lead] != 1]
    return step.write.reduce("ReduceSum", g, axes) if axes else g


@emit_rule("MatMul", accepts=_multiplies_matrices)
def _matmul(step: BackStep, g: str) -> Names:
    write = step.write
    if step.moving == (True, False) and len(step.shape(0)) == len(step.shape(1)) == 2:
        return [write.emit("Gemm", g, step.value(1), transB=1), None]
    rank = max(len(step.shape(0)), len(step.shape(1)))
    to_a = _undo(step, write.emit("MatMul", g, _turned(step, 1)), 0, rank) if step.moving[0] else None
    to_b = _undo(step, write.emit("MatMul", _turned(step, 0), g), 1, rank) if step.moving[1] else None
    return [to_a, to_b]


@emit_rule("BatchNormalization")
def _batch_norm(step: BackStep, g: str) -> Names:
    write, shape = step.write, (1, -1, *[1] * (len(step.shape()) - 2))
    scale, variance = step.known(1), step.known(4)
    epsilon = step.get("epsilon", 1e-5)
    if scale is not None and variance is not None:
        factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        return [write.emit("Mul", g, write.constant(factor.astype(np.float32).reshape(shape)))]
    deviation = write.emit("Sqrt", write.emit("Add", step.value(4), write.number(epsilon)))
    return [write.emit("Mul", g, write.reshape(write.emit("Div", step.value(1), deviation), *shape))]


def _conv_windows(step: BackStep) -> Windows | None:
    """Where the windows of a convolution lie; None where the sizes of the maps are open."""
    return find_windows(step, step.shape(1)[2:])


def _settings(step: BackStep) -> dict[str, Any]:
    names = ("strides", "dilations", "group", "pads")
    return {name: step.settings[name] for name in names if name in step.settings}


def _open_conv(step: BackStep, g: str) -> str:
    """Where the sizes are open: spread without padding, then the padding is cut off, and what is left over filled."""
    write, rank = step.write, len(step.shape()) - 2
    settings = _settings(step)
    pads = settings.pop("pads", None) or [0] * 2 * rank
    wide = write.emit("ConvTranspose", g, step.value(1), **settings)
    axes = list(range(2, 2 + rank))
    # One stride of zeros is more than can be left over.
    more = [0, 0, *[0] * rank, 0, 0, *(step.get("strides") or [1] * rank)]
    padded = write.emit("Pad", wide, write.ints(*more))
    starts = write.ints(*pads[:rank])
    lengths = write.emit("Gather", write.emit("Shape", step.node.input[0]), write.ints(*axes), axis=0)
    return write.emit("Slice", padded, starts, write.emit("Add", lengths, starts), write.ints(*axes))


def _pads_are_known(step: BackStep) -> bool:
    """Whether the padding is written down, or follows from sizes that are fixed."""
    return step.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") or _conv_windows(step) is not None


@emit_rule("Conv", accepts=_pads_are_known)
def _conv(step: BackStep, g: str) -> Names:
    """The transposed convolution with the same weights."""
    windows = _conv_windows(step)
    if windows is None:
        return [_open_conv(step, g)]
    settings: dict[str, Any] = {**make_transposed_settings(windows), "group": int(step.get("group", 1))}
    return [step.write.emit("ConvTranspose", g, step.value(1), **settings)]


@emit_rule("ConvTranspose")
def _conv_transpose(step: BackStep, g: str) -> Names:
    """The convolution with the same weights."""
    return [step.write.emit("Conv", g, step.value(1), **_settings(step))]
