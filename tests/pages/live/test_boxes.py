"""The boxes and the classes of pixels of the live page are those of our own decoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector import Preprocess, open_model
from inspector.metadata import KEY, Metadata
from inspector.pages.html import read_asset
from inspector.pages.live import write_live_page
from inspector.pages.live.describe import describe_live
from inspector.tasks.decoders import DECODERS
from tests.audit.detectors import LABELS, SIDE, detector, paint
from tests.foreign import Net
from tests.pages.browser import needs_chromium, opened

pytestmark = needs_chromium

FIND = """([data, dims, about]) => findBoxes({ data: Float32Array.from(data), dims, type: "float32" }, about)"""


@pytest.mark.parametrize(("head", "form", "shape"), [
    ("yolov8", "columns", (1, 7, 60)), ("yolov5", "rows", (1, 60, 8)), ("yolo_end_to_end", "final", (1, 40, 6)),
])  # fmt: skip
def test_each_form_as_its_decoder_has_it(browser: Any, head: str, form: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    values = rng.uniform(0, 1, shape).astype(np.float32)
    numbers = values.transpose(0, 2, 1) if form == "columns" else values
    numbers[..., :2] *= 40
    numbers[..., 2:4] = numbers[..., 2:4] * 30 + (40 if form == "final" else 0)
    if form == "final":
        numbers[..., 5] = rng.integers(0, 3, numbers.shape[:2])
        numbers[0, 30:] = 0
    values[0, 0, 0] = np.nan
    decoder = DECODERS[head](("o",), "detect", 3, "")
    expected = decoder.find({"o": values}, (64, 64), 0.3)
    about = {"form": form, "classes": 3, "iou": decoder.iou, "confidence": 0.3}
    page = browser.new_page()
    for name in ("live_preprocess", "live_network", "live_boxes"):
        page.add_script_tag(content=read_asset(f"{name}.js"))
    # NaN is no JSON: it goes as a text, and Float32Array.from makes it NaN again.
    flat = ["NaN" if np.isnan(v) else float(v) for v in values.ravel()]
    found = page.evaluate(FIND, [flat, list(shape), about])
    page.close()
    assert len(found) == len(expected) > 5
    np.testing.assert_allclose([one["box"] for one in found], expected.boxes, rtol=1e-6)
    np.testing.assert_allclose([one["score"] for one in found], expected.scores, rtol=1e-6)
    assert [one["index"] for one in found] == expected.classes.tolist()


@pytest.mark.slow
def test_a_detector_shows_its_boxes(browser: Any, tmp_path: Path) -> None:
    net = Net()
    proto = net.model(detector()(net, net.input("images", (1, 3, SIDE, SIDE))))
    known = Metadata(labels=LABELS, preprocess=Preprocess(size=(SIDE, SIDE), resize="pad"))
    onnx.helper.set_model_props(proto, {KEY: known.dumps()})
    onnx.save(proto, tmp_path / "cells.onnx")
    cells = Image.fromarray(paint({(1, 1): 0, (5, 2): 1, (3, 6): 0, (6, 6): 1}))
    cells.resize((256, 128), Image.Resampling.NEAREST).save(tmp_path / "four.png")
    model = open_model(tmp_path / "cells.onnx")
    notes = describe_live(model, model.layers).notes
    assert any("explains boxes" in note for note in notes)
    page = write_live_page(model, [tmp_path / "four.png"], tmp_path / "live.html")
    tab = opened(browser, page.path)
    found = tab.page.evaluate("inspector.images[0].boxes")
    expected = model.detect(tmp_path / "four.png")
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose([one["box"] for one in found], [one.box for one in expected], atol=1e-3)
    np.testing.assert_allclose([one["score"] for one in found], [one.score for one in expected], atol=1e-4)
    assert f"{len(found)} object" in tab.text("#pictures")
    assert "0: " in tab.text("#pictures")
    assert not tab.page.is_visible("#cover-box")
    assert tab.page.is_visible("#field-box")
    assert tab.complaints == []
    tab.page.context.close()


@pytest.mark.slow
def test_a_segmenter_shows_the_class_of_each_pixel(browser: Any, tmp_path: Path) -> None:
    net = Net(seed=2)
    x = net.input("images", (1, 3, 24, 24))
    proto = net.model(net("Conv", net("Relu", net.conv(x, 3, 6, 3)), net.weight((4, 6, 1, 1)), out="logits"))
    preprocess = Preprocess(size=(24, 24), resize="shortest")
    known = Metadata(labels=("sky", "road", "tree", "car"), preprocess=preprocess, task="segment")
    onnx.helper.set_model_props(proto, {KEY: known.dumps()})
    onnx.save(proto, tmp_path / "segment.onnx")
    rough = np.random.default_rng(6).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(rough).resize((70, 50), Image.Resampling.BICUBIC).save(tmp_path / "street.png")
    model = open_model(tmp_path / "segment.onnx")
    page = write_live_page(model, [tmp_path / "street.png"], tmp_path / "live.html")
    tab = opened(browser, page.path)
    found = tab.page.evaluate("inspector.images[0].found.segments")
    expected = model.segment(tmp_path / "street.png")
    indices = np.array([one["index"] for one in found["classes"]] + [-1])
    mask = np.array(found["mask"])
    mine = indices[np.where(mask == 255, len(indices) - 1, mask)].reshape(50, 70)
    assert (mine == expected.classes).mean() > 0.999  # two classes may be equal but for rounding
    assert (mine == -1).any()
    assert [one["share"] for one in found["classes"]] == pytest.approx(
        [share for _, share in expected.shares], abs=1e-3
    )
    assert "Share of the picture" in tab.text("#pictures")
    assert tab.page.is_visible("#view-label")
    assert tab.page.get_attribute("#picture-0", "data-drawn") == "classes-55"
    tab.page.select_option("#view", "evidence")
    tab.until("document.getElementById('caption-0').textContent.includes('eigencam')")
    assert tab.complaints == []
    tab.page.context.close()
