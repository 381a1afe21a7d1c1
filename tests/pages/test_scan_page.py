"""The page of a scan in a real browser: channels, search, similar channels, the map and the sheets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inspector
from tests.conftest import MakeModel, require
from tests.foreign import Net

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
    return inspector.scan(model, tmp_path / "set", tmp_path / "scan", engine="plain").folder / "report.html"


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
        # Cards come as they are scrolled to, sprites as they are seen.
        assert page.locator("#cards li").count() == 60
        assert "url(" in page.locator(".strip").first.get_attribute("style")
        assert "url(" not in page.locator(".strip").nth(55).get_attribute("style")
        page.locator("#cards li").nth(59).scroll_into_view_if_needed()
        api.expect(page.locator("#cards li")).to_have_count(70)
        page.fill("#search", "class 3")
        assert 0 < page.locator("#cards li").count() <= 140
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
        page.click("#tab-classes")
        page.locator("#classes tbody button").first.click()
        assert page.locator("#search").input_value().startswith("class")
        browser.close()
    assert problems == []
