"""The map of a detector's best box as an output of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import inspector
from exporters.attaching import attach_outputs
from inspector.cam import BoxChoice, class_activation_maps
from inspector.errors import NotComputable
from inspector.model import Model, open_model
from tests.attaching.test_attach import run_file
from tests.cam.detectors import Detector, export, torch
from tests.foreign import Net


def three_scales(net: Net, x: str) -> str:
    """A head as YOLOv8 has it: boxes and probabilities of three scales, the numbers before the places."""
    y, rows = net("Relu", net.conv(net("Relu", net.conv(x, 3, 6, 3, stride=4, pads=1)), 6, 8, 3, pads=1)), []
    for _ in range(3):
        y = net("Relu", net.conv(y, 8, 8, 3, stride=2, pads=1))
        z = net("Relu", net.conv(y, 8, 8, 3, pads=1))
        box = net("Mul", net("Sigmoid", net.conv(z, 8, 4, 1)), net.const(np.float32(40)))
        classes = net("Sigmoid", net.conv(net("Relu", net.conv(z, 8, 8, 3, pads=1)), 8, 3, 1))
        rows.append(net("Reshape", net("Concat", box, classes, axis=1), net.const(np.array([0, 7, -1]))))
    return net("Concat", *rows, axis=2)


def check_best_box(source: Model, path: Path, method: str) -> None:
    """The file's map is that of the first box, and what reads the file takes it for that one alone."""
    made = attach_outputs(source, path, cam=method)
    height, width = source.preprocess.size or (0, 0)
    assert [(o.name, o.shape[1:]) for o in made.outputs] == [("cam", (height, width))]
    opened = open_model(made.path, provider="cpu")
    assert opened.task == "detect"
    tensor = np.random.default_rng(1).random((1, 3, height, width), np.float32)
    choice = BoxChoice(boxes=(0,), confidence=0.0)
    [result] = class_activation_maps(source, tensor, method=method, choice=choice)
    said = run_file(made.path, tensor)["cam"][0]
    assert np.abs(said - result.heatmap).max() < 1e-5
    found = class_activation_maps(opened, tensor, method=method, choice=BoxChoice(confidence=0.0), top=2)
    assert [one.attached for one in found] == ["cam", None]
    assert np.array_equal(found[0].heatmap, said)
    [other] = class_activation_maps(opened, tensor, method=method, choice=BoxChoice(boxes=(1,), confidence=0.0), top=1)
    assert other.attached is None
    with pytest.raises(NotComputable, match="gradcam looks at more"):
        attach_outputs(source, path.with_name("other.onnx"), cam="gradcam")


def test_the_best_box_of_three_scales(make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(three_scales, shape=(1, 3, 64, 64)), provider="cpu")
    check_best_box(source, tmp_path / "made.onnx", "layercam")


