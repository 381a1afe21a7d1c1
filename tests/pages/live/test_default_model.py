"""The page of the default model: its size, twenty photographs against our own code, and memory over many pictures."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector import open_model, report
from inspector.cam import prepare_maps
from inspector.pages.live import write_live_page
from inspector.pages.report import Report
from tests.pages.browser import needs_chromium, opened

pytestmark = [needs_chromium, pytest.mark.slow]

ASK = """async ([text, index]) => {
  const file = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const { scores } = await inspector.ask("picture", { slot: 0, file });
  const pack = (values) => btoa(Array.from(new Uint8Array(values.buffer), (b) => String.fromCharCode(b)).join(""));
  const { map } = await inspector.ask("map", { slot: 0, method: "gradcam", index });
  const tensor = await inspector.ask("tensor", { slot: 0 });
  return { scores: pack(scores), map, tensor: pack(tensor.values) }; }"""


def photographs(photo: Path) -> list[bytes]:
    """Parts of a photograph in twenty sizes, forms and orientations."""
    rng = np.random.default_rng(5)
    made = []
    with Image.open(photo) as picture:
        for n in range(20):
            width, height = (int(v) for v in rng.integers(60, 280, 2))
            left, top = int(rng.integers(0, picture.width - width)), int(rng.integers(0, picture.height - height))
            part = picture.convert("RGB").crop((left, top, left + width, top + height))
            part = part.resize((int(width * rng.uniform(0.3, 5)), int(height * rng.uniform(0.3, 5))))
            exif = Image.Exif()
            exif[0x0112] = n % 8 + 1
            out = io.BytesIO()
            part.save(out, format=("PNG", "JPEG")[n % 2], exif=exif)
            made.append(out.getvalue())
    return made


def test_twenty_photographs_as_our_own_code_sees_them(
    browser: Any, default_model: Path, photo: Path, tmp_path: Path
) -> None:
    model = open_model(default_model)
    page = write_live_page(model, [photo], tmp_path / "live.html")
    assert page.size < 30_000_000
    tab = opened(browser, page.path)
    engine = prepare_maps(model, "gradcam")
    for data in photographs(photo):
        tensor = model.tensor(data)
        [best] = engine.maps(data, top=1)
        found = tab.page.evaluate(ASK, [base64.b64encode(data).decode(), best.target.index])
        mine = np.frombuffer(base64.b64decode(found["tensor"]), "<f4").reshape(tensor.shape)
        # A level of 255 where a JPEG is decoded differently; mean and standard deviation come after.
        assert np.abs(mine - tensor).max() <= 1.01 / 255 / min(model.preprocess.std)
        if data.startswith(b"\x89PNG"):
            np.testing.assert_array_equal(mine, tensor)
        expected = model.scores(mine)[0]
        scores = np.frombuffer(base64.b64decode(found["scores"]), "<f4")
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        [own] = engine.maps(mine, classes=best.target.index)
        np.testing.assert_allclose(np.reshape(found["map"], own.heatmap.shape), own.heatmap, atol=1e-4)
    assert tab.complaints == []
    tab.page.context.close()


def test_int8_is_half_the_page(browser: Any, default_model: Path, photo: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    page = report(default_model, photo, tmp_path / "int8.html", live=True, int8=True, warn=lines.append)
    assert page.live
    assert page.size < 14_000_000
    assert any("quantized to int8, calibrated on the picture given" in line for line in lines)
    tab = opened(browser, page.path)
    assert "Egyptian cat" in tab.text("#pictures")
    assert tab.complaints == []
    tab.page.context.close()


def test_memory_is_the_same_after_500_pictures(browser: Any, live_page: Report, picture: Path) -> None:
    """The renderer's memory, as the system counts it."""
    tab = opened(browser, live_page.path)
    text = base64.b64encode(picture.read_bytes()).decode()
    run = """async ([text, count]) => {
      const data = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      const all = inspector.images[0].layers.map((_, l) => l);
      for (let n = 0; n < count; n++) {
        const slot = n % 8;
        (await inspector.ask("picture", { slot, file: data.slice() })).shown.close();
        await inspector.ask("map", { slot, method: "gradcam", index: n % 5 });
        await inspector.ask("layers", { slot, which: all });
      } }"""
    sizes = []
    for count in (100, 250, 250):
        tab.page.evaluate(run, [text, count])
        tab.page.request_gc()
        sizes.append(max(resident(pid) for pid in children()))
    assert sizes[2] < 1.1 * sizes[1], sizes
    tab.page.context.close()


def children() -> list[int]:
    """The renderers of this process's browser; others may run on the machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" in (folder / "cmdline").read_bytes() and descends(int(folder.name)):
                found.append(int(folder.name))
        except (OSError, ValueError):  # it has ended
            continue
    return found


def descends(pid: int) -> bool:
    """Whether a process was started by this one, or by one that was."""
    while pid > 1 and pid != os.getpid():
        pid = int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1])
    return pid == os.getpid()


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * 4096
    except OSError:
        return 0
