"""A real browser for tests: what is opened in it, what it complained about, and what it asked for.

Needs Playwright and a Chromium of the system (Debian's package chromium); INSPECTOR_TESTS_BROWSER=1 makes a missing
browser a failure.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None and os.environ.get("INSPECTOR_TESTS_BROWSER") == "1":
    pytest.fail("INSPECTOR_TESTS_BROWSER=1, and there is no chromium", pytrace=False)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


CONTRAST = """() => {
  const light = (text) => {
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (c !== 'rgba(0, 0, 0, 0)') return c; }
    return 'rgb(255,255,255)'; };
  const out = [];
  const texts = 'h1,h2,p,small,span.name,dt,dd,label,button,select,legend,figcaption,summary';
  for (const e of document.querySelectorAll(texts)) {
    if (!e.textContent.trim() || !e.offsetParent) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    out.push([(a + 0.05) / (b + 0.05), e.tagName + ' ' + e.textContent.trim().slice(0, 30)]); }
  return out; }"""
"""The contrast of every text with what is behind it, as WCAG 2 has it."""

NAMELESS = """() => {
  const all = document.querySelectorAll('input, select, button, canvas, svg, ul[role], nav, section');
  const named = (e) => e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length
    || (e.tagName === 'BUTTON' && e.textContent.trim());
  return [...all].filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80)); }"""
"""Controls and pictures that a screen reader could not name."""


@dataclass
class Tab:
    """A page under test, with what the browser complained about and what it asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def until(self, condition: str) -> None:
        """Waits until the expression is true. Playwright's way evaluates text in the page, which forbids that."""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(20)

    def drawn(self, layer: int, channel: int, picture: int = 0) -> None:
        """Waits until the detail shows this channel."""
        self.page.wait_for_selector(f'#detail[data-drawn="{picture}-{layer}-{channel}"]', timeout=20_000)


def opened(browser: Any, path: Path, fragment: str = "", shown: str = "#detail[data-drawn]", **options: Any) -> Tab:
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    tab = Tab(context.new_page())
    # The tests read canvases back, which the browser remarks on; the page does not.
    mine = "willReadFrequently"
    tab.page.on(
        "console",
        lambda m: tab.complaints.append(m.text) if m.type in ("error", "warning") and mine not in m.text else 0,
    )
    tab.page.on("pageerror", lambda e: tab.complaints.append(str(e)))
    tab.page.on("request", lambda r: tab.asked.append(r.url))
    tab.page.goto(path.as_uri() + fragment)
    tab.page.wait_for_selector(shown, timeout=60_000)
    return tab