@pytest.mark.slow
@pytest.mark.parametrize(("style", "method"), [("v8", "layercam"), ("v11", "hirescam")])
def test_the_best_box_of_what_torch_exports(style: str, method: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = open_model(export(Detector(style).eval(), tmp_path / "net.onnx"), provider="cpu")
    check_best_box(source, tmp_path / "made.onnx", method)
    tensor, choice = (
        np.random.default_rng(1).random((1, 3, 160, 192), np.float32),
        BoxChoice(side="left", confidence=0.0),
    )
    opened = open_model(tmp_path / "made.onnx", provider="cpu")
    assert class_activation_maps(opened, tensor, method=method, choice=choice, top=1)[0].attached is None


def with_objectness(net: Net, x: str, anchors: int, turned: int = 0) -> str:
    """Three scales; of three anchors one convolution gives all numbers, of one anchor each part has its own."""
    x = net("Mul", x, net.const(np.float32(1 if anchors > 1 else 1 / 64)))  # YOLOX takes 0 to 255
    y, rows, parts = net("Relu", net.conv(net("Relu", net.conv(x, 3, 6, 3, stride=4)), 6, 8, 3, stride=1)), [], "ab"
    for side in (8, 4, 2):
        y = net("Relu", net.conv(y, 8, 8, 3, stride=2))
        z = net("Relu", net.conv(y, 8, 8, 3))
        if anchors > 1:
            z = net("Reshape", net.conv(z, 8, anchors * 8, 1), net.const(np.array([1, anchors, 8, side, side])))
            z = net("Sigmoid", net("Transpose", z, perm=[0, 1, 3, 4, 2]))
            a, b = net("Split", z, net.const(np.array([4, 4])), out=[f"{p}{side}" for p in parts], axis=4), f"b{side}"
            z = net("Concat", net("Mul", a, net.const(np.float32(30))), b, axis=4)
            rows.append(net("Reshape", z, net.const(np.array([1, -1, 8]))))
            continue
        sure, classes = (net.conv(net("Relu", net.conv(z, 8, 8, 3)), 8, n, 1) for n in (1, 3))
        squashed = net("Sigmoid", classes)
        if turned:  # the last classes are something else than a probability
            bent = net.const((np.arange(3) >= 3 - turned).reshape(1, 3, 1, 1))
            squashed = net("Where", bent, net("Tanh", classes), squashed)
        z = net("Concat", net.conv(z, 8, 4, 1), net("Sigmoid", sure), squashed, axis=1)
        rows.append(net("Transpose", net("Reshape", z, net.const(np.array([1, 8, -1]))), perm=[0, 2, 1]))
    return net("Concat", *rows, axis=1)


@pytest.mark.parametrize("anchors", [3, 1])
def test_the_best_box_of_heads_with_objectness(anchors: int, make_model: Any, tmp_path: Path) -> None:
    source = open_model(
        make_model(lambda net, x: with_objectness(net, x, anchors), shape=(1, 3, 64, 64)), provider="cpu"
    )
    assert source.task == "detect"
    made = attach_outputs(source, tmp_path / "made.onnx", cam="layercam")
    rng, choice = np.random.default_rng(1), BoxChoice(boxes=(0,), confidence=0.0)
    for contrast in (0.3, 1, 3, 10, 30):
        tensor = (contrast * rng.random((1, 3, 64, 64)) * (64 if anchors == 1 else 1)).astype(np.float32)
        [result] = class_activation_maps(source, tensor, method="layercam", choice=choice)
        assert np.abs(run_file(made.path, tensor)["cam"][0] - result.heatmap).max() < 1e-5


@pytest.mark.parametrize("turned", [1, 3])
def test_scores_that_are_no_product_are_refused(turned: int, make_model: Any, tmp_path: Path) -> None:
    source = open_model(
        make_model(lambda net, x: with_objectness(net, x, 1, turned), shape=(1, 3, 64, 64)), provider="cpu"
    )
    with pytest.raises(NotComputable, match=r"no product of the sigmoids|no maps of its classes"):
        attach_outputs(source, tmp_path / "made.onnx", cam="layercam")


@pytest.mark.slow
def test_of_a_detector_in_half_precision(make_model: Any, tmp_path: Path) -> None:
    plain = make_model(lambda net, x: with_objectness(net, x, 1), shape=(1, 3, 64, 64))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    source = open_model(
        inspector.quantize(plain, tmp_path / "half.onnx", [tmp_path / "a.png"], to="fp16").path, provider="cpu"
    )
    made = attach_outputs(source, tmp_path / "made.onnx", cam="layercam")
    tensor = (64 * np.random.default_rng(1).random((1, 3, 64, 64))).astype(source.input.dtype)
    choice = BoxChoice(confidence=0.0, iou=1.0)
    results: Any = class_activation_maps(source, tensor, method="layercam", choice=choice, top=8)
    likely = [one for one in results if one.found.score > results[0].found.score - 5e-3]  # but for rounding the best
    found = run_file(made.path, tensor)["cam"][0]
    assert min(np.abs(found - one.heatmap).max() for one in likely) < 5e-3
