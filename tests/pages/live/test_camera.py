"""The camera of the live page: a fake one of Chromium, which plays a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inspector.pages.report import Report
from tests.pages.browser import CHROMIUM, needs_chromium, opened

pytestmark = [needs_chromium, pytest.mark.slow]


def write_video(path: Path) -> Path:
    """Frames of a moving bar, as MJPEG."""
    with path.open("wb") as file:
        for n in range(30):
            frame = np.full((120, 160, 3), 40, np.uint8)
            frame[:, 5 * n : 5 * n + 30] = (200, 120, 30)
            out = io.BytesIO()
            Image.fromarray(frame).save(out, format="JPEG", quality=95)
            file.write(out.getvalue())
    return path


def test_it_watches_until_it_is_stopped(live_page: Report, tmp_path: Path) -> None:
    sync_api: Any = pytest.importorskip("playwright.sync_api")
    video = write_video(tmp_path / "bar.mjpeg")
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*arguments, f"--use-file-for-fake-video-capture={video}"]
        )
        tab = opened(chromium, live_page.path)
        tab.page.click("#camera")
        tab.until("Number(document.getElementById('status').dataset.frames) >= 4")
        assert "160 × 120 pixels" in tab.text("#caption-1")
        assert tab.page.input_value("#image") == "1", "the panes show the camera"
        assert "pictures a second" in tab.text("#status")
        tab.page.click("#camera")
        tab.until("document.getElementById('status').textContent.startsWith('Ready. The last picture')")
        frames = tab.page.get_attribute("#status", "data-frames")
        tab.page.wait_for_timeout(300)
        assert tab.page.get_attribute("#status", "data-frames") == frames
        tab.page.click("#camera")  # and once more
        tab.until(f"Number(document.getElementById('status').dataset.frames) > {frames}")
        assert tab.page.locator("#pictures figure").count() == 2
        assert tab.complaints == []
        assert [url for url in tab.asked if not url.startswith(("file:", "data:", "blob:"))] == []
        chromium.close()
