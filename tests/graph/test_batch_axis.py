"""Pictures without a batch axis: all is what onnxruntime computes of the file as it is, with an axis in front."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import inspector
from inspector import open_model
from inspector.errors import ModelError
from tests.conftest import MakeModel, require
from tests.foreign import FLOAT, Net

PICTURE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def as_torch_writes_it(n: Net, x: str, axes: bool = True) -> str:
    """What torch.onnx.export makes of convolutions that are given (C, H, W); without axes: (N, C, H, W)."""

    def batched(tensor: str) -> str:
        return n("Unsqueeze", tensor, n.const([0], dtype=np.int64)) if axes else tensor

    def bare(tensor: str, out: str) -> str:
        return n("Squeeze", tensor, n.const([0], dtype=np.int64), out=out) if axes else n("Identity", tensor, out=out)

    y = n("Div", n("Sub", x, n.const(np.full((3, 1, 1), 0.5))), n.const(np.full((3, 1, 1), 0.25)))
    y = bare(n.conv(batched(y), 3, 8, w="w1", bias="b1", out="c1"), "s1")
    y = n("Relu", y, out="r1")
    y = bare(n("MaxPool", batched(y), kernel_shape=[2, 2], strides=[2, 2], out="p1"), "q1")
    y = bare(n.conv(batched(y), 8, 6, w="w2", bias="b2", out="c2"), "s2")
    y = n("Relu", y, out="r2")
    y = n("ReduceMean", y, axes=[1, 2] if axes else [2, 3], keepdims=0, out="pooled")
    return n("Add", n("MatMul", y, n.weight((6, 4), "w3")), n.const(np.arange(4.0), "b3"), out="scores")


def names(model: Any) -> list[str]:
    return [layer.tensor for layer in model.layers]


def run_file(path: Path, tensors: list[str], feeds: dict[str, Any]) -> list[Any]:
    """Tensors of a file as onnxruntime computes them, with nothing of ours in between."""
    proto = onnx.load(path)
    known = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=t) for t in tensors if t not in known)
    return list(
        onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(tensors, feeds)
    )


def test_layers_answers_and_maps(make_model: MakeModel) -> None:
    path = make_model(as_torch_writes_it, shape=(3, 16, 24))
    model = open_model(path, provider="cpu")
    assert model.input.shape == (1, 3, 16, 24)
    assert names(model) == ["c1", "r1", "p1", "c2", "r2", "pooled", "scores"]
    tensor = model.tensor(PICTURE)
    expected = run_file(path, names(model), {"x": tensor[0]})
    for (name, values), layer, wanted in zip(model.activations(PICTURE).items(), model.layers, expected, strict=True):
        with_axis = wanted if wanted.ndim == 4 else wanted[None]
        assert layer.shape == with_axis.shape, name
        np.testing.assert_allclose(values, with_axis, rtol=1e-5, atol=1e-5)
    shares = np.exp(expected[-1] - expected[-1].max())
    best = model.predict(PICTURE, 1)[0]
    assert best.index == int(shares.argmax())
    assert best.probability == pytest.approx(float(shares.max() / shares.sum()), rel=1e-5)
    two = np.concatenate([tensor, tensor[..., ::-1]])
    other = run_file(path, ["scores"], {"x": np.ascontiguousarray(tensor[0][..., ::-1])})[0]
    np.testing.assert_allclose(model.scores(two), [expected[-1], other], rtol=1e-5, atol=1e-5)
    build = partial(as_torch_writes_it, axes=False)
    plain = open_model(make_model(build, shape=(1, 3, 16, 24), name="plain.onnx"), provider="cpu")
    for layer_name in ("r1", "r2"):
        ours, theirs = (m.cam(PICTURE, classes=2, layer=layer_name)[0] for m in (model, plain))
        np.testing.assert_allclose(ours.raw, theirs.raw, rtol=1e-5, atol=1e-6)


def test_what_is_computed_in_other_ways_reads_it_without_the_axis(make_model: MakeModel) -> None:
    """A detector of torchvision: sizes are read, the picture is resized and padded by hand, boxes have no axis."""

    def build(n: Net, x: str) -> str:
        height = n("Cast", n("Gather", n("Shape", x), n.const(1, dtype=np.int64)), to=FLOAT, out="height")
        y = n("Pad", n("Sub", x, n.const(0.5)), n.const([0, 0, 0, 0, 2, 4], dtype=np.int64))
        y = n("Relu", n.conv(n("Unsqueeze", y, n.const([0], dtype=np.int64)), 3, 5), out="features")
        boxes = n("Reshape", n("ReduceMax", y, axes=[2], keepdims=0), n.const([-1, 4], dtype=np.int64))
        return n("Mul", boxes, height, out="boxes")

    path = make_model(build, shape=(3, "height_", "width_"))
    model = open_model(path, provider="cpu")
    tensor = model.tensor(PICTURE)
    features, boxes = run_file(path, ["features", "boxes"], {"x": tensor[0]})
    found = model.run(tensor, ["features", "boxes"])
    np.testing.assert_allclose(found["features"], features, rtol=1e-6)
    np.testing.assert_allclose(found["boxes"], boxes, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 16, 24), (16, 24, 3)], ids=["grey", "last"])
def test_grey_and_channels_last(shape: tuple[int, ...], make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        y = n("Unsqueeze", x, n.const([0], dtype=np.int64))
        y = n("Transpose", y, perm=[0, 3, 1, 2]) if shape[-1] == 3 else y
        return n("Squeeze", n.conv(y, 3 if shape[-1] == 3 else 1, 4, out="c"), n.const([0], dtype=np.int64))

    path = make_model(build, shape=shape)
    model = open_model(path, provider="cpu")
    assert model.input.layout == ("NHWC" if shape[-1] == 3 else "NCHW")
    [expected] = run_file(path, ["c"], {"x": model.tensor(PICTURE)[0]})
    np.testing.assert_allclose(model.activations(PICTURE)["c"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 128, 64), ("N", 128, 3), (1, 3, 8), (3, 3, 16)])
def test_sequences_stay_refused(shape: tuple[Any, ...], make_model: MakeModel) -> None:
    path = make_model(lambda n, x: n("Relu", n("MatMul", x, n.weight((shape[-1], 4)))), shape=shape)
    with pytest.raises(ModelError, match="is not a picture"):
        open_model(path, provider="cpu")


@pytest.mark.parametrize("to", ["int8", "fp16"])
def test_a_quantized_copy_takes_what_the_file_takes(to: str, make_model: MakeModel, tmp_path: Path) -> None:
    """Whoever feeds the file need not change anything: shapes of inputs and outputs are those of the source."""

    def build(n: Net, x: str) -> str:
        return n("Div", as_torch_writes_it(n, x), n.input("scale_factor", (1,), FLOAT), out="scaled")

    path = make_model(build, shape=(3, 16, 24), outputs={"scaled": (4,)})
    Image.fromarray(PICTURE).save(tmp_path / "picture.png")
    model = open_model(path, provider="cpu")
    made = inspector.quantize(model, tmp_path / f"{to}.onnx", [tmp_path / "picture.png"], to=to)
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape, i.type) for i in session.get_inputs()] == [
        ("x", [3, 16, 24], "tensor(float)"), ("scale_factor", [1], "tensor(float)"),
    ]  # fmt: skip
    assert session.get_outputs()[0].shape == [4]
    tensor = model.tensor(PICTURE)
    for factor in (1.0, 2.0):
        given = {"x": tensor[0], "scale_factor": np.full(1, factor, np.float32)}
        [found] = session.run(["scaled"], given)
        [expected] = run_file(path, ["scaled"], given)
        np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    again = open_model(made.path, provider="cpu")
    [found] = session.run(["scaled"], {"x": tensor[0], "scale_factor": np.ones(1, np.float32)})
    np.testing.assert_allclose(again.scores(tensor)[0], found, rtol=1e-3)
    # What is made of it once more has names of its own.
    inspector.slim(again, tmp_path / "slim.onnx")
    assert onnxruntime.InferenceSession(tmp_path / "slim.onnx").get_inputs()[0].shape == [3, 16, 24]
    np.testing.assert_allclose(open_model(tmp_path / "slim.onnx", provider="cpu").scores(tensor)[0], found, rtol=1e-3)


def test_the_twin_and_a_head_of_its_own(make_model: MakeModel) -> None:
    require("torch")
    model = open_model(make_model(as_torch_writes_it, shape=(3, 16, 24)), provider="cpu")
    ours, theirs = (model.cam(PICTURE, classes=2, layer="r1", backend=name)[0] for name in ("onnx", "twin"))
    np.testing.assert_allclose(ours.raw, theirs.raw, rtol=1e-4, atol=1e-6)
