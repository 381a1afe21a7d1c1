"""The page in a real browser, with a real server: what it shows, its keys, its looks, and when all is lost.

Needs Playwright and a Chromium of the system; INSPECTOR_TESTS_BROWSER=1 makes a missing browser a failure.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporters.attaching import attach_outputs
from tests.attaching.test_attach import pooled
from tests.conftest import DEFAULT_MODEL, ROOT, require
from tests.pages.browser import CHROMIUM, CONTRAST, NAMELESS, Tab, needs_chromium
from tests.serving.conftest import write_video
from tests.serving.rtsp import Door

require("av")
api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, needs_chromium]
LAYER = "blocks.5.swish"


class Device:
    """A server in a process of its own, which can be ended and started again at the same port."""

    def __init__(self, *arguments: str | Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.arguments = [*map(str, arguments), "--port", str(self.port)]
        self.said = ""
        self.start()

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}/"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inspector", "live", *self.arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        assert "open http" in self.said

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stderr is not None
        assert self.process.stderr.read() == "inspector: interrupted\n"
        self.process.stderr.close()
        assert self.process.wait(timeout=60) == 143


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mkv", 50, (320, 240))


@pytest.fixture(scope="module")
def device(clip: Path) -> Iterator[Device]:
    found = Device(DEFAULT_MODEL, "--source", clip)
    yield found
    found.stop()


@contextmanager
def visit(browser: Any, device: Device, path: str = "", **options: Any) -> Iterator[Tab]:
    """A page of the device, which complains of nothing and asks nobody else."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    try:
        tab = Tab(context.new_page())
        mine = "willReadFrequently"  # of the tests, which read canvases back
        tab.page.on(
            "console",
            lambda m: tab.complaints.append(m.text) if m.type in ("error", "warning") and mine not in m.text else 0,
        )
        tab.page.on("pageerror", lambda e: tab.complaints.append(str(e)))
        tab.page.on("request", lambda r: tab.asked.append(r.url))
        tab.page.goto(device.address + path)
        tab.page.wait_for_selector("#picture[data-frame]", timeout=60_000)
        yield tab
        assert tab.complaints == []
        assert [url for url in tab.asked if not url.startswith((device.address, "data:", "blob:"))] == []
    finally:
        context.close()


def wait_for_next(tab: Tab, selector: str = "#picture") -> None:
    """Waits until something newer is drawn."""
    before = tab.page.get_attribute(selector, "data-frame")
    tab.until(f"document.querySelector('{selector}').dataset.frame !== '{before}'")


MEAN = """() => {
  const c = document.getElementById('picture'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let [r, g, b] = [0, 0, 0];
  for (let n = 0; n < d.length; n += 4) { r += d[n]; g += d[n + 1]; b += d[n + 2]; }
  return [r, g, b].map((sum) => sum / (d.length / 4)); }"""


TRIES = """async (address) => {
  const read = async (options) => {
    try { return (await fetch(address + 'about', options)).status; } catch (e) { return 'refused'; } };
  const image = await new Promise((done) => {
    const one = new Image();
    one.onload = () => done('shown'); one.onerror = () => done('refused'); one.src = address + 'watch'; });
  return [await read({ credentials: 'include' }), await read({ mode: 'no-cors', credentials: 'include' }), image]; }"""
"""What a page of another origin could do."""


def test_it_says_what_the_file_gives_itself(browser: Any, clip: Path, make_model: Any, tmp_path: Path) -> None:
    source = make_model(pooled, shape=("N", 3, 8, 8))
    made = attach_outputs(source, tmp_path / "made.onnx", cam="gradcam", saliency="gradient").path
    device = Device(made, "--source", clip)
    try:
        with visit(browser, device) as tab:
            assert "The file's own attached outputs are used: cam, cam_classes, saliency." in tab.page.inner_text(
                "#lead"
            )
            tab.until("document.getElementById('map-words').textContent.includes(\"the file's output cam\")")
            tab.page.select_option("#map", "saliency")
            tab.until(
                "document.getElementById('map-words').textContent.includes(\"(gradient, the file's output saliency\")"
            )
            assert tab.page.url.endswith("#map=saliency")
    finally:
        device.process.kill()
        device.process.communicate()


