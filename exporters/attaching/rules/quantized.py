"""Rules for rounding to integers and back, straight through it, as :mod:`inspector.reverse.rules.form` has them."""

from __future__ import annotations

import numpy as np
from onnx import helper

from exporters.attaching.rule import Array, BackStep, Names, emit_rule


@emit_rule("DequantizeLinear")
def _dequantize(step: BackStep, g: str) -> Names:
    return [g]


def _read_steps(step: BackStep) -> tuple[Array, Array, tuple[int, int]] | None:
    """(scale, zero point, (smallest, largest) of the integers), both to be broadcast; None where they are not known."""
    scale, zero = step.known(1), step.known(2) if step.has(2) else None
    if scale is None or (step.has(2) and zero is None) or step.get("block_size", 0):
        return None
    kind = step.get("output_dtype", 0)
    plain = np.dtype(helper.tensor_dtype_to_np_dtype(kind)) if kind else np.dtype(np.uint8)
    dtype = plain if zero is None else zero.dtype
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    rank, axis = len(step.shape()), step.get("axis", 1)
    sides = [1] * rank
    if scale.size > 1:
        sides[axis % rank] = -1
    offset = np.zeros(scale.shape, np.float32) if zero is None else zero.astype(np.float32)
    limits = np.iinfo(dtype)
    return scale.astype(np.float32).reshape(sides), offset.reshape(sides), (int(limits.min), int(limits.max))


@emit_rule("QuantizeLinear", accepts=lambda step: _read_steps(step) is not None)
def _quantize(step: BackStep, g: str) -> Names:
    """What the type cannot hold is cut off, and passes no gradient; less than a step beyond an end was rounded."""
    found = _read_steps(step)
    assert found is not None
    scale, zero, (low, high) = found
    write, x = step.write, step.value()
    steps = write.emit("Round", write.emit("Div", x, write.constant(scale)))
    passes = write.emit(
        "And",
        write.emit("GreaterOrEqual", steps, write.constant(low - 1 - zero)),
        write.emit("LessOrEqual", steps, write.constant(high + 1 - zero)),
    )
    if (zero == low).any():  # such a type cuts all below 0, as the ReLU did that quantisers drop before it
        positive = write.emit("GreaterOrEqual", x, write.number(0))
        if not (zero == low).all():
            positive = write.emit("Or", positive, write.constant(zero != low))
        passes = write.emit("And", passes, positive)
    return [write.keep_where(passes, g)]
