"""Heads of other people's classifiers: how many classes they have, and why others have no head that can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from exporters.finetuning import export_run, finetune
from exporters.planning.boundary import place_boundary
from exporters.planning.head import find_classifier_head, write_with_head
from exporters.planning.trunk import write_trunk
from inspector import open_model
from inspector.errors import NotComputable
from tests.conftest import MakeModel
from tests.foreign import FLOAT, Net


def paddle() -> onnx.ModelProto:
    """Paddle flattens by a shape that it computes from the batch, so that inference loses the number of classes."""
    net = Net(3, producer="PaddlePaddle")
    x, channels = net.input("image", ("n", 3, 16, 16)), 3
    for i in range(2):
        weight = net.node_const(net.rng.standard_normal((8, channels, 3, 3)).astype(np.float32), f"conv2d_{i}.w_0")
        x = net("Conv", x, weight, out=f"p2o.pd_op.conv2d.{i}.0", strides=[2, 2], pads=[1] * 4)
        bias = net("Reshape", net.node_const(np.ones(8, np.float32)), net.node_const(np.array([1, -1, 1, 1])))
        x = net("Relu", net("Add", x, bias), out=f"p2o.pd_op.relu.{i}.0")
        channels = 8
    x = net("GlobalAveragePool", x)
    batch = net("Slice", net("Shape", x), *(net.node_const(np.array([k])) for k in (0, 1, 0)))
    x = net("Reshape", x, net("Concat", batch, net.node_const(np.array([-1])), axis=0))
    x = net("MatMul", x, net.node_const(net.rng.standard_normal((8, 5)).astype(np.float32), "linear_0.w_0"))
    x = net("Add", x, net.node_const(np.zeros(5, np.float32), "linear_0.b_0"), out="fetch_name_0")
    return net.model(x, shapes={x: ("n", 5)})


def of_another_domain() -> onnx.ModelProto:
    """onnxruntime's optimiser writes operators of its own, through which no shape is inferred."""
    net = Net(4, producer="onnxruntime", com_microsoft=1)
    x = net.input("x", (1, 3, 16, 16))
    weight = net.weight((8, 3, 3, 3))
    x = net("FusedConv", x, weight, domain="com.microsoft", pads=[1] * 4, activation="Relu", kernel_shape=[3, 3])
    x = net("Flatten", net("GlobalAveragePool", x))
    x = net("Gemm", x, net.weight((5, 8)), net.weight((5,)), transB=1, out="scores")
    return net.model(x, shapes={x: (1, 5)})


def initializers_as_inputs() -> onnx.ModelProto:
    net = Net(5, opset=11, ir=3)
    x = net("Relu", net.conv(net.input("x", (1, 3, 16, 16)), 3, 8))
    x = net("Flatten", net("GlobalAveragePool", x))
    x = net("Gemm", x, net.weight((5, 8)), net.weight((5,)), transB=1, out="scores")
    return net.model(x, shapes={x: (1, 5)}, weights_as_inputs=True)


@pytest.mark.parametrize("build", [paddle, of_another_domain, initializers_as_inputs])
def test_the_new_file_says_how_many_classes(build: Any, make_model: MakeModel, tmp_path: Path) -> None:
    model = open_model(make_model(build()))
    assert (model.classes, find_classifier_head(model).classes) == (5, 5)
    path = tmp_path / "new.onnx"
    write_with_head(model, path, ["a", "b", "c"], 0)
    new = open_model(path)
    assert new.classes == 3
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    scores = session.run([session.get_outputs()[0].name], {new.input.name: np.zeros((1, 3, 16, 16), np.float32)})[0]
    assert np.asarray(scores).shape == (1, 3)


def test_a_bias_that_the_graph_reshapes_does_not_hide_the_weights(make_model: MakeModel) -> None:
    model = open_model(make_model(paddle()))
    boundary = place_boundary(model, find_classifier_head(model), unfreeze_last=1)
    assert model.graph.nodes[boundary.start].output[0] == "p2o.pd_op.conv2d.1.0"


def test_integers_cannot_be_trained(make_model: MakeModel) -> None:
    net = Net(6)
    x = net("Flatten", net("GlobalAveragePool", net.conv(net.input("x", (1, 3, 16, 16)), 3, 8)))
    scale, zero = net.const(np.float32(0.1)), net.const(np.int8(0))
    weight = net("DequantizeLinear", net.const(net.rng.integers(-9, 9, (8, 5)).astype(np.int8)), scale, zero)
    x = net("DequantizeLinear", net("QuantizeLinear", net("MatMul", x, weight), scale, zero), scale, zero, out="scores")
    model = open_model(make_model(net.model(x, shapes={x: (1, 5)})))
    with pytest.raises(NotComputable, match=r"is quantized: its scores are made with integers.*give the float model"):
        find_classifier_head(model)


