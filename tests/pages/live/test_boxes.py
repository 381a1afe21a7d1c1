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
from inspector.model import Model
from inspector.pages.live import write_live_page
from inspector.pages.live.describe import describe_live
from inspector.tasks.back import take_back
from inspector.tasks.decoder import BoxDecoder
from tests.audit.detectors import LABELS, SIDE, detector, paint
from tests.foreign import Net
from tests.pages.browser import Tab, needs_chromium, opened

pytestmark = [needs_chromium, pytest.mark.slow]


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
    assert any("Maps of boxes are made by D-RISE" in note for note in notes)
    page = write_live_page(model, [tmp_path / "four.png"], tmp_path / "live.html")
    tab = opened(browser, page.path)
    found = tab.page.evaluate("inspector.images[0].boxes")
    expected = model.detect(tmp_path / "four.png")
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose([one["box"] for one in found], [one.box for one in expected], atol=1e-3)
    np.testing.assert_allclose([one["score"] for one in found], [one.score for one in expected], atol=1e-4)
    assert f"{len(found)} object" in tab.text("#pictures")
    assert "0: " in tab.text("#pictures")
    check_experiments(tab, model, tmp_path / "four.png")
    assert tab.page.is_visible("#field-box")
    assert tab.complaints == []
    tab.page.context.close()


def check_experiments(tab: Tab, model: Model, path: Path) -> None:
    """Boxes are lost under the brush, and with the channel of their color."""
    expected = model.detect(path)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2] = 1
    ask = "async ([kind, message]) => inspector.ask(kind, { slot: 0, color: [128, 128, 128], ...message })"
    found = tab.page.evaluate(ask, ["cover", {"mask": mask.ravel().tolist()}])
    with Image.open(path) as picture:
        seen = np.array(model.preprocess.view(picture.convert("RGB")))
    seen[mask == 1] = 128
    assert isinstance(model.decoder, BoxDecoder)
    values = model.run(model.preprocess.normalise(seen), model.decoder.outputs)
    left = take_back(model.decoder.find(values, (SIDE, SIDE)), model.preprocess, (256, 128))
    after = [next((other.score for other in left if other.box == one.box), 0) for one in expected]
    assert 0 < after.count(0) < len(after)
    np.testing.assert_allclose(found["objects"], after, atol=1e-4)
    assert found["fresh"] == 0
    layer = next(n for n, one in enumerate(model.layers) if one.tensor == "colors")
    found = tab.page.evaluate(ask, ["off", {"layer": layer, "channels": [0]}])
    assert [score > 0 for score in found["objects"]] == [one.index == 1 for one in expected]
    tab.page.evaluate(f"location.hash = '#layer={model.layers[layer].name}&channel=1'")
    tab.drawn(layer, 1)
    tab.page.click("#toggle")
    tab.until("document.getElementById('off-told').textContent.includes('2 of 4 objects lost')")
    tab.page.locator("#cover").click(position={"x": 5, "y": 5})
    tab.until("document.getElementById('cover-told').textContent.includes('still all 4 objects')")


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
    cover = "async (mask) => inspector.ask('cover', { slot: 0, mask, color: [0, 0, 0] })"
    found = tab.page.evaluate(cover, [1] * 24 * 24)["segments"]
    dark = model.segment(np.zeros((50, 70, 3), np.uint8))
    assert {one["index"]: round(one["share"], 2) for one in found} == {k: round(v, 2) for k, v in dark.shares}
    layer = next(n for n, one in enumerate(model.layers) if one.tensor != "logits")
    off = tab.page.evaluate("async (layer) => inspector.ask('off', { slot: 0, layer, channels: [] })", layer)
    assert [one["index"] for one in off["segments"]] == [index for index, _ in expected.shares]
    tab.page.select_option("#view", "evidence")
    tab.until("document.getElementById('caption-0').textContent.includes('hirescam at')")
    assert tab.complaints == []
    tab.page.context.close()
