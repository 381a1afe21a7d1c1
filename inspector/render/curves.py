"""Training curves: figures per epoch, one panel for each kind, the phases told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.render.figure import INK, MUTED, PAD, PAPER, RULE, Color, draw_lines, lines_height
from inspector.render.text import draw_text, text_width, tick_labels, ticks

COLORS: tuple[Color, ...] = ((68, 57, 154), (214, 116, 20), (24, 128, 96))
_FINE = 3
_HEIGHT = 220


@dataclass(frozen=True)
class Curve:
    """One line: its name, and one value per epoch, None where there is none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Panel:
    """Lines over the same axis. title: what they are, with the unit."""

    title: str
    curves: Sequence[Curve]


def draw_curves(
    panels: Sequence[Panel],
    *,
    title: str,
    subtitle: str = "",
    phases: Sequence[tuple[str, int]] = (),
    best: int | None = None,
    width: int = 900,
) -> Image.Image:
    """Panels below each other over the epochs.

    phases: (name, first epoch) of each, counted from 0 through all. best: the epoch that is marked.
    Returns an RGB image. Raises UsageError for no epochs.
    """
    count = max((len(c.values) for p in panels for c in p.curves), default=0)
    if count == 0:
        raise UsageError("there are no epochs to draw")
    room = width - 2 * PAD
    blocks = [(title, 17, INK, 2), (subtitle, 12, MUTED, 3)]
    top = PAD - 4 + lines_height(room, blocks) + 10
    pitch = _HEIGHT + 62
    height = top + len(panels) * pitch + 26
    fine = Image.new("RGB", (width * _FINE, height * _FINE), PAPER)
    left, right = PAD + 54, width - PAD - 4

    def across(epoch: float) -> float:
        return left + (epoch + 0.5) / count * (right - left)

    scales = [_range([v for c in p.curves for v in c.values if v is not None]) for p in panels]
    for k, (panel, (low, high)) in enumerate(zip(panels, scales, strict=True)):
        y0 = top + k * pitch + 40
        _lines(ImageDraw.Draw(fine), panel, (left, y0, right, y0 + _HEIGHT), low, high, across, phases, best)
    canvas = fine.reduce(_FINE)
    draw = ImageDraw.Draw(canvas)
    draw_lines(draw, PAD, PAD - 4, room, blocks)
    for k, (panel, (low, high)) in enumerate(zip(panels, scales, strict=True)):
        y0 = top + k * pitch + 40
        draw_text(draw, (left, y0 - 38), panel.title, 13, INK)
        x = left + text_width(panel.title, 13) + 26
        for n, curve in enumerate(panel.curves):
            draw.rectangle((x, y0 - 32, x + 14, y0 - 29), fill=COLORS[n % len(COLORS)])
            draw_text(draw, (x + 20, y0 - 38), curve.name, 12, INK)
            x += text_width(curve.name, 12) + 46
        values = ticks(low, high)
        for value, text in zip(values, tick_labels(values), strict=True):
            y = y0 + _HEIGHT - (value - low) / (high - low) * _HEIGHT
            draw_text(draw, (left - 8, y - 8), text, 12, MUTED, "right")
        for name, first in phases:
            draw_text(draw, (across(first - 0.5) + 5, y0 - 18), f"{name} phase", 12, MUTED)
        every = max(1, math.ceil(count / 15))
        for epoch in range(0, count, every):
            draw_text(draw, (across(epoch), y0 + _HEIGHT + 3), str(epoch + 1), 11, MUTED, "middle")
    below = "epoch" if best is None else f"epoch; the dashed line marks the best, number {best + 1}"
    draw_text(draw, ((left + right) / 2, height - 22), below, 12, MUTED, "middle")
    return canvas


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _lines(
    draw: ImageDraw.ImageDraw,
    panel: Panel,
    box: tuple[int, int, int, int],
    low: float,
    high: float,
    across: object,
    phases: Sequence[tuple[str, int]],
    best: int | None,
) -> None:
    f = _FINE
    left, top, right, bottom = box
    assert callable(across)
    for value in ticks(low, high):
        y = round((bottom - (value - low) / (high - low) * (bottom - top)) * f)
        draw.rectangle((left * f, y, right * f, y + f - 1), fill=RULE)
    for _, first in phases[1:]:
        x = round(across(first - 0.5) * f)
        draw.rectangle((x, top * f, x + f - 1, bottom * f), fill=MUTED)
    if best is not None:
        x = round(across(best) * f)
        for y in range(top * f, bottom * f, 8 * f):
            draw.rectangle((x, y, x + f - 1, y + 4 * f), fill=INK)
    for n, curve in enumerate(panel.curves):
        points = [
            (across(e) * f, (bottom - (v - low) / (high - low) * (bottom - top)) * f)
            for e, v in enumerate(curve.values)
            if v is not None
        ]
        color = COLORS[n % len(COLORS)]
        # The first is wider, so that it shows below another that has the same values.
        width, radius = (4, 3.6) if n == 0 and len(panel.curves) > 1 else (2, 2.4)
        if len(points) > 1:
            draw.line(points, fill=color, width=width * f, joint="curve")
        for px, py in points:
            r = radius * f
            draw.ellipse((px - r, py - r, px + r, py + r), fill=color)
