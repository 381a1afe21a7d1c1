"""A detector as the base of a classifier: its backbone is taken, and said so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from exporters.planning.trunk import find_trunk, write_trunk
from inspector.errors import NotComputable
from inspector.model import open_model
from tests.audit.detectors import SIDE
from tests.conftest import MakeModel, require
from tests.foreign import Net


def yolo(net: Net, x: str) -> str:
    """Three strided convolutions, a coarse branch that is enlarged again, and a head as YOLOv8 has it."""
    for k, (cin, cout) in enumerate([(3, 4), (4, 6), (6, 8)]):
        x = net("Relu", net.conv(x, cin, cout, 3, stride=2, pads=1), out=f"stage{k}")
    deep = net("Relu", net.conv(x, 8, 8, 3, stride=2, pads=1), out="deep")
    end = net("Relu", net.conv(deep, 8, 8, 3, pads=1), out="end")
    squeezed = net("Relu", net.conv(end, 8, 1, 1), out="squeezed")
    large = net("Resize", squeezed, "", net.const(np.array([1, 1, 2, 2], np.float32)), mode="nearest", out="large")
    neck = net("Relu", net.conv(net("Concat", large, x, axis=1), 9, 8, 3, pads=1), out="neck")
    again = net("Relu", net.conv(neck, 8, 8, 3, stride=2, pads=1), out="again")
    parts = []
    for maps, cells in ((neck, 64), (again, 16)):
        parts.append(net("Reshape", net.conv(maps, 8, 6, 1), net.const(np.array([1, 6, cells]))))
    parts.append(net.const(np.zeros((1, 6, 4), np.float32)))
    return net("Concat", *parts, axis=2, out="output0")


def test_the_trunk_ends_before_anything_is_enlarged(make_model: MakeModel, tmp_path: Path) -> None:
    model = open_model(make_model(yolo, shape=(1, 3, SIDE, SIDE)))
    assert model.task == "detect"
    assert find_trunk(model).tensor == "end"
    layer = write_trunk(model, tmp_path / "trunk.onnx")
    trunk = open_model(tmp_path / "trunk.onnx")
    assert (trunk.task, trunk.classes, trunk.preprocess) == ("classify", 2, model.preprocess)
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    maps = model.activations(picture, [layer])[layer.name]
    features = trunk.run(trunk.tensor(picture), ["classifier_features"])["classifier_features"]
    np.testing.assert_allclose(features[0], maps[0].mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    assert {x.tensor for x in trunk.layers} <= {x.tensor for x in model.layers} | {"classifier_mean"}


def test_a_trunk_in_half_precision_gets_a_head_of_the_same(make_model: MakeModel, tmp_path: Path) -> None:
    """In float32 the head would not load: a Gemm takes one type for all that it reads."""

    def half(net: Net, x: str) -> str:
        def cast(name: str) -> str:
            return net("Cast", name, to=TensorProto.FLOAT16)

        x = cast(x)
        for k, (cin, cout) in enumerate([(3, 4), (4, 6), (6, 8)]):
            weight = cast(net.weight((cout, cin, 3, 3)))
            x = net("Relu", net("Conv", x, weight, strides=[2, 2], pads=[1, 1, 1, 1]), out=f"stage{k}")
        boxes = net("Reshape", net("Conv", x, cast(net.weight((6, 8, 1, 1)))), net.const(np.array([1, 6, 64])))
        rest = net.const(np.zeros((1, 6, 20), np.float32))
        return net("Concat", net("Cast", boxes, to=TensorProto.FLOAT), rest, axis=2, out="output0")

    model = open_model(make_model(half, shape=(1, 3, SIDE, SIDE)))
    write_trunk(model, tmp_path / "trunk.onnx")
    trunk = open_model(tmp_path / "trunk.onnx")
    scores = trunk.run(trunk.tensor(np.zeros((9, 9, 3), np.uint8)), ["classifier_scores"])["classifier_scores"]
    assert (scores.shape, scores.dtype) == ((1, 2), np.float16)


def test_a_detector_without_maps_has_no_trunk(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        flat = net("Flatten", x)
        return net("Reshape", net("MatMul", flat, net.weight((3 * SIDE**2, 504))), net.const(np.array([1, 6, 84])))

    model = open_model(make_model(build, shape=(1, 3, SIDE, SIDE)))
    with pytest.raises(NotComputable, match="has no layer whose maps could be features; give a classifier as the base"):
        find_trunk(model)


@pytest.mark.slow
def test_a_detector_is_fine_tuned_to_a_classifier(make_model: MakeModel, digits: Path, tmp_path: Path) -> None:
    require("torch")
    from exporters import finetuning

    base = make_model(yolo, shape=("N", 3, SIDE, SIDE), name="yolo.onnx")
    said: list[str] = []
    done = finetuning.finetune(
        digits, base, tmp_path / "run", cache=tmp_path / "cache", note=said.append, head_epochs=1, joint_epochs=1,
        unfreeze_last=1, versions=1, batch=16, augment=(),
    )  # fmt: skip
    assert any("yolo.onnx detects objects: its layers up to end become the features of a classifier" in x for x in said)
    model = open_model(done.model)
    assert (model.task, model.labels) == ("classify", ("0", "1", "2"))
