"""The value of every tensor by onnx's own reference evaluator, which shares no code with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


class BatchNormalization(OpRun):
    """In inference mode; the reference's versions before 14 compute the training mode."""

    def _run(self, x: Any, scale: Any, bias: Any, mean: Any, var: Any, epsilon: float = 1e-5, **_: Any) -> Any:
        shape = (1, -1, *(1,) * (x.ndim - 2))
        scale, bias, mean, var = (v.reshape(shape).astype(np.float64) for v in (scale, bias, mean, var))
        return (((x - mean) / np.sqrt(var + (epsilon or 1e-5)) * scale + bias).astype(x.dtype),)


def _along(value: Any, rank: int, axis: int) -> Any:
    return value.reshape([-1 if i == axis % rank else 1 for i in range(rank)]) if value.size > 1 else value.reshape(())


class QuantizeLinear(OpRun):
    """The reference has it from opset 19 on only."""

    def _run(self, x: Any, scale: Any, zero: Any = None, axis: int = 1, **_: Any) -> Any:
        zero = np.uint8(0) if zero is None else zero
        limits = np.iinfo(zero.dtype)
        scaled = np.rint(x / _along(np.asarray(scale), x.ndim, axis or 0))
        shifted = scaled + _along(np.asarray(zero), x.ndim, axis or 0).astype(np.float32)
        return (shifted.clip(limits.min, limits.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    """The reference has it from opset 19 on only."""

    def _run(self, x: Any, scale: Any, zero: Any = None, axis: int = 1, **_: Any) -> Any:
        offset = 0 if zero is None else _along(np.asarray(zero), x.ndim, axis or 0).astype(np.float32)
        return (((x.astype(np.float32) - offset) * _along(np.asarray(scale), x.ndim, axis or 0)).astype(np.float32),)


class LRN(OpRun):
    """As the operator's page defines it; the reference sums over a window of another size."""

    def _run(self, x: Any, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int = 1, **_: Any) -> Any:
        square = np.zeros_like(x)
        for c in range(x.shape[1]):
            window = slice(max(0, c - (size - 1) // 2), c + -(-(size - 1) // 2) + 1)
            square[:, c] = (x[:, window] ** 2).sum(axis=1)
        return (x / ((bias or 1.0) + (alpha or 1e-4) / size * square) ** (beta or 0.75),)


def oracle(model: onnx.ModelProto, feed: NDArray[Any], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The values of `tensors` for one picture."""
    inner = onnx.inliner.inline_local_functions(model) if model.functions else model
    whole = onnx.ModelProto()
    whole.CopyFrom(inner)
    weights = {t.name for t in whole.graph.initializer}
    inputs = [v for v in whole.graph.input if v.name not in weights]
    del whole.graph.input[:], whole.graph.output[:]
    whole.graph.input.extend(inputs)
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    evaluator = ReferenceEvaluator(whole, new_ops=[BatchNormalization, LRN, QuantizeLinear, DequantizeLinear])
    values = evaluator.run(None, {inputs[0].name: feed})
    return dict(zip(tensors, map(np.asarray, values), strict=True))