def test_it_shows_what_the_network_sees(browser: Any, device: Device) -> None:
    with visit(browser, device, f"#layer={LAYER}&channel=3") as tab:
        assert tab.text("h1") == "efficientnet-lite0.onnx"
        wait_for_next(tab)
        tab.page.wait_for_selector(f'#grid[data-drawn="{LAYER}"]', timeout=60_000)
        wait_for_next(tab, "#grid")
        assert "240 × 28 × 28" in tab.text("#layer-facts")
        assert tab.page.get_attribute("#big", "data-channel") == "3"
        assert len(tab.page.locator("#answers li").all()) == 5
        assert re.search(r"\d frames a second", tab.text("#figures"))
        tab.until("Number(document.getElementById('chart-answers').dataset.points) > 3")

        tab.page.select_option("#map", "")
        tab.until("document.getElementById('picture').dataset.map === ''")
        plain = tab.page.evaluate(MEAN)
        assert plain[0] > plain[2], "the square is orange"
        tab.page.locator("#opacity").fill("100")
        tab.page.select_option("#map", "best")
        tab.until("document.getElementById('map-words').textContent.startsWith('no evidence to most')")
        covered = tab.page.evaluate(MEAN)
        assert max(abs(a - b) for a, b in zip(plain, covered, strict=True)) > 10, "the map lies over the picture"
        tab.page.fill("#any", "Egyptian cat")
        tab.page.keyboard.press("Enter")
        tab.until("document.getElementById('picture').dataset.map === '285'")
        assert "Egyptian cat" in tab.text("#map-words")
        assert "map=285" in tab.page.evaluate("location.hash")
        tab.page.locator("#answers button").first.click()
        tab.until("document.querySelector('#answers button[aria-pressed=true]') !== null")


def test_keys(browser: Any, device: Device) -> None:
    with visit(browser, device) as tab:
        tab.page.fill("#search", "blocks.5 activation 28x28")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector(f'#grid[data-drawn="{LAYER}"]', timeout=60_000)
        tab.page.fill("#search", "")
        tab.page.focus("#grid")
        for key, channel in (("ArrowRight", 1), ("End", 239), ("Home", 0)):
            tab.page.keyboard.press(key)
            tab.until(f"document.getElementById('big').dataset.channel === '{channel}'")
        assert tab.text("#said") == f"{LAYER}, channel 0"
        tab.page.keyboard.press("ArrowDown")
        tab.until("Number(document.getElementById('big').dataset.channel) > 5")
        tab.page.keyboard.press("PageDown")
        tab.page.wait_for_selector('#grid[data-drawn="blocks.5.depthwise_conv"]', timeout=60_000)
        tab.page.focus("#layers")
        tab.page.keyboard.press("ArrowUp")
        tab.page.wait_for_selector(f'#grid[data-drawn="{LAYER}"]', timeout=60_000)
        tab.page.evaluate("document.activeElement.blur()")
        tab.page.keyboard.press("m")
        tab.until("document.getElementById('map').value === ''")
        tab.page.keyboard.press("m")
        tab.until("document.getElementById('map').value === 'best'")
        tab.page.keyboard.press(" ")
        tab.until("document.getElementById('notice').textContent.startsWith('Paused')")
        deadline = time.monotonic() + 20
        while tab.page.evaluate("fetch('about').then((a) => a.json()).then((a) => a.now.watchers)"):
            assert time.monotonic() < deadline, "a page that is paused watches nothing"
        tab.page.keyboard.press(" ")
        wait_for_next(tab)
        assert tab.page.is_hidden("#notice")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_looks(browser: Any, device: Device, scheme: str, width: int) -> None:
    viewport = {"width": width, "height": 844}
    with visit(browser, device, f"#layer={LAYER}", color_scheme=scheme, viewport=viewport) as tab:
        tab.page.wait_for_selector(f'#grid[data-drawn="{LAYER}"]', timeout=60_000)
        tab.until("document.querySelectorAll('#answers li').length === 5")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        poor = [text for ratio, text in tab.page.evaluate(CONTRAST) if ratio < 4.5]
        assert poor == []
        assert [one for one in tab.page.evaluate(NAMELESS) if " id=" in one] == [], (
            "the canvas of a chart lies in a figure"
        )
        ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.page.click("#theme")
        assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


