"""Which slot a picture of the live page gets, and the camera: the scripts in Node, without a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.conftest import ROOT

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")
PAGES = ROOT / "inspector" / "pages" / "templates"
SHIM = """
const images = [], layers = [], state = {}, button = { dataset: {}, addEventListener() {} }, said = [];
const $ = () => button, say = (text) => said.push(text), element = () => ({ play: async () => {} });
globalThis.window = {}; globalThis.document = { addEventListener() {} };
"""


def evaluate(body: str, *scripts: str) -> Any:
    """What `body` returns, with the page's scripts loaded."""
    assert NODE is not None
    code = SHIM + "".join((PAGES / name).read_text("utf-8") for name in scripts)
    code = code.replace("window.inspector =", "globalThis.ours =").replace("{ ask, images", "{ images")
    code += f"\n(async () => {{ {body} }})().then((found) => console.log(JSON.stringify(found)));"
    done = subprocess.run([NODE, "-"], input=code, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_pictures_on_their_way_and_the_camera_have_slots_of_their_own() -> None:
    found = evaluate(
        """
        live.camera = 0; // it was started, and its first frame has not been answered
        const first = [reserveSlot(), reserveSlot()];
        for (let slot = 0; slot < SLOTS; slot++) images[slot] = { name: "x" };
        live.reserved.clear();
        const later = Array.from({ length: 7 }, () => reserveSlot());
        let refused = ""; try { reserveSlot(); } catch (error) { refused = error.message; }
        return { first, later, refused };
        """,
        "live.js",
    )
    assert found["first"] == [1, 2]
    assert sorted(found["later"]) == [1, 2, 3, 4, 5, 6, 7]
    assert found["refused"] == "too many pictures came at once, give it again"


def test_a_camera_is_asked_for_once_and_leaves_its_slot_where_no_frame_came() -> None:
    found = evaluate(
        """
        let grant;
        const track = { stopped: false, addEventListener() {}, stop() { this.stopped = true; } };
        Object.defineProperty(globalThis, "navigator", { value: { mediaDevices: {
          getUserMedia: () => new Promise((resolve) => { grant = () => resolve({ getTracks: () => [track] }); }) } } });
        globalThis.createImageBitmap = async () => { throw new Error("no frame"); };
        const started = startCamera(), waiting = button.disabled;
        grant();
        await started;
        await new Promise((resolve) => setTimeout(resolve));
        return { waiting, after: button.disabled, last: live.camera, stopped: track.stopped, said };
        """,
        "live.js",
        "live_camera.js",
    )
    assert found == {
        "waiting": True, "after": False, "last": -1, "stopped": True, "said": ["no frame."],
    }  # fmt: skip


def test_every_way_to_run_out_of_memory_gets_one_clear_line() -> None:
    told = [
        "WebAssembly.Memory(): could not allocate memory",
        "failed to call OrtRun(). ERROR_CODE: 6, ERROR_MESSAGE: std::bad_alloc",
        "ERROR_MESSAGE: Failed to allocate memory for requested buffer of size 5308416000",
        "ERROR_MESSAGE: SafeIntOnOverflow() Integer overflow",
        "Aborted(OOM)",
        "Array buffer allocation failed",
    ]
    made = f"[...{json.dumps(told)}.map((text) => new Error(text)), new RangeError('Invalid typed array length: 9')]"
    found = evaluate(f"return {made}.map(explain).concat(explain(new Error('no such layer')));", "live_worker.js")
    assert len(found) == 8
    assert [one for one in found[:7] if not one.startswith("the browser has no memory left for this (")] == []
    assert all(
        one.endswith("give it a smaller picture, close other pages, or make the page with --int8") for one in found[:7]
    )
    assert found[7] == "no such layer"


def test_what_is_not_finite_is_beyond_its_limit() -> None:
    script = (ROOT / "inspector" / "serving" / "page" / "watch.js").read_text("utf-8")
    [line] = [line for line in script.splitlines() if line.startswith("const isBeyond")]
    pairs = "[[null, 1], [2, 1], [1, 1], [0, 1]]"
    assert evaluate(f"{line} return {pairs}.map(([value, limit]) => isBeyond({{ value, limit }}));") == [
        True, True, False, False,
    ]  # fmt: skip
