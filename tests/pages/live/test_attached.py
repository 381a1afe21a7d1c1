"""A page whose network has attached outputs takes probabilities, maps and the unknown from them, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exporters.attaching import attach_outputs
from inspector.model import open_model
from inspector.model.attached import predict_attached
from inspector.pages.live import write_live_page
from tests.attaching.test_attach import gated, pooled, run_file
from tests.attaching.test_boxes import with_objectness
from tests.attaching.test_calibration import write_pictures
from tests.pages.browser import Tab, needs_chromium, opened

pytestmark = [needs_chromium, pytest.mark.slow]

MAP = """async ([method, index]) => {
  try { return await inspector.ask("map", { slot: 0, method, index }); }
  catch (error) { return String(error.message); } }"""
METHODS = "[...document.getElementById('method').options].map((option) => option.value)"


def check_map(tab: Tab, method: str, index: int, wanted: Any, output: str) -> None:
    found = tab.page.evaluate(MAP, [method, index])
    assert found["attached"] == output
    assert np.abs(np.reshape(found["map"], found["shape"]) - wanted).max() < 1e-5


def test_of_a_classifier(browser: Any, make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(pooled, shape=("N", 3, 8, 8)))
    known = write_pictures(source, tmp_path / "pictures") / "known"
    picture = sorted(known.rglob("*.png"))[0]
    attached = attach_outputs(
        source, tmp_path / "made.onnx", cam="hirescam", calibrate=known, unknown=known, saliency="gradient"
    )
    made, made_with = attached.path, attached.figures
    model, values = open_model(made), run_file(made, source.tensor(picture))
    page = write_live_page(model, [picture], tmp_path / "live.html")
    tab = opened(browser, page.path)
    notes = tab.page.inner_text("body")
    assert "The file's own attached outputs are used: probability, unknown, cam, cam_classes, saliency." in notes
    top, said = predict_attached(model, model.tensor(picture), 3)
    assert [one["probability"] for one in page.pictures[0].top] == [one.probability for one in top]
    found = tab.page.evaluate("inspector.images[0].top")
    assert [one["index"] for one in found] == [one.index for one in top]
    assert [one["probability"] for one in found] == pytest.approx([one.probability for one in top], abs=1e-6)
    words = "Not like" if said["unknown"]["alarm"] else "As the file says"
    assert tab.text("#unknown-0").startswith(words)
    assert f"unknown {said['unknown']['value']:.2f}, " in tab.text("#unknown-0")
    best, other = top[0].index, top[1].index
    methods = tab.page.evaluate(METHODS)
    assert methods[:2] == ["hirescam", "saliency"]
    check_map(tab, "hirescam", best, values["cam"][0], "cam")
    check_map(tab, "hirescam", other, values["cam_classes"][0, other], "cam_classes")
    sizes = np.abs(values["saliency"][0]).max(axis=0)
    check_map(tab, "saliency", best, sizes / sizes.max(), "saliency")
    assert "attached" not in tab.page.evaluate(MAP, ["gradcam", best])
    assert "saliency of the likeliest class alone" in tab.page.evaluate(MAP, ["saliency", other])
    tab.until("document.getElementById('caption-0').textContent.includes('hirescam at relu4')")
    assert "an output of the file itself" in tab.text("#caption-0")
    # What is left when all channels of a layer are switched off is calibrated too.
    last = next(n for n, layer in enumerate(model.layers) if layer.name == "relu4")
    ask = "(layer) => inspector.ask('off', { slot: 0, layer, channels: [0, 1, 2] })"
    after, temperature = tab.page.evaluate(ask, last), made_with["calibration"]["temperature"]
    scaled = np.exp(np.array(after["scores"]) / temperature)
    assert list(after["probabilities"]) == pytest.approx((scaled / scaled.sum()).tolist(), abs=1e-5)
    blank = tab.page.evaluate("async () => (await inspector.ask('cover', { slot: 0, color: [0, 0, 0],"
                              " mask: new Uint8Array(64).fill(1) })).probabilities")  # fmt: skip
    black = run_file(made, source.tensor(Image.new("RGB", (8, 8))))["probability"][0]
    assert list(blank) == pytest.approx(black.tolist(), abs=1e-5)
    assert tab.complaints == []
    tab.page.context.close()


def test_of_a_head_that_is_not_linear_and_of_boxes(browser: Any, make_model: Any, tmp_path: Path) -> None:
    source = open_model(make_model(gated, shape=("N", 3, 8, 8)))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    made = attach_outputs(source, tmp_path / "made.onnx", cam="layercam").path
    values = run_file(made, source.tensor(tmp_path / "a.png"))
    tab = opened(browser, write_live_page(open_model(made), [tmp_path / "a.png"], tmp_path / "live.html").path)
    assert tab.page.evaluate(METHODS)[0] == "layercam"
    top = source.predict(tmp_path / "a.png", 2)
    check_map(tab, "layercam", top[0].index, values["cam"][0], "cam")
    assert "layercam of the likeliest class alone" in tab.page.evaluate(MAP, ["layercam", top[1].index])
    assert tab.complaints == []
    tab.page.context.close()

    source = open_model(make_model(lambda net, x: with_objectness(net, x, 1), shape=(1, 3, 64, 64), name="boxes.onnx"))
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "b.png")
    made = attach_outputs(source, tmp_path / "made.onnx", cam="layercam").path
    values = run_file(made, source.tensor(tmp_path / "b.png"))
    tab = opened(browser, write_live_page(open_model(made), [tmp_path / "b.png"], tmp_path / "live.html").path)
    assert tab.page.evaluate("inspector.images[0].boxes.length") > 0
    check_map(tab, "layercam", 0, values["cam"][0], "cam")
    assert tab.complaints == []
    tab.page.context.close()
