"""The maps that the page makes without gradients are those of `inspector cam --method` of the same name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector import Preprocess, open_model
from inspector.cam import BoxChoice, prepare_maps
from inspector.metadata import KEY, Metadata
from inspector.model import Model
from inspector.pages.live import write_live_page
from inspector.pages.live.describe import describe_live
from inspector.pages.live.maps import MASKS, describe_covers
from tests.audit.detectors import LABELS, SIDE, detector, paint
from tests.foreign import Net
from tests.pages.browser import Tab, needs_chromium, opened

pytestmark = [needs_chromium, pytest.mark.slow]

MAP = """async (message) => {
  const { map, shape } = await inspector.ask("map", message);
  return { map: Array.from(map), shape }; }"""

METHODS = "[...document.getElementById('method').options].map((option) => option.value)"


def save(proto: onnx.ModelProto, path: Path, **known: Any) -> Model:
    onnx.helper.set_model_props(proto, {KEY: Metadata(**known).dumps()})
    onnx.save(proto, path)
    return open_model(path)


def build_classifier() -> onnx.ModelProto:
    """Its scores are no linear function of its last maps."""
    net = Net(seed=4)
    x = net.input("x", (1, 3, 24, 24))
    maps = net("Relu", net.conv(net("Relu", net.conv(x, 3, 6, 3, pads=1, stride=2)), 6, 7, 3, pads=1, stride=2))
    hidden = net("Relu", net("Gemm", net("Flatten", net("GlobalAveragePool", maps)), net.weight((7, 9))))
    return net.model(net("Gemm", hidden, net.weight((9, 4))))


def build_segmenter(bent: bool) -> onnx.ModelProto:
    """Logits of a quarter of the size, enlarged to the size that the input turns out to have; bent by a tanh or not."""
    net = Net(seed=2)
    x = net.input("x", (1, 3, 24, 24))
    maps = net("Relu", net.conv(net("Relu", net.conv(x, 3, 6, 3, pads=1, stride=2)), 6, 8, 3, pads=1, stride=2))
    logits = net("Conv", maps, net.weight((4, 8, 1, 1)))
    logits = net("Tanh", logits) if bent else logits
    sizes = net("Slice", net("Shape", x), net.const(np.array([2])), net.const(np.array([4])))
    sizes = net("Concat", net.const(np.array([1, 4])), sizes, axis=0)
    return net.model(net("Resize", logits, "", "", sizes, mode="linear", out="logits"))


def build_quantized() -> onnx.ModelProto:
    """The last maps are integers, with a scale and a zero point."""
    net, rng = Net(seed=5), np.random.default_rng(8)
    x = net.input("x", (1, 3, 24, 24))
    at = [net.const(np.float32(0.02)), net.const(np.int8(3))]
    weight = [
        net.const(rng.integers(-90, 90, (6, 3, 3, 3)).astype(np.int8)),
        net.const(np.float32(0.01)),
        net.const(np.int8(0)),
    ]
    maps = net("QLinearConv", net("QuantizeLinear", x, *at), *at, *weight, *at, strides=[2, 2])
    flat = net("Flatten", net("GlobalAveragePool", net("DequantizeLinear", maps, *at)))
    return net.model(net("Gemm", net("Tanh", net("Gemm", flat, net.weight((6, 6)))), net.weight((6, 4))))


def compare(tab: Tab, model: Model, picture: Path, method: str, index: int) -> None:
    [expected] = prepare_maps(model, method).maps(picture, classes=[index])
    found = tab.page.evaluate(MAP, {"slot": 0, "method": method, "index": index})
    assert tuple(found["shape"]) == expected.heatmap.shape
    assert not expected.empty
    np.testing.assert_allclose(np.reshape(found["map"], found["shape"]), expected.heatmap, atol=1e-4)


@pytest.mark.parametrize("build", [build_classifier, build_quantized])
def test_of_a_classifier_whose_scores_are_not_linear(
    browser: Any, picture: Path, tmp_path: Path, build: Callable[[], onnx.ModelProto]
) -> None:
    model = save(build(), tmp_path / "bent.onnx")
    tab = opened(browser, write_live_page(model, [picture], tmp_path / "live.html").path)
    assert tab.page.evaluate(METHODS) == ["reciprocam", "ablationcam", "eigencam"]
    best = model.predict(picture, 1)[0].index
    for method in ("reciprocam", "ablationcam"):
        compare(tab, model, picture, method, best)
    tab.page.select_option("#method", "ablationcam")
    tab.until("document.getElementById('caption-0').textContent.includes('ablationcam at')")
    assert tab.complaints == []
    tab.page.context.close()


def test_of_a_classifier_whose_scores_are(browser: Any, small: Path, picture: Path, tmp_path: Path) -> None:
    model = open_model(small)
    tab = opened(browser, write_live_page(model, [picture], tmp_path / "live.html").path)
    for index in (one.index for one in model.predict(picture, 2)):
        compare(tab, model, picture, "ablationcam", index)
    tab.page.context.close()


@pytest.mark.parametrize("bent", [False, True])
def test_of_a_segmenter(browser: Any, picture: Path, tmp_path: Path, bent: bool) -> None:
    preprocess = Preprocess(size=(24, 24), resize="pad")
    model = save(build_segmenter(bent), tmp_path / "segment.onnx", task="segment", preprocess=preprocess)
    tab = opened(browser, write_live_page(model, [picture], tmp_path / "live.html").path)
    first = "reciprocam" if bent else "hirescam"
    assert tab.page.evaluate(METHODS) == [first, "ablationcam", "eigencam"]
    results = prepare_maps(model, first).maps(picture, top=2)
    for index in (one.target.index for one in results if not one.empty):
        compare(tab, model, picture, first, index)
    lit = [one.target.index for one in prepare_maps(model, "ablationcam").maps(picture, top=4) if not one.empty]
    for index in lit[:2]:
        compare(tab, model, picture, "ablationcam", index)
    assert lit
    tab.page.select_option("#view", "evidence")
    tab.until(f"document.getElementById('caption-0').textContent.includes('{first} at')")
    assert tab.complaints == []
    tab.page.context.close()


def test_of_the_boxes_of_a_detector(browser: Any, tmp_path: Path) -> None:
    net = Net()
    proto = net.model(detector()(net, net.input("images", (1, 3, SIDE, SIDE))))
    preprocess = Preprocess(size=(SIDE, SIDE), resize="pad")
    model = save(proto, tmp_path / "cells.onnx", labels=LABELS, preprocess=preprocess)
    cells = Image.fromarray(paint({(1, 1): 0, (5, 2): 1, (3, 6): 0, (6, 6): 1}))
    cells.resize((256, 128), Image.Resampling.NEAREST).save(tmp_path / "four.png")
    tab = opened(browser, write_live_page(model, [tmp_path / "four.png"], tmp_path / "live.html").path)
    ask = 'async (total) => inspector.ask("masks", { slot: 0, ms: 1e9, total })'
    assert tab.page.evaluate(ask, 60) == {"done": 60, "total": 60}
    expected = prepare_maps(model, "drise", choice=BoxChoice(masks=60)).maps(tmp_path / "four.png")
    assert len(expected) == 4
    for result in expected:
        found = tab.page.evaluate(MAP, {"slot": 0, "method": "drise", "index": result.number})
        np.testing.assert_allclose(np.reshape(found["map"], found["shape"]), result.heatmap, atol=1e-4)
    tab.page.check("#guess-0-1")  # its own map, better from round to round, until all masks were laid over
    tab.until(f"document.getElementById('caption-0').textContent.includes('from {MASKS} masks for box 1')")
    assert tab.page.get_attribute("#picture-0", "data-drawn") == "1-drise-55"
    assert tab.text("#status").startswith("Ready. four.png")
    tab.page.check("#guess-0-2")
    tab.until(f"document.getElementById('caption-0').textContent.includes('from {MASKS} masks for box 2')")
    assert tab.complaints == []
    tab.page.context.close()


def test_what_takes_many_runs_is_not_the_usual_method(tmp_path: Path) -> None:
    net = Net(seed=1)
    maps = net("Relu", net.conv(net.input("x", (1, 3, 80, 80)), 3, 4, 3, pads=1))
    onnx.save(
        net.model(net("Gemm", net("Flatten", net("GlobalAveragePool", maps)), net.weight((4, 3)))), tmp_path / "a"
    )
    model = open_model(tmp_path / "a")
    assert describe_live(model, model.layers).methods == ("eigencam", "ablationcam")


def test_the_masks_fit_into_a_page() -> None:
    about = describe_covers((640, 640))
    assert len(about["bits"]) < 50_000
    assert len(about["shifts"]) == MASKS
    assert np.max(about["shifts"]) < 40