def test_half_precision_is_named(make_model: MakeModel, tmp_path: Path) -> None:
    from exporters.quantizing import QuantizeError, quantize_model
    from tests.conftest import PHOTO

    net = Net(7)
    x = net("Cast", net.input("x", (1, 3, 16, 16)), to=helper.np_dtype_to_tensor_dtype(np.dtype(np.float16)))
    x = net("Conv", x, net.weight((8, 3, 3, 3), dtype=np.float16), pads=[1] * 4)
    model = make_model(net.model(net("Cast", x, to=1, out="y"), shapes={"y": (1, 8, 16, 16)}))
    with pytest.raises(QuantizeError, match="are in half precision; integers are made of float32; give the float32"):
        quantize_model(model, tmp_path / "out.onnx", [PHOTO])


def test_a_base_in_half_precision_trains(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its twin computes in single: held to what half precision rounds, and not to what single does."""
    monkeypatch.setattr("exporters.finetuning.finish.TOLERANCE", 1e-5)
    net = Net(seed=3)
    half = helper.np_dtype_to_tensor_dtype(np.dtype(np.float16))

    y = net("Cast", net.input("x", ("N", 3, 16, 16)), to=half)
    y = net("Relu", net("Conv", y, net.weight((8, 3, 3, 3), dtype=np.float16), pads=[1] * 4), out="relu")
    y = net("Flatten", net("AveragePool", y, kernel_shape=[4, 4], strides=[4, 4]))
    y = net("Cast", net("Gemm", y, net.weight((128, 7), dtype=np.float16)), to=1, out="scores")
    base = tmp_path / "half.onnx"
    base.write_bytes(net.model(y, shapes={y: ("N", 7)}).SerializeToString())
    options = {"head_epochs": 1, "joint_epochs": 1, "unfreeze_last": 1, "cache": tmp_path / "cache"}
    made = finetune(digits, base, tmp_path / "run", **options)
    assert (
        max(row.relative for row in made.parity) > 1e-5
    )  # what this test would refuse a network in single precision for
    assert all(row.ok for row in made.parity)
    weights = onnx.load(made.model).graph.initializer
    assert {t.data_type for t in weights if len(t.dims) > 1} == {half}
    session = onnxruntime.InferenceSession(made.model)
    assert np.isfinite(session.run(["scores"], {"x": np.zeros((1, 3, 16, 16), np.float32)})[0]).all()


def without_a_batch_axis() -> onnx.ModelProto:
    """(3, H, W) goes in and (5,) comes out, and the picture is divided by a second input."""
    net = Net(8)
    x = net("Div", net.input("x", (3, 16, 16)), net.input("factor", (1,), FLOAT))
    x = net("Unsqueeze", x, net.const([0], dtype=np.int64))
    x = net("Relu", net.conv(x, 3, 8, out="c"), out="r")
    x = net("Squeeze", net("Flatten", net("GlobalAveragePool", x)), net.const([0], dtype=np.int64))
    x = net("Add", net("MatMul", x, net.weight((8, 5), "w")), net.weight((5,), "b"), out="scores")
    return net.model(x, shapes={x: (5,)})


def test_a_fine_tuned_file_takes_what_its_base_takes(digits: Path, make_model: MakeModel, tmp_path: Path) -> None:
    base = make_model(without_a_batch_axis())
    options = {"head_epochs": 1, "joint_epochs": 1, "unfreeze_last": 1, "cache": tmp_path / "cache", "augment": ()}
    made = finetune(digits, base, tmp_path / "run", inputs={"factor": 2.0}, **options)
    export_run(tmp_path / "run", tmp_path / "again.onnx")
    write_trunk(open_model(base, inputs={"factor": 2.0}), tmp_path / "trunk.onnx")
    write_with_head(open_model(tmp_path / "trunk.onnx"), tmp_path / "headed.onnx", ["a", "b", "c"], 0)
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for path in (made.model, tmp_path / "again.onnx", tmp_path / "headed.onnx"):
        onnx.checker.check_model(onnx.load(path))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [(i.name, i.shape) for i in session.get_inputs()] == [("x", [3, 16, 16]), ("factor", [1])]
        model = open_model(path)
        feeds = {"x": model.tensor(picture)[0], "factor": np.float32([2])}
        [found] = session.run([session.get_outputs()[0].name], feeds)
        assert found.shape == ((1, 3) if path.stem == "headed" else (3,))
        np.testing.assert_allclose(model.scores(model.tensor(picture))[0], found.ravel(), rtol=1e-5, atol=1e-6)
        assert model.metadata.inputs == {"factor": [2.0]}
