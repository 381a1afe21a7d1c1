"""The live page in a real browser: it says of a picture what our own code says, and asks for nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from inspector import Preprocess, UsageError, open_model
from inspector.cam import prepare_maps
from inspector.layers.statistics import statistics
from inspector.metadata import KEY, Metadata
from inspector.pages.live import write_live_page
from inspector.pages.report import Report
from inspector.receptive import compute_receptive_field
from tests.foreign import Net
from tests.pages.browser import CONTRAST, NAMELESS, Tab, needs_chromium, opened
from tests.test_cli import call as run_command

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def shared(browser: Any, live_page: Report) -> Iterator[Tab]:
    found = opened(browser, live_page.path)
    yield found
    found.page.context.close()


@pytest.fixture
def tab(shared: Tab) -> Iterator[Tab]:
    yield shared
    assert shared.complaints == []
    assert [url for url in shared.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert sum(url.startswith("file:") for url in shared.asked) == 1


def call(tab: Tab, kind: str, **message: Any) -> Any:
    """What the page's worker answers, arrays as lists."""
    return tab.page.evaluate(
        """async ([kind, message]) => JSON.parse(JSON.stringify(await inspector.ask(kind, message),
          (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v))""",
        [kind, message],
    )


def test_the_same_answer_maps_and_layers_as_our_own_code(tab: Tab, small: Path, picture: Path) -> None:
    model = open_model(small)
    found = call(tab, "tensor", slot=0)
    tensor = model.tensor(picture)
    np.testing.assert_allclose(np.reshape(found["values"], tensor.shape), tensor, atol=1e-6)
    np.testing.assert_allclose(found["scores"], model.scores(tensor)[0], atol=1e-4)
    for index, result in enumerate(prepare_maps(model, "gradcam").maps(picture, classes=list(range(5)))):
        mine = call(tab, "map", slot=0, method="gradcam", index=index)
        np.testing.assert_allclose(np.reshape(mine["map"], mine["shape"]), result.heatmap, atol=1e-4)
    [result] = prepare_maps(model, "eigencam").maps(picture, top=1)
    mine = call(tab, "map", slot=0, method="eigencam", index=0)
    np.testing.assert_allclose(np.reshape(mine["map"], mine["shape"]), result.heatmap, atol=1e-4)
    adds = call(tab, "relevance", slot=0, indices=[1, 4])
    for mine, expected in zip(adds, prepare_maps(model, "gradcam").relevance(picture, classes=[1, 4]), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-4)
    values = model.activations(picture)
    for layer, one in zip(model.layers, call(tab, "layers", slot=0, which=list(range(len(model.layers)))), strict=True):
        expected = statistics(values[layer.name][0])
        assert one["entry"]["zero"] == pytest.approx(expected.zero_fraction)
        assert one["entry"]["blank"] == list(expected.blank_channels)
        for key, array in (
            ("min", expected.channel_minimum),
            ("mean", expected.channel_mean),
            ("std", expected.channel_std),
        ):
            np.testing.assert_allclose(one["table"][key], array, atol=1e-4)


def test_channels_switched_off_are_zero_for_the_rest_of_the_network(tab: Tab, small: Path, picture: Path) -> None:
    model = open_model(small)
    for number, layer in enumerate(model.layers[:-1]):
        cut = call(tab, "off", slot=0, layer=number, channels=[])
        np.testing.assert_allclose(cut["scores"], model.scores(model.tensor(picture))[0], atol=1e-4)
        off = call(tab, "off", slot=0, layer=number, channels=[0, 2])
        expected = zeroed(model, layer.tensor, [0, 2], model.tensor(picture))
        np.testing.assert_allclose(off["scores"], expected, atol=1e-4)


def zeroed(model: Any, tensor: str, channels: list[int], picture: Any) -> Any:
    """The scores with channels of a tensor at zero, by a Mul in the graph itself."""
    import onnx
    import onnxruntime

    proto = onnx.load(model.path)
    [value] = model.run(picture, [tensor]).values()
    mask = np.ones((1, value.shape[1], *[1] * (value.ndim - 2)), np.float32)
    mask[:, channels] = 0
    proto.graph.initializer.append(onnx.numpy_helper.from_array(mask, "mask"))
    place = next(i for i, node in enumerate(proto.graph.node) if tensor in node.output)
    for node in proto.graph.node:
        node.input[:] = [f"{tensor}/off" if name == tensor else name for name in node.input]
    proto.graph.node.insert(place + 1, onnx.helper.make_node("Mul", [tensor, "mask"], [f"{tensor}/off"]))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([model.classifier.scores], {"x": picture})[0][0]


