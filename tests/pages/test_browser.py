"""The page in a real browser: every control, by pointer and by keyboard; nothing on the console, nothing asked for.

Needs Playwright and a Chromium of the system (Debian's package chromium); INSPECTOR_TESTS_BROWSER=1 makes a missing
browser a failure.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector import open_model
from inspector.image import Preprocess
from inspector.metadata import KEY, Metadata
from inspector.pages.report import Report, write_report
from inspector.render.objects import choose_color
from tests.audit.detectors import COLORS, LABELS, SIDE, detector, paint
from tests.foreign import Net
from tests.pages.browser import CONTRAST, NAMELESS, Tab, needs_chromium, opened

pytestmark = needs_chromium


@pytest.fixture
def tab(browser: Any, page: Report) -> Iterator[Tab]:
    found = opened(browser, page.path)
    yield found
    assert found.complaints == []
    assert [url for url in found.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert sum(url.startswith("file:") for url in found.asked) == 1
    found.page.context.close()


def index_of(tab: Tab, name: str) -> int:
    return int(
        tab.page.evaluate(
            "n => JSON.parse(document.getElementById('data').textContent).layers.findIndex(l => l.name === n)", name
        )
    )


def colors(tab: Tab, selector: str) -> set[tuple[int, ...]]:
    """The colors on a canvas."""
    script = """s => {
        const c = document.querySelector(s), out = new Set();
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        for (let i = 0; i < d.length; i += 4) out.add([...d.slice(i, i + 4)].join());
        return [...out]; }"""
    return {tuple(map(int, text.split(","))) for text in tab.page.evaluate(script, selector)}


def test_it_is_usable_within_a_second(browser: Any, page: Report) -> None:
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        tab = opened(browser, page.path)
        taken.append(time.perf_counter() - start)
        tab.page.context.close()
    # Half a second on an idle machine; tests share theirs.
    assert min(taken) < 3


def test_a_layer_and_a_channel_by_pointer(tab: Tab) -> None:
    tab.page.fill("#search", "blocks.5 activation 28x28")
    shown = tab.page.locator("#layers li:visible .name").all_inner_texts()
    assert shown == ["blocks.5.swish"]
    assert "1 of" in tab.text("#layers-count")
    tab.page.click("#layers li:visible")
    layer = index_of(tab, "blocks.5.swish")
    tab.drawn(layer, 0)
    assert tab.text("#h-grid") == "blocks.5.swish"
    assert "240 × 28 × 28" in tab.text("#layer-facts")
    box = tab.page.locator("#grid").bounding_box()
    tab.page.mouse.click(box["x"] + 5 + 40 * 2, box["y"] + 25)
    tab.until("location.hash.includes('channel=2')")
    tab.drawn(layer, 2)
    assert "channel 2" in tab.text("#h-detail")
    assert "mean" in tab.text("#numbers")
    share = re.search(r"zero fraction\s+(\S+ %)", tab.text("#numbers"))
    assert share
    assert f"{share[1]} exactly zero" in tab.text("#bars")
    assert "bars count" not in tab.text("#bars")
    tab.page.evaluate("location.hash = '#layer=conv_stem&channel=0'")
    tab.until("document.getElementById('bars').textContent.includes('bars count the map as drawn, ')")
    tab.page.fill("#search", "")
    assert len(tab.page.locator("#layers li:visible").all()) == 93


def test_keys_walk_channels_and_layers(tab: Tab) -> None:
    start = tab.page.evaluate("Number(document.querySelector('#layers [aria-selected=true]').id.split('-')[1])")
    tab.page.focus("#grid")
    tab.page.keyboard.press("ArrowRight")
    tab.drawn(start, 1)
    tab.page.keyboard.press("End")
    tab.until("!location.hash.includes('channel=1&') && !location.hash.endsWith('channel=1')")
    tab.page.keyboard.press("Home")
    tab.drawn(start, 0)
    tab.page.keyboard.press("PageDown")
    tab.drawn(start + 1, 0)
    tab.page.focus("#layers")
    tab.page.keyboard.press("ArrowDown")
    tab.drawn(start + 2, 0)
    tab.page.keyboard.press("Home")
    tab.drawn(0, 0)
    assert "conv_stem, channel 0" in tab.text("#said")
    assert tab.page.get_attribute("#layers", "aria-activedescendant") == "layer-0"


def test_the_address_leads_back(browser: Any, page: Report) -> None:
    tab = opened(browser, page.path, "#layer=blocks.5.swish&channel=17&picture=1&scale=layer&sort=mean")
    layer = index_of(tab, "blocks.5.swish")
    tab.drawn(layer, 17, 1)
    assert tab.page.input_value("#scale") == "layer"
    assert tab.page.input_value("#sort") == "mean"
    tab.page.evaluate("location.hash = '#layer=conv_stem&channel=3&picture=0'")
    tab.drawn(0, 3, 0)
    assert tab.page.input_value("#scale") == "channel", "what an address leaves out is as on a fresh page"
    assert tab.page.input_value("#sort") == "number"
    tab.page.evaluate("location.hash = '#panes'")
    tab.page.wait_for_timeout(100)
    assert tab.text("#h-detail") == "conv_stem, channel 3", "the skip link is no address"
    assert tab.complaints == []
    tab.page.context.close()
    asked = "#layer=swish_1&channel=5&scale=fixed&low=1&high=4.5&class=2&method=eigencam&evidence=0,1&sort=relevance"
    tab = opened(browser, page.path, asked)
    tab.page.wait_for_selector('#picture-1[data-drawn="1-eigencam-55"]')
    assert (tab.page.input_value("#low"), tab.page.input_value("#high")) == ("1", "4.5")
    assert tab.page.input_value("#class") == "2"
    assert tab.page.locator("input[name=guess-1]").nth(1).is_checked()
    assert "adds to tiger cat" in tab.text("#numbers")
    tab.page.select_option("#scale", "layer")
    tab.until("location.hash.includes('scale=layer')")
    address = tab.page.evaluate("location.hash")
    for part in ("layer=swish_1", "channel=5", "picture=0", "class=2", "method=eigencam", "evidence=0%2C1"):
        assert part in address
    assert "low=" not in address
    assert tab.complaints == []
    tab.page.context.close()
    tab = opened(browser, page.path, "#layer=none&channel=99999&picture=7&scale=bogus&evidence=9,x&class=-1&low=abc")
    assert tab.complaints == []
    tab.page.context.close()


def test_sorting_and_filtering(tab: Tab) -> None:
    tab.page.evaluate("location.hash = '#layer=swish_1&channel=0'")
    layer = index_of(tab, "swish_1")
    tab.drawn(layer, 0)
    order = "() => document.getElementById('grid').dataset.drawn"
    tab.page.select_option("#show", "blank")
    tab.until(f"({order})().includes('-blank-')")
    blank = int(tab.page.evaluate(order).rsplit("-", 1)[1])
    tab.page.select_option("#show", "live")
    tab.until(f"({order})().includes('-live-')")
    live = int(tab.page.evaluate(order).rsplit("-", 1)[1])
    assert blank + live == 1280
    assert f"{blank} constant channels" in tab.text("#layer-facts")
    tab.page.select_option("#sort", "relevance")
    tab.page.focus("#grid")
    tab.page.keyboard.press("Home")
    tab.until(
        "!location.hash.includes('channel=0&') && document.getElementById('numbers').innerText.includes('adds to')"
    )
    assert "adds to Egyptian cat" in tab.text("#numbers")
    assert tab.page.is_visible("#class-label")
    tab.page.select_option("#show", "all")
    tab.page.evaluate("location.hash = '#layer=conv_stem&channel=0'")
    tab.drawn(0, 0)
    assert tab.page.locator("#sort option[value=relevance]").is_disabled()


def test_scales_and_colors(tab: Tab) -> None:
    tab.page.evaluate("location.hash = '#layer=blocks.5.swish&channel=17'")
    layer = index_of(tab, "blocks.5.swish")
    tab.drawn(layer, 17)
    zero = (11, 11, 16, 255)
    own = colors(tab, "#big")
    assert zero in own
    assert len(own) > 10
    tab.page.select_option("#scale", "fixed")
    assert tab.page.is_visible("#fixed-range")
    tab.page.fill("#high", "600")
    tab.page.press("#high", "Enter")
    tab.until("document.getElementById('grid-range').textContent.includes('600')")
    tab.page.wait_for_timeout(300)
    dim = colors(tab, "#big")
    assert zero in dim, "zero keeps its color in every scale"
    assert len(dim) < len(own)
    assert "600" in str(tab.page.get_attribute("#histogram", "aria-label"))
    tab.page.select_option("#scale", "layer")
    tab.until("document.getElementById('grid-range').textContent.includes('all channels')")
    tab.page.select_option("#colormap", "grey")
    tab.page.wait_for_timeout(300)
    assert all(r == g == b for r, g, b, _ in colors(tab, "#grid-bar"))


def test_a_constant_channel_is_hatched(tab: Tab) -> None:
    tab.page.evaluate("location.hash = '#layer=swish_1&channel=0&show=blank'")
    tab.until("document.getElementById('grid').dataset.drawn.includes('-blank-')")
    tab.page.focus("#grid")
    tab.page.keyboard.press("Home")
    tab.until("document.getElementById('numbers').innerText.includes('on this picture')")
    assert (228, 228, 234, 255) in colors(tab, "#big")


def test_evidence_for_each_class_by_each_method(tab: Tab) -> None:
    tab.page.wait_for_selector("#picture-0[data-drawn]")
    assert "Egyptian cat" in tab.text("#pictures")
    before = tab.page.evaluate("document.getElementById('picture-0').toDataURL()")
    tab.page.locator("input[name=guess-0]").nth(2).check()
    tab.until("document.getElementById('picture-0').dataset.drawn.startsWith('2-')")
    other = tab.page.evaluate("document.getElementById('picture-0').toDataURL()")
    assert before != other
    assert "tiger cat" in tab.text("#caption-0")
    tab.page.select_option("#method", "eigencam")
    tab.until("document.getElementById('picture-0').dataset.drawn.includes('eigencam')")
    tab.page.fill("#opacity", "0")
    tab.until("document.getElementById('picture-0').dataset.drawn.endsWith('-0')")
    bare = tab.page.evaluate("document.getElementById('picture-0').toDataURL()")
    assert bare not in (before, other)
    box = tab.page.locator("#picture-0").bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert re.search(r": \d\.\d\d here$", tab.text("#caption-0"))


def test_the_same_channel_over_both_pictures_and_its_pattern(tab: Tab) -> None:
    tab.page.evaluate("location.hash = '#layer=blocks.5.swish&channel=17'")
    tab.drawn(index_of(tab, "blocks.5.swish"), 17)
    assert len(tab.page.locator("#sides canvas").all()) == 2
    assert len(tab.page.locator("#patterns img").all()) == 4
    assert "recipe clear" in tab.text("#patterns")
    box = tab.page.locator("#sides canvas").first.bounding_box()
    tab.page.locator("#sides canvas").first.scroll_into_view_if_needed()
    tab.page.locator("#sides canvas").first.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert "here" in tab.text("#sides figcaption")
    tab.page.focus("#grid")
    tab.page.keyboard.press("ArrowRight")
    tab.drawn(index_of(tab, "blocks.5.swish"), 18)
    assert len(tab.page.locator("#patterns img").all()) == 0


def test_pictures_are_saved_with_what_made_them(tab: Tab, tmp_path: Path) -> None:
    tab.page.evaluate("location.hash = '#layer=blocks.5.swish&channel=17'")
    tab.drawn(index_of(tab, "blocks.5.swish"), 17)
    with tab.page.expect_download() as waiting:
        tab.page.click("#save")
    path = tmp_path / "saved.png"
    waiting.value.save_as(path)
    assert waiting.value.suggested_filename == "blocks.5.swish-channel-17.png"
    with Image.open(path) as picture:
        assert picture.width >= 320
        assert picture.height > 500
    assert "channel 17 on chelsea.jpg" in tab.text("#made")


def test_the_model_card(tab: Tab) -> None:
    assert not tab.page.is_visible("#audit")
    tab.page.click("#card summary")
    card = tab.text("#card")
    for expected in ("4,631,002 parameters", "Apache-2.0", "1000: tench", "resize stretch", "49 conv"):
        assert expected in card
    assert "fail: 3 <dead> channels" in tab.text("#audit")


def test_the_depth_chart_leads_to_layers(tab: Tab) -> None:
    dots = tab.page.locator("#depth circle")
    assert dots.count() == 93
    dots.nth(5).click(force=True)
    tab.drawn(5, 0)
    assert tab.page.locator("#depth circle[tabindex='0']").count() == 1, "one stop for the Tab key"
    tab.page.locator("#depth circle[tabindex='0']").focus()
    tab.page.keyboard.press("ArrowRight")
    tab.drawn(6, 0)
    assert tab.page.evaluate("document.activeElement.dataset.layer") == "6"
    tab.page.keyboard.press("End")
    tab.drawn(92, 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_and_text_has_contrast(browser: Any, page: Report, width: int, scheme: str) -> None:
    tab = opened(browser, page.path, viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    ratios = tab.page.evaluate(CONTRAST)
    assert len(ratios) > 100
    assert [r for r in ratios if r[0] < 4.5] == []
    assert tab.complaints == []
    tab.page.context.close()


def test_landmarks_and_names(tab: Tab) -> None:
    assert tab.page.locator("main, nav, header, footer").count() == 4
    nameless = tab.page.evaluate(NAMELESS)
    assert nameless == []
    ids = tab.page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    before = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.page.click("#theme")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") != before


# --- what a detector and a segmenter find -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """The pages of a detector of red and green cells, on four of them and on a grey picture, and of a segmenter."""
    folder = tmp_path_factory.mktemp("found")

    def segment(net: Net, x: str) -> str:
        codes = net("Relu", net("Conv", x, net.const(COLORS.reshape(2, 3, 1, 1)), pads=[0, 0, 0, 0]))
        weights = np.array([[-1, -1], [1, 0], [0, 1]], np.float32).reshape(3, 2, 1, 1)
        return net("Conv", codes, net.const(weights), net.const(np.array([0.5, 0, 0], np.float32)), out="logits")

    pictures = []
    for name, cells in (("four.png", {(1, 1): 0, (5, 2): 1, (3, 6): 0, (6, 6): 1}), ("none.png", {})):
        Image.fromarray(paint(cells)).resize((256, 256), Image.Resampling.NEAREST).save(folder / name)
        pictures.append((name, folder / name))
    made = {}
    for task, build, labels in (("detect", detector(), LABELS), ("segment", segment, ("other", *LABELS))):
        net = Net()
        proto = net.model(build(net, net.input("images", (1, 3, SIDE, SIDE))))
        known = Metadata(labels=labels, preprocess=Preprocess(size=(SIDE, SIDE)))
        onnx.helper.set_model_props(proto, {KEY: known.dumps()})
        onnx.save(proto, folder / f"{task}.onnx")
        made[task] = write_report(open_model(folder / f"{task}.onnx"), pictures, folder / f"{task}.html")
    return made


def test_boxes_are_drawn_chosen_and_told(browser: Any, found_pages: dict[str, Report]) -> None:
    tab = opened(browser, found_pages["detect"].path)
    tab.page.wait_for_selector('#picture-0[data-drawn="0-layercam-55"]')
    words = tab.text("#pictures")
    assert "4 objects found, the best 3 explained; evidence for" in words
    assert "0: red\nscore 0.91" in words
    assert "Nothing found on this picture" in words
    assert "for box 0, red, without torch; 100 % of the map lies inside the box" in tab.text("#caption-0")
    tab.page.locator("input[name=guess-0]").nth(2).check()
    tab.page.wait_for_selector('#picture-0[data-drawn="2-layercam-55"]')
    box = tab.page.locator("#picture-0").bounding_box()
    # A click into the green cell at (5, 2) of 8 x 8 explains its box.
    tab.page.locator("#picture-0").click(position={"x": box["width"] * 5.5 / 8, "y": box["height"] * 2.5 / 8})
    tab.page.wait_for_selector('#picture-0[data-drawn="1-layercam-55"]')
    assert "box 1, green" in tab.text("#caption-0")
    assert not tab.page.is_visible("#view-label")
    tab.page.click("#card summary")
    assert "detect, head yolov8" in tab.text("#card")
    assert tab.complaints == []
    tab.page.context.close()


def test_classes_of_pixels_are_shown_with_a_legend(browser: Any, found_pages: dict[str, Report]) -> None:
    tab = opened(browser, found_pages["segment"].path)
    tab.page.wait_for_selector('#picture-0[data-drawn="0-gradcam-55"]')
    assert "Share of the picture; evidence for\n other\n93.1 %" in tab.text("#pictures")
    tab.page.select_option("#view", "classes")
    tab.page.wait_for_selector('#picture-0[data-drawn="classes-55"]')
    tab.page.fill("#opacity", "100")
    tab.page.wait_for_selector('#picture-0[data-drawn="classes-100"]')
    assert {color[:3] for color in colors(tab, "#picture-0")} == {choose_color(k) for k in range(3)}
    assert not tab.page.is_visible("#method-label")
    tints = tab.page.evaluate("[...document.querySelectorAll('.swatch.tint')].slice(0, 3).map(e => e.style.background)")
    assert tints == [f"rgb{choose_color(k)}" for k in range(3)]
    assert "view=classes" in tab.page.evaluate("location.hash")
    tab.page.locator("input[name=guess-0]").nth(1).check()
    tab.page.wait_for_selector('#picture-0[data-drawn="1-gradcam-100"]')
    assert tab.page.input_value("#view") == "evidence"
    assert "for red, without torch" in tab.text("#caption-0")
    assert tab.complaints == []
    tab.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_found_pages_fit_and_have_contrast(
    browser: Any, found_pages: dict[str, Report], width: int, scheme: str
) -> None:
    for report in found_pages.values():
        tab = opened(browser, report.path, viewport={"width": width, "height": 844}, color_scheme=scheme)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        assert [r for r in tab.page.evaluate(CONTRAST) if r[0] < 4.5] == []
        assert tab.page.evaluate(NAMELESS) == []
        assert tab.complaints == []
        tab.page.context.close()
