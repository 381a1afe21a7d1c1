"""The page of a comparison in a real browser: rows, grids, keys, addresses; no complaint, nothing asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import inspector
from tests.comparing.test_compare import build, change
from tests.conftest import MakeModel
from tests.pages.browser import CHROMIUM, CONTRAST, NAMELESS, Tab, needs_chromium

pytestmark = needs_chromium


@pytest.fixture
def written(make_model: MakeModel, tmp_path: Path, photo: Path) -> Path:
    a = make_model(build, shape=(1, 3, 32, 32))
    b = change(change(a, "c2.weight", tmp_path / "c.onnx", -9), "fc.weight", tmp_path / "b.onnx", -1e3)
    found = inspector.compare(a, b, [photo, photo.parent / "patches.png"], out=tmp_path / "page.html")
    assert found.path is not None
    return found.path


@pytest.fixture
def tab(written: Path) -> Iterator[Tab]:
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = Tab(browser.new_context(viewport={"width": 1280, "height": 900}).new_page())
        found.page.on("console", lambda m: found.complaints.append(m.text) if "willRead" not in m.text else 0)
        found.page.on("pageerror", lambda e: found.complaints.append(str(e)))
        found.page.on("request", lambda r: found.asked.append(r.url))
        found.page.goto(written.as_uri())
        found.page.wait_for_selector("#detail[data-drawn]", timeout=20_000)
        yield found
        browser.close()


def test_the_page_is_walked_by_pointer_keys_and_address(tab: Tab, written: Path) -> None:
    page = tab.page
    assert "they part at c2" in tab.text(".verdict")
    assert tab.text("#h-grid") == "c2"
    names = page.locator("#rows li .name").all_inner_texts()
    assert names[0::2] == names[1::2]
    assert names[0] == "c1"
    page.focus("#rows")
    page.keyboard.press("ArrowDown")
    tab.until("document.getElementById('h-grid').textContent === 'r2'")
    page.focus("#grids")
    page.keyboard.press("ArrowRight")
    tab.until("document.getElementById('detail').dataset.drawn.split('-')[2] === '1'")
    page.keyboard.press("PageUp")
    tab.until("document.getElementById('h-grid').textContent === 'c2'")
    page.select_option("#order", "worst")
    tab.until("location.hash.includes('order=worst')")
    page.select_option("#image", "1")
    tab.until("location.hash.includes('picture=1')")
    page.fill("#search", "conv")
    assert "of" in tab.text("#rows-count")
    page.click("#depth circle[data-layer='0']")
    tab.until("document.getElementById('h-grid').textContent === 'c1'")
    page.goto(written.as_uri() + "#layer=r1&channel=3&scale=layer")
    tab.until("document.getElementById('detail').dataset.drawn.endsWith('layer')")
    assert tab.text("#h-channel") == "Channel 3"
    assert page.locator("#h-flipped").inner_text() == "Pictures with another answer"
    widths = page.evaluate("[...document.querySelectorAll('.flip img')].map(image => image.naturalWidth)")
    assert len(widths) in (2, 4)
    assert min(widths) >= 100, "each picture that flipped has its map in both networks"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        low = [text for contrast, text in page.evaluate(CONTRAST) if contrast < 4.5]
        assert not low, low
    assert page.evaluate(NAMELESS) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.complaints == []
    assert [url for url in tab.asked if not url.startswith(("file:", "data:"))] == []