def test_a_covered_part(tab: Tab, small: Path, picture: Path) -> None:
    model = open_model(small)
    mask = np.zeros((32, 32), np.uint8)
    mask[4:20, 10:30] = 1
    found = call(tab, "cover", slot=0, mask=mask.ravel().tolist(), color=[128, 128, 128])
    with Image.open(picture) as opened_picture:
        seen = np.array(model.preprocess.view(opened_picture.convert("RGB")))
    seen[mask == 1] = 128
    np.testing.assert_allclose(found["scores"], model.scores(model.preprocess.normalise(seen))[0], atol=1e-4)
    box = tab.page.locator("#cover").bounding_box()
    tab.page.locator("#cover").scroll_into_view_if_needed()
    tab.page.locator("#cover").hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    tab.page.mouse.down()
    tab.page.mouse.up()
    tab.until("document.getElementById('cover-told').textContent.includes('of what the network sees is covered')")
    tab.page.click("#uncover")
    tab.until("document.getElementById('cover-told').textContent === 'Nothing is covered.'")


def test_the_panes_the_keys_and_the_channel_that_is_off(tab: Tab, small: Path) -> None:
    layers = open_model(small).layers
    tab.page.focus("#layers")
    tab.page.keyboard.press("Home")
    tab.drawn(0, 0)
    assert layers[0].name in tab.text("#h-grid")
    tab.page.focus("#grid")
    tab.page.keyboard.press("ArrowRight")
    tab.drawn(0, 1)
    tab.page.keyboard.press("o")
    tab.until("document.getElementById('off-told').textContent.includes('channel 1;')")
    assert "Switch channel 1 on" in tab.text("#toggle")
    tab.page.click("#off-others")
    tab.until("document.getElementById('off-told').dataset.off === '7'")
    tab.page.keyboard.press("PageDown")
    tab.page.focus("#grid")
    tab.page.keyboard.press("PageDown")
    tab.drawn(1, 0)
    tab.until("document.getElementById('off-told').textContent.includes('are on')")
    field = compute_receptive_field(open_model(small), layers[1].tensor)
    assert f"sees {field.size[0]} × {field.size[1]} pixels of 32 × 32" in tab.text("#field-told")
    tab.page.click("#field-after")
    tab.drawn(2, 0)
    [explained] = prepare_maps(open_model(small), "gradcam").layers
    number = [layer.name for layer in layers].index(explained.name)
    tab.page.click(f"#layer-{number}")
    tab.until("!document.querySelector('#sort [value=relevance]').disabled")
    assert "adds to" in tab.text("#numbers")
    tab.page.select_option("#sort", "relevance")
    tab.page.focus("#grid")
    tab.page.keyboard.press("Home")
    adds = prepare_maps(open_model(small), "gradcam").relevance(small.parent / "rough.png", top=1)[0]
    tab.drawn(number, int(np.argmax(adds)), int(tab.page.input_value("#image")))
    tab.page.select_option("#sort", "number")


