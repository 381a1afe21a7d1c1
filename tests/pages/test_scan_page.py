"""The page of a scan in a real browser: channels, search, similar channels, the map and the sheets."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inspector
from tests.conftest import MakeModel, require
from tests.foreign import Net
from tests.scanning.test_patterns import write_patterns

api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None and os.environ.get("INSPECTOR_TESTS_BROWSER") == "1":
    pytest.fail("INSPECTOR_TESTS_BROWSER=1, and there is no chromium", pytrace=False)
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"), pytest.mark.slow]


@pytest.fixture
def page_of_scan(make_model: MakeModel, tmp_path: Path) -> Path:
    require("pyarrow")

    def build(n: Net, x: str) -> str:
        y = n("Relu", n.conv(x, 3, 70, 3, pads=1), out="first")
        return n("Gemm", n("Flatten", n("GlobalAveragePool", y)), n.weight((5, 70)), transB=1, out="scores")

    rng = np.random.default_rng(1)
    for number in range(30):
        folder = tmp_path / "set" / f"class {number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 90, (16, 16, 3), np.uint8)
        pixels[number % 16 :, :, number % 3] += 120
        Image.fromarray(pixels).save(folder / f"a#{number}.png")
    model = make_model(build, shape=(1, 3, 16, 16))
    opened = inspector.open_model(model)
    layer = next(x.name for x in opened.layers if x.kind == "activation")
    write_patterns(tmp_path / "drawn", opened.digest, layer, dict.fromkeys(range(0, 70, 2), 90))
    made = inspector.scan(model, tmp_path / "set", tmp_path / "scan", engine="plain", patterns=tmp_path / "drawn")
    return made.folder / "report.html"


def test_the_page_of_a_scan(page_of_scan: Path) -> None:
    problems: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url))
        page.goto(page_of_scan.as_uri())
        assert page.locator("#count").inner_text() == "70 of 140 channels"
        # Only cards near the window are there, in their order, and sprites as they are seen.
        assert 8 <= page.locator("#cards li").count() <= 24
        api.expect(page.locator(".strip").first).to_have_attribute("style", re.compile("url\\("))
        # Every second channel has a pattern beside its patches.
        cards = page.locator("#cards li")
        api.expect(cards.nth(0).locator(".pattern")).to_have_attribute("style", re.compile("patterns-0000"))
        assert [cards.nth(k).locator(".pattern").count() for k in range(4)] == [1, 0, 1, 0]
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        api.expect(page.locator("#cards li").last).to_have_attribute("aria-posinset", "70")
        assert page.locator("#cards li").count() <= 24
        page.evaluate("scrollTo(0, 0)")
        api.expect(page.locator("#cards li").first).to_have_attribute("aria-posinset", "1")
        page.fill("#search", "class 3")
        assert 0 < page.locator("#cards li").count() <= 140
        api.expect(page.locator("#cards li").first).to_have_attribute("aria-posinset", "1")
        best = page.locator("#cards li").first
        assert best.locator(".chips button").first.inner_text() == "class 3"
        best.locator(".chips button", has_text="similar channels").click()
        assert page.locator("#cards li").count() == 7
        page.locator("button.name").first.click()
        assert page.locator("#detail ol li").count() == 9
        assert "a#" in page.locator("#detail ol li").first.inner_text()
        page.keyboard.press("Escape")
        page.focus("#tab-channels")
        page.keyboard.press("ArrowRight")
        assert page.locator("#points").is_visible()
        box = page.locator("#points").bounding_box()
        assert box is not None
        for k in range(60):
            page.mouse.move(box["x"] + box["width"] * (k % 10) / 10, box["y"] + box["height"] * (k // 10) / 6)
        page.select_option("#color", "right")
        page.click("#tab-outliers")
        assert page.locator("#outliers .tile").count() == 30
        # A picture opens, and from it a channel that it excites.
        page.locator("#outliers .tile button.thumb").nth(3).click()
        assert "a#" in page.locator("#detail-title").inner_text()
        page.locator("#detail .chips button").first.click()
        assert " : " in page.locator("#detail-title").inner_text()
        page.locator("#detail ol button").first.click()
        assert "a#" in page.locator("#detail-title").inner_text()
        page.keyboard.press("Escape")
        page.click("#tab-classes")
        page.locator("#classes tbody button").first.click()
        assert page.locator("#search").input_value().startswith("class")
        browser.close()
    assert problems == []


MOST_NODES = 600
PLACES = (
    "() => [...document.querySelectorAll('#cards li')].map((x) => [+x.ariaPosInSet, x.getBoundingClientRect().top])"
)
"""Number and place of each card that is in the page."""


def test_ten_thousand_channels(tmp_path: Path) -> None:
    """Five layers of 2,000 channels: the page is there in two seconds, and holds what is near the window alone."""
    require("pyarrow")
    net = Net(seed=1)
    x = net.input("x", (1, 3, 32, 32))
    tops = []
    for number in range(5):
        tops.append(net("GlobalAveragePool", net("Relu", net.conv(x, 3, 2000, 3, pads=1), out=f"layer{number}")))
        x = net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    flat = net("Flatten", net("Concat", *tops, axis=1))
    (tmp_path / "wide.onnx").write_bytes(
        net.model(net("Gemm", flat, net.weight((100, 10_000)), transB=1, out="scores")).SerializeToString()
    )
    rng = np.random.default_rng(1)
    for number in range(40):
        path = tmp_path / "set" / f"class {number % 20}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    layers = [f"layer{number}" for number in range(5)]
    made = inspector.scan(
        tmp_path / "wide.onnx", tmp_path / "set", tmp_path / "scan", engine="plain", layers=layers, top=4
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((made.folder / "report.html").as_uri())
        api.expect(page.locator("#cards li").first).to_be_visible()
        times = []
        for _ in range(3):  # of which the best is the page's own, whatever else the machine does
            page.reload()
            times.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        assert min(times) < 2000
        page.select_option("#layer", "all")
        assert page.locator("#count").inner_text() == "10,000 of 10,000 channels"
        seen = []
        for place in (0, 0.3, 0.9, 0.31, 1, 1):
            page.evaluate("(place) => scrollTo(0, place * document.documentElement.scrollHeight)", place)
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert page.evaluate("document.querySelectorAll('*').length") < MOST_NODES
            near = [number for number, top in page.evaluate(PLACES) if 0 <= top < 900]
            assert near == list(range(near[0], near[0] + len(near)))
            assert len(near) >= 4
            seen.append(near[-1])
        assert seen[0] < 10 < 2000 < seen[1] < 4000 < 8000 < seen[2] < seen[-1] == 10_000
        page.fill("#search", "1234")
        assert page.locator("#cards li").count() == 5
        page.fill("#search", "")
        page.select_option("#order", "selectivity")
        assert page.locator("#cards li").first.get_attribute("aria-posinset") is not None
        browser.close()