def test_it_goes_on_when_the_server_is_there_again(browser: Any, clip: Path) -> None:
    device = Device(DEFAULT_MODEL, "--source", clip)
    with visit(browser, device, f"#layer={LAYER}") as tab:
        tab.page.wait_for_selector(f'#grid[data-drawn="{LAYER}"]', timeout=60_000)
        device.stop()
        tab.until("/does not answer; trying again in/.test(document.getElementById('notice').textContent)")
        device.start()
        try:
            tab.until("document.getElementById('notice').hidden")
            wait_for_next(tab)
            wait_for_next(tab, "#grid")
        finally:
            device.stop()
        # The browser remarks on a server that is not there; the page does not.
        tab.complaints[:] = [line for line in tab.complaints if "net::ERR_" not in line]


def test_a_stranger_and_another_page_see_nothing(browser: Any, clip: Path, tmp_path: Path) -> None:
    device = Device(DEFAULT_MODEL, "--source", clip, "--token", "a-long-token-of-mine")
    try:
        context = browser.new_context()
        page = context.new_page()
        for shown in ("", "?token=wrong-token-of-mine"):
            answer = page.goto(device.address + shown)
            assert answer.status == 401
            assert "open the address with the token" in page.content()
        context.close()
        with visit(browser, device, "?token=a-long-token-of-mine") as tab:
            assert "token" not in tab.page.url
            assert tab.page.evaluate("document.cookie") == ""
            [cookie] = tab.page.context.cookies()
            assert cookie["httpOnly"]
            assert cookie["sameSite"] == "Strict"
            tab.page.reload()
            tab.page.wait_for_selector("#picture[data-frame]", timeout=60_000)
            ask_from_another_page(tab.page.context, device, tmp_path)
    finally:
        device.stop()


def ask_from_another_page(context: Any, device: Device, folder: Path) -> None:
    """In the same browser, with the cookie, a page of another origin gets nothing."""
    (folder / "index.html").write_text("<title>another</title>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    make = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        page = context.new_page()
        page.goto(f"http://localhost:{other.server_port}/")
        assert page.evaluate(TRIES, device.address) == ["refused", "refused", "refused"]
        other.shutdown()


def test_a_source_that_is_lost_is_said_and_tried_again(browser: Any) -> None:
    """A camera that is switched on later, off, and on again."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    device = Device(DEFAULT_MODEL, "--source", f"rtsp://anna:secret@127.0.0.1:{port}/door")
    try:
        context = browser.new_context()
        tab = Tab(context.new_page())
        tab.page.goto(device.address)
        said = "document.getElementById('notice').textContent"
        tab.until(f"/cannot be read: Connection refused\\. Next try in \\d+ s/.test({said})")
        assert "secret" not in json.dumps(tab.page.content())
        for _ in range(2):
            door = Door("tcp", port)
            try:
                tab.until("document.getElementById('notice').hidden && document.querySelector('#picture[data-frame]')")
                wait_for_next(tab)
            finally:
                door.switch_off()
            tab.until(f"/127\\.0\\.0\\.1:{port}\\/door (ended|cannot be read).* Next try in \\d+ s/.test({said})")
        assert "secret" not in json.dumps(tab.page.content())
        context.close()
    finally:
        device.stop()
