"""Training curves: figures per epoch, one panel for each kind, the phases told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.render.figure import INK, MUTED, PAD, PAPER, RULE, Color, draw_lines, measure_lines
from inspector.render.text import choose_ticks, draw_text, format_ticks, measure_text

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
    """Lines over the same axis.

    Attributes:
        title: What they are, with the unit.
    """

    title: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class _Axes:
    """Where a panel's lines go. box: (left, top, right, bottom) in pixels. span: values at bottom and top."""

    box: tuple[int, int, int, int]
    span: tuple[float, float]
    epochs: int

    def x(self, epoch: float) -> float:
        """The pixel of an epoch."""
        left, _, right, _ = self.box
        return left + (epoch + 0.5) / self.epochs * (right - left)

    def y(self, value: float) -> float:
        """The pixel of a value."""
        (_, top, _, bottom), (low, high) = self.box, self.span
        return bottom - (value - low) / (high - low) * (bottom - top)


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

    Returns an RGB image.

    Args:
        panels: One above the other.
        title: Of the figure.
        subtitle: Below the title.
        phases: (name, first epoch) of each, counted from 0 through all.
        best: The epoch that is marked.
        width: Of the figure, in pixels.

    Raises:
        UsageError: For no epochs.
    """
    count = max((len(c.values) for p in panels for c in p.curves), default=0)
    if count == 0:
        raise UsageError("there are no epochs to draw")
    room = width - 2 * PAD
    blocks = [(title, 17, INK, 2), (subtitle, 12, MUTED, 3)]
    top = PAD - 4 + measure_lines(room, blocks) + 10
    pitch = _HEIGHT + 62
    height = top + len(panels) * pitch + 26
    fine = Image.new("RGB", (width * _FINE, height * _FINE), PAPER)
    left, right = PAD + 54, width - PAD - 4
    axes = []
    for k, panel in enumerate(panels):
        y0 = top + k * pitch + 40
        span = _range([v for c in panel.curves for v in c.values if v is not None])
        axes.append(_Axes((left, y0, right, y0 + _HEIGHT), span, count))
        _draw_lines(ImageDraw.Draw(fine), panel, axes[-1], phases, best)
    canvas = fine.reduce(_FINE)
    draw = ImageDraw.Draw(canvas)
    draw_lines(draw, PAD, PAD - 4, room, blocks)
    for panel, where in zip(panels, axes, strict=True):
        _draw_words(draw, panel, where, phases)
    below = "epoch" if best is None else f"epoch; the dashed line marks the best, number {best + 1}"
    draw_text(draw, ((left + right) / 2, height - 22), below, 12, MUTED, "middle")
    return canvas


def _draw_words(draw: ImageDraw.ImageDraw, panel: Panel, axes: _Axes, phases: Sequence[tuple[str, int]]) -> None:
    """A panel's title and key, the names of the phases, and the numbers at its axes."""
    left, y0, _, y1 = axes.box
    draw_text(draw, (left, y0 - 38), panel.title, 13, INK)
    x = left + measure_text(panel.title, 13) + 26
    for n, curve in enumerate(panel.curves):
        draw.rectangle((x, y0 - 32, x + 14, y0 - 29), fill=COLORS[n % len(COLORS)])
        draw_text(draw, (x + 20, y0 - 38), curve.name, 12, INK)
        x += measure_text(curve.name, 12) + 46
    values = choose_ticks(*axes.span)
    for value, text in zip(values, format_ticks(values), strict=True):
        draw_text(draw, (left - 8, axes.y(value) - 8), text, 12, MUTED, "right")
    for name, first in phases:
        draw_text(draw, (axes.x(first - 0.5) + 5, y0 - 18), f"{name} phase", 12, MUTED)
    every = max(1, math.ceil(axes.epochs / 15))
    for epoch in range(0, axes.epochs, every):
        draw_text(draw, (axes.x(epoch), y1 + 3), str(epoch + 1), 11, MUTED, "middle")


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _draw_lines(
    draw: ImageDraw.ImageDraw, panel: Panel, axes: _Axes, phases: Sequence[tuple[str, int]], best: int | None
) -> None:
    """A panel's grid and curves, on a canvas that is finer by the factor _FINE."""
    f = _FINE
    left, top, right, bottom = axes.box
    for value in choose_ticks(*axes.span):
        y = round(axes.y(value) * f)
        draw.rectangle((left * f, y, right * f, y + f - 1), fill=RULE)
    for _, first in phases[1:]:
        x = round(axes.x(first - 0.5) * f)
        draw.rectangle((x, top * f, x + f - 1, bottom * f), fill=MUTED)
    if best is not None:
        x = round(axes.x(best) * f)
        for y in range(top * f, bottom * f, 8 * f):
            draw.rectangle((x, y, x + f - 1, y + 4 * f), fill=INK)
    for n, curve in enumerate(panel.curves):
        points = [(axes.x(e) * f, axes.y(v) * f) for e, v in enumerate(curve.values) if v is not None]
        color = COLORS[n % len(COLORS)]
        # The first is wider, so that it shows below another that has the same values.
        width, radius = (4, 3.6) if n == 0 and len(panel.curves) > 1 else (2, 2.4)
        if len(points) > 1:
            draw.line(points, fill=color, width=width * f, joint="curve")
        for px, py in points:
            r = radius * f
            draw.ellipse((px - r, py - r, px + r, py + r), fill=color)