def test_another_class_and_another_picture(tab: Tab, picture: Path) -> None:
    tab.page.fill("#figure-0 input[list]", "<elk>")
    tab.page.press("#figure-0 input[list]", "Enter")
    tab.until("document.getElementById('caption-0').textContent.includes('for <elk>')")
    data = base64.b64encode(picture.read_bytes()).decode()
    tab.page.evaluate(
        """text => {
          const moved = new DataTransfer(), data = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
          moved.items.add(new File([data], 'dropped.png', { type: 'image/png' }));
          document.dispatchEvent(new DragEvent('drop', { dataTransfer: moved, bubbles: true, cancelable: true })); }""",
        data,
    )
    tab.until("document.getElementById('status').textContent.startsWith('Ready. dropped.png')")
    assert tab.page.locator("#pictures figure").count() == 2
    assert tab.page.input_value("#image") == "1"
    tab.page.set_input_files("#choose", {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"})
    tab.until("document.getElementById('status').textContent.startsWith('notes.png: this is not a picture')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_and_text_has_contrast(tab: Tab, width: int, scheme: str) -> None:
    tab.page.set_viewport_size({"width": width, "height": 844})
    tab.page.emulate_media(color_scheme=scheme)
    tab.page.wait_for_timeout(200)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert [r for r in tab.page.evaluate(CONTRAST) if r[0] < 4.5] == []
    assert tab.page.evaluate(NAMELESS) == []
    ids = tab.page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_a_truncated_and_a_damaged_file_say_so(browser: Any, live_page: Report, tmp_path: Path) -> None:
    text = live_page.path.read_text("utf-8")
    (tmp_path / "short.html").write_text(text[: len(text) * 3 // 4], "utf-8")
    tab = opened(browser, tmp_path / "short.html", shown="#status.bad")
    assert "truncated" in tab.text("#status")
    tab.page.context.close()
    place = text.index(">", text.index('id="part-weights"')) + 200
    (tmp_path / "damaged.html").write_text(
        text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :], "utf-8"
    )
    tab = opened(browser, tmp_path / "damaged.html", shown="#status.bad")
    assert tab.text("#status").startswith("This file is damaged: the network's weights")
    tab.page.context.close()


def test_a_browser_without_webassembly_is_told(browser: Any, live_page: Report) -> None:
    context = browser.new_context()
    context.add_init_script("delete window.WebAssembly")
    page = context.new_page()
    page.goto(live_page.path.as_uri())
    page.wait_for_selector("#status.bad")
    assert page.inner_text("#status").startswith("This browser has no WebAssembly, which runs the network.")
    assert page.is_disabled("#choose")
    context.close()


@pytest.mark.slow
def test_a_picture_too_large_for_the_memory_is_told_and_the_next_one_is_looked_at(browser: Any, tmp_path: Path) -> None:
    net = Net(seed=1)
    x = net.input("x", (1, 3, "h", "w"))
    large = net("Resize", net.conv(x, 3, 4, 3, pads=1), "", net.const(np.array([1, 1, 10, 10], np.float32)))
    proto = net.model(net("Gemm", net("Flatten", net("GlobalAveragePool", large)), net.weight((4, 3))))
    known = Metadata(preprocess=Preprocess(size=None, resize="none"), task="classify")
    onnx.helper.set_model_props(proto, {KEY: known.dumps()})
    onnx.save(proto, tmp_path / "wide.onnx")
    for name, side in (("small.png", 16), ("large.png", 1700), ("next.png", 20)):
        Image.new("RGB", (side, side), "green").save(tmp_path / name)
    tab = opened(
        browser, write_live_page(open_model(tmp_path / "wide.onnx"), [tmp_path / "small.png"], tmp_path / "x.html").path
    )
    tab.page.set_input_files("#choose", tmp_path / "large.png")  # 17000 x 17000 x 4 numbers: more than WebAssembly has
    tab.page.wait_for_selector("#status.bad")
    told = tab.text("#status")
    assert told.startswith("large.png: the browser has no memory left for this (")
    assert told.endswith("); give it a smaller picture, close other pages, or make the page with --int8.")
    tab.page.set_input_files("#choose", tmp_path / "next.png")
    tab.until("document.getElementById('status').textContent.startsWith('Ready. next.png')")
    assert tab.page.locator("#pictures figure").count() == 2
    tab.page.context.close()


def test_the_command(
    small: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_command(capsys, "report", small, "--live", "--json")
    document = json.loads(out)
    assert (code, document["live"], document["images"], document["report"]) == (0, True, [], "report.html")
    assert document["bytes"] == (tmp_path / "report.html").stat().st_size
    code, _, err = run_command(capsys, "report", small)
    assert code == 2
    assert "a report needs at least one picture" in err
    code, _, err = run_command(capsys, "report", small, picture, "--int8")
    assert code == 2
    assert "int8 is for the network in a live page" in err


def test_what_a_page_cannot_hold(small: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(small)
    with pytest.raises(UsageError, match="cannot make layercam of this network"):
        write_live_page(model, [], tmp_path / "x.html", methods=["layercam"])
    with pytest.raises(UsageError, match="at most 8 pictures"):
        write_live_page(model, [picture] * 9, tmp_path / "x.html")
    monkeypatch.setattr("inspector.pages.live.network.MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="a page can hold a network of"):
        write_live_page(model, [], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()
