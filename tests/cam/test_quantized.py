"""Maps of quantised files: the clamp of a quantiser is part of the function, and integers stand for numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector import Model, open_model
from inspector.cam import class_activation_maps
from tests.cam.nets import CHANNELS, CLASSES, Array, node, normal, picture, save_net
from tests.conftest import require

require("torch")
quantization = pytest.importorskip("onnxruntime.quantization")


@pytest.fixture
def float_net(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two convolutions with a ReLU each, a mean, a linear layer."""
    weights = {
        "k": normal(rng, CHANNELS, 3, 3, 3),
        "kb": normal(rng, CHANNELS),
        "k2": normal(rng, 8, CHANNELS, 3, 3) / 4,
        "k2b": normal(rng, 8),
        "w": normal(rng, CLASSES, 8),
        "b": normal(rng, CLASSES),
    }
    nodes = [
        node("Conv", "x k kb", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("Conv", "r k2 k2b", "c2", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c2", "r2"),
        node("GlobalAveragePool", "r2", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    shape = (1, 3, 16, 16)
    return save_net(tmp_path / "float.onnx", nodes, weights, outputs={"logits": [1, CLASSES]}, shape=shape)


def quantize(path: Path, kind: str, x: Array, signed: bool = False) -> Model:
    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter([{"x": x}, {"x": -x}])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.rows, None)

    types = quantization.QuantType
    target = path.with_name(f"{kind}.onnx")
    quantization.quantize_static(
        path,
        target,
        Reader(),
        quant_format=getattr(quantization.QuantFormat, kind),
        activation_type=types.QInt8 if signed else types.QUInt8,
        per_channel=True,
    )
    return open_model(target)


def layer_like(model: Model, wanted: Model, name: str) -> str:
    """The layer of a quantised file that stands where a convolution of the float file does."""
    convs = [[x.name for x in m.layers if x.kind == "conv"] for m in (model, wanted)]
    return convs[0][convs[1].index(name)]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("backend", ["onnx", "twin"])
@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_quantiser_that_replaced_a_relu_passes_no_gradient_below_zero(
    number: int, method: str, backend: str, signed: bool, float_net: Path, rng: np.random.Generator
) -> None:
    x = picture(rng)
    model = quantize(float_net, "QDQ", x, signed)
    assert "Relu" not in [n.op_type for n in model.graph.nodes]
    plain = open_model(float_net)
    name = [layer.name for layer in plain.layers if layer.kind == "conv"][number]
    [wanted] = class_activation_maps(plain, x, classes=[2], method=method, layer=name)
    other = layer_like(model, plain, name)
    [found] = class_activation_maps(model, x, classes=[2], method=method, layer=other, backend=backend)
    assert found.backend == backend
    assert np.abs(found.raw - wanted.raw).max() < 0.06 * np.abs(wanted.raw).max()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("method", ["gradcam", "hirescam", "ablationcam"])
def test_layers_of_integers_are_the_numbers_they_stand_for(
    method: str, signed: bool, float_net: Path, rng: np.random.Generator
) -> None:
    x = picture(rng)
    model, plain = quantize(float_net, "QOperator", x, signed), open_model(float_net)
    relus = [layer.name for layer in plain.layers if layer.kind == "activation"]
    convs = [layer.name for layer in model.layers if layer.kind == "conv"]
    pairs = list(zip(relus, convs, strict=True))  # the ReLU is inside of QLinearConv
    # Without a channel of the first, scores would leave the range that the file can hold: ablation at the last alone.
    for relu, conv in pairs[1:] if method == "ablationcam" else pairs:
        [wanted] = class_activation_maps(plain, x, classes=[2], method=method, layer=relu)
        [found] = class_activation_maps(model, x, classes=[2], method=method, layer=conv)
        assert np.abs(found.raw - wanted.raw).max() < 0.15 * np.abs(wanted.raw).max()
