"""The page of `inspector report --live` in headless Chromium against onnxruntime outside of it, in one run.

    python tests/benchmarks/bench_live_page.py [--model FILE.onnx]

Needs Playwright and a Chromium of the system. WebAssembly has one thread, and so has onnxruntime here.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import DEFAULT_MODEL, PHOTO
from playwright.sync_api import sync_playwright

from inspector import open_model
from inspector.cam import prepare_maps
from inspector.pages.live import write_live_page

ROUNDS = 7
PICTURE = """async () => {
  const began = performance.now(), text = document.getElementById("given-0").textContent.trim();
  const file = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  (await inspector.ask("picture", { slot: 0, file })).shown.close();
  await inspector.ask("map", { slot: 0, method: inspector.state.method, index: 285 });
  const answered = performance.now() - began;
  await inspector.ask("layers", { slot: 0, which: inspector.images[0].layers.map((_, l) => l) });
  return [answered, performance.now() - began - answered]; }"""


def native(model: Any) -> tuple[float, float]:
    """Seconds for scores and a map of a new picture, and for all layers."""
    engine = prepare_maps(model, "gradcam")
    engine.maps(PHOTO, top=1)
    model.activations(PHOTO)
    answers, layers = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        engine.maps(PHOTO, top=1)
        answers.append(time.perf_counter() - start)
        start = time.perf_counter()
        model.activations(PHOTO)
        layers.append(time.perf_counter() - start)
    return statistics.median(answers), statistics.median(layers)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(DEFAULT_MODEL))
    given = parser.parse_args()
    model = open_model(given.model, threads=1)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = write_live_page(model, [PHOTO], Path(folder) / "live.html")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        ready, opened = [], []
        for _ in range(3):
            tab = browser.new_page()
            start = time.perf_counter()
            tab.goto(page.path.as_uri())
            tab.wait_for_selector("#status[data-ready]", timeout=120_000)
            opened.append(time.perf_counter() - start)
            ready.append(float(tab.get_attribute("#status", "data-ready") or 0) / 1000)
            tab.wait_for_selector("#detail[data-drawn]", timeout=120_000)
            if len(ready) < 3:
                tab.close()
        # Turn by turn, so that both have the machine in the same state.
        turns = [(native(model), tab.evaluate(PICTURE)) for _ in range(3)]
        browser.close()
    outside = [min(turn[0][k] for turn in turns) for k in (0, 1)]
    inside = [min(turn[1][k] for turn in turns) / 1000 for k in (0, 1)]
    print(f"{Path(given.model).name}: {page.size / 1e6:.1f} MB")
    print(f"opened and ready: {min(opened):.2f} s, of which the worker {min(ready):.2f} s")
    for name, here, there in zip(("scores and map of a new picture", "all layers"), inside, outside, strict=True):
        print(f"{name}: {here * 1000:.0f} ms in the page, {there * 1000:.0f} ms outside, {here / there:.1f} times")


if __name__ == "__main__":
    main()
