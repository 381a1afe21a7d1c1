"""Channels that lie on the last axis are followed through every operator that leaves them there."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from inspector.graph import OPERATORS, Operator, read_graph
from inspector.layers import Layer, find_layers
from tests.conftest import MakeModel
from tests.foreign import Net

NHWC = (1, 32, 24, 3)
_VECTOR = np.ones(32, np.float32)
_PLACES = np.zeros((1, 32, 24, 3), np.int64)
SETTINGS: dict[str, list[Any]] = {
    "BatchNormalization": [_VECTOR] * 4,
    "QuantizeLinear": [np.float32(0.1), np.uint8(0)],
    "DequantizeLinear": [np.float32(0.1), np.uint8(0)],
    "Clip": [np.float32(0), np.float32(6)],
    "CastLike": [np.ones(1, np.float32)],
    "Slice": [np.array([1]), np.array([9]), np.array([1])],
    "Expand": [np.array([1, 32, 24, 3])],
    "Tile": [np.array([1, 2, 1, 1])],
    "GatherElements": [_PLACES],
    "ScatterElements": [_PLACES, np.ones(NHWC, np.float32)],
    "ScatterND": [np.zeros((1, 1), np.int64), np.ones((1, *NHWC[1:]), np.float32)],
    "ReverseSequence": [np.array([1] * 32)],
    "TopK": [np.array([2])],
    "Pad": [np.array([0, 1, 1, 0, 0, 1, 1, 0])],
    "CenterCropPad": [np.array([16, 16])],
    "Resize": ["", "", np.array([1, 64, 48, 3])],
    "Upsample": [np.array([1, 2, 2, 1], np.float32)],
    "InstanceNormalization": [_VECTOR] * 2,
    "GroupNormalization": [_VECTOR] * 2,
    "LayerNormalization": [np.ones(3, np.float32)],
    "RMSNormalization": [np.ones(3, np.float32)],
    "CumSum": [np.array(1)],
    "CumProd": [np.array(1)],
}  # fmt: skip
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "BitShift": {"direction": "LEFT"},
    "Cast": {"to": 1},
    "Concat": {"axis": 1},
    "Split": {"axis": 1, "num_outputs": 2},
    "ReverseSequence": {"batch_axis": 1, "time_axis": 0},
    "TopK": {"axis": 1},
    "CenterCropPad": {"axes": [1, 2]},
    "GroupNormalization": {"num_groups": 2},
    "LRN": {"size": 3},
}
_OLD = {"Upsample": 9, "Scatter": 10}
_TYPES = {"tensor(float)": 1, "tensor(bool)": 9, "tensor(int32)": 6, "tensor(uint8)": 2}
ROWS = [row for row in OPERATORS.values() if row.standard and row.keeps_layout and row.name != "Scatter"]


def last_layer(path: Any) -> Layer:
    return find_layers(read_graph(path))[-1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_channels_stay_last(row: Operator, make_model: MakeModel) -> None:
    """(N, H, W, C), then the operator, then a ReLU: the ReLU has three channels."""
    opset = _OLD.get(row.name, onnx.defs.onnx_opset_version())
    schema = onnx.defs.get_schema(row.name, opset)

    def build(n: Net, x: str) -> str:
        names = []
        for k in range((row.operands or 2) if row.elementwise or row.joins else 1):
            taken = schema.inputs[min(k, len(schema.inputs) - 1)].types
            kind = next(_TYPES[t] for t in _TYPES if t in taken)
            kind = 2 if row.name in ("DequantizeLinear", "BitShift") else kind
            names.append(n("Cast", x, to=kind))
        settings = [v if isinstance(v, str) else n.const(v) for v in SETTINGS.get(row.name, [])]
        outputs = ["made"] + [f"made{k}" for k in range(1, schema.min_output)]
        outputs = ["made", "made1"] if row.name == "Split" else outputs
        made = n(row.name, *names, *settings, out=outputs, **ATTRIBUTES.get(row.name, {}))
        return n("Relu", n("Cast", made, to=1), out="y")

    # onnx infers no shape behind these two, so the file declares it.
    declared = {"y": NHWC} if row.name in ("GroupNormalization", "MeanVarianceNormalization") else None
    layer = last_layer(make_model(build, shape=NHWC, opset=opset, outputs=declared))
    assert (layer.tensor, layer.kind, layer.channels_last) == ("y", "activation", True)
    assert layer.channels == 3
    if row.elementwise:
        assert layer.shape == (1, 3, 32, 24)


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_mean_over_the_places_keeps_the_channels(keepdims: int, make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        return n("ReduceMean", n("Floor", x), axes=[1, 2], keepdims=keepdims)

    layer = last_layer(make_model(build, shape=NHWC))
    assert (layer.kind, layer.shape) == ("pool", (1, 3, 1, 1) if keepdims else (1, 3))


def test_convolutions_that_are_channels_last(make_model: MakeModel) -> None:
    """onnxruntime's own: they give (N, H, W, C) whatever they are given."""

    def build(n: Net, x: str) -> str:
        x = n("NhwcFusedConv", x, n.weight((8, 3, 3, 3)), domain="com.microsoft", kernel_shape=[3, 3], out="c")
        return n("QLinearSigmoid", x, out="y", domain="com.microsoft")

    layers = find_layers(read_graph(make_model(build, shape=NHWC, com_microsoft=1)))
    assert [(x.tensor, x.kind, x.channels_last) for x in layers] == [("c", "conv", True), ("y", "activation", True)]
