"""Where operators that compute with integers take the scale of what they give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from inspector.graph.operators.row import Operator

_OUTPUT_SCALE = {
    "QuantizeLinear": 1,
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QLinearSigmoid": 3,
    "QLinearLeakyRelu": 3,
    "QLinearGlobalAveragePool": 3,
    "QLinearAveragePool": 3,
    "QLinearConcat": 0,
    "QGemm": 7,
}
"""Operator -> position among its inputs, in ONNX's set and in onnxruntime's alike."""


def add_scales(rows: Iterable[Operator]) -> Iterator[Operator]:
    """The same rows, which say where the scale of the output stands."""
    for row in rows:
        yield replace(row, output_scale=_OUTPUT_SCALE[row.name]) if row.name in _OUTPUT_SCALE else row
