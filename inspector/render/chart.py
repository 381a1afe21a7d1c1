"""How much of each layer is zero, from the picture to the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.records import record
from inspector.render.figure import INK, MUTED, PAD, PAPER, RULE, Color, draw_lines, measure_lines
from inspector.render.text import draw_text, draw_text_up, format_percent, measure_text, shorten

ACTIVATION: Color = (68, 57, 154)
OTHER: Color = (214, 116, 20)
_FINE = 3
_PITCH = 13
"""Names read upwards, and each has the height of a line."""


@record
class DepthPoint:
    """One layer of the chart: its name, its zero fraction in [0, 1], and whether it is an activation layer."""

    name: str
    zero_fraction: float
    activation: bool


def draw_depth_chart(
    points: Sequence[DepthPoint],
    *,
    title: str = "Zero fraction by depth",
    subtitle: str = "",
    width: int = 1100,
) -> Image.Image:
    """A chart of the zero fraction over the layers, first layer left, with the trend of the activation layers.

    Returns an RGB image.

    Args:
        points: The layers in the order of the network, any number from one up.
        title: Of the chart.
        subtitle: The model and the picture.
        width: Of the whole figure in pixels, at least 480.

    Raises:
        UsageError: For no points, a width below 480 or fractions outside [0, 1].
    """
    if not points:
        raise UsageError("there are no layers to draw a chart of")
    if width < 480:
        raise UsageError(f"a chart needs at least 480 pixels of width, not {width}")
    if any(not 0 <= point.zero_fraction <= 1 for point in points):
        raise UsageError("a zero fraction must be in [0, 1]")
    room = width - 2 * PAD
    blocks = [(title, 17, INK, 3), (describe_trend(points), 13, INK, 3), (subtitle, 12, MUTED, 2)]
    legend_top = PAD - 4 + measure_lines(room, blocks) + 8
    top, left = legend_top + 28, PAD + 66
    plot_width, plot_height = width - left - PAD - 6, 260
    step = plot_width / len(points)
    named = _named(points, max(1, math.ceil(_PITCH / step)))
    names = {n: shorten(points[n].name, 11, 150, middle=True) for n in named}
    names_height = max(measure_text(name, 11) for name in names.values())
    bottom = top + plot_height
    height = bottom + 8 + names_height + 10 + 18 + PAD - 4

    centres = [(left + (n + 0.5) * step, bottom - point.zero_fraction * plot_height) for n, point in enumerate(points)]
    fine = Image.new("RGB", (width * _FINE, height * _FINE), PAPER)
    _shapes(fine, points, centres, (left, top, left + plot_width, bottom), named, legend_top)
    canvas = fine.reduce(_FINE)

    draw = ImageDraw.Draw(canvas)
    draw_lines(draw, PAD, PAD - 4, room, blocks)
    x = left + 12
    for text in _legend(points):
        draw_text(draw, (x + 12, legend_top + 1), text, 12, INK)
        x += measure_text(text, 12) + 44
    for value in range(0, 101, 20):
        draw_text(draw, (left - 8, bottom - value / 100 * plot_height - 8), f"{value} %", 12, MUTED, "right")
    axis = "exact zeros in the layer"
    draw_text_up(draw, (PAD + 8, top + (plot_height - measure_text(axis, 12)) / 2), axis, 12, MUTED)
    for n, name in names.items():
        draw_text_up(draw, (centres[n][0], bottom + 8), name, 11, MUTED)
    below = "layers in the order of the network, the first on the left"
    if len(named) < len(points):
        below += f"; {len(named)} of {len(points)} are named"
    draw_text(draw, (left + plot_width / 2, bottom + 8 + names_height + 8), below, 12, MUTED, "middle")
    return canvas


def describe_trend(points: Sequence[DepthPoint]) -> str:
    """One sentence on how the zero fraction of the activation layers goes with their depth.

    It rests on Spearman's rank correlation; layers of one kind only, since a convolution's own output is almost
    never exactly zero and would make any trend.
    """
    fractions = [point.zero_fraction for point in points if point.activation]
    if len(fractions) < 3:
        return f"Too few activation layers ({len(fractions)}) to speak of a trend."
    first, last = format_percent(fractions[0]), format_percent(fractions[-1])
    ends = f"{first} in the first activation layer, {last} in the last"
    rho = correlate_with_position(fractions)
    if rho is None:
        return f"The zero fraction is {first} in all {len(fractions)} activation layers."
    if rho >= 0.3:
        words = "The zero fraction grows with depth"
    elif rho <= -0.3:
        words = "The zero fraction falls with depth"
    else:
        words = "The zero fraction has no clear trend with depth"
    return f"{words}: {ends}; rank correlation {rho:+.2f} over {len(fractions)} activation layers."


def correlate_with_position(values: Sequence[float]) -> float | None:
    """Spearman's rank correlation of `values` with their own position, in [-1, 1]; None if they are all equal.

    Ties have the mean of the ranks they take up (Spearman 1904; the formula is Pearson's, applied to ranks).
    """
    array = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    places = np.arange(1, len(array) + 1, dtype=np.float64)
    ranks, places = ranks - ranks.mean(), places - places.mean()
    norm = math.sqrt(float(ranks @ ranks) * float(places @ places))
    return float(ranks @ places) / norm if norm else None


def _legend(points: Sequence[DepthPoint]) -> list[str]:
    count = sum(point.activation for point in points)
    out = []
    if count:
        out.append(f"activation layers ({count})")
    if count < len(points):
        out.append(f"other layers ({len(points) - count})")
    return out


def _shapes(
    canvas: Image.Image,
    points: Sequence[DepthPoint],
    centres: Sequence[tuple[float, float]],
    plot: tuple[int, int, float, int],
    named: Sequence[int],
    legend_top: int,
) -> None:
    """Everything but the words, at _FINE times the size."""
    f, draw = _FINE, ImageDraw.Draw(canvas)
    left, top, right, bottom = plot
    for value in range(0, 101, 20):
        level = round(bottom - value / 100 * (bottom - top)) * f
        draw.rectangle((left * f, level, right * f, level + f - 1), fill=MUTED if value == 0 else RULE)
    for x, _ in (centres[n] for n in named):
        draw.rectangle((x * f, bottom * f, x * f + f - 1, (bottom + 4) * f), fill=MUTED)
    line = [(x * f, y * f) for (x, y), point in zip(centres, points, strict=True) if point.activation]
    if len(line) > 1:
        draw.line(line, fill=(184, 178, 222), width=round(1.6 * f), joint="curve")
    step = centres[1][0] - centres[0][0] if len(centres) > 1 else 20
    radius = min(4.5, max(2.2, step * 0.42))
    # Activation layers last, so that they are on top.
    for wanted in (False, True):
        for (x, y), point in zip(centres, points, strict=True):
            if point.activation == wanted:
                _marker(canvas, x, y, radius, wanted)
    along = left + 12
    for text in _legend(points):
        _marker(canvas, along, legend_top + 9, 4.5, text.startswith("activation"))
        along += measure_text(text, 12) + 44


def _marker(canvas: Image.Image, x: float, y: float, radius: float, activation: bool) -> None:
    """A disc for an activation layer, an open diamond for any other: told apart without color too."""
    f, r = _FINE, radius * (1 if activation else 1.1)
    left, top = max(0, int((x - r) * f) - f), max(0, int((y - r) * f) - f)
    right, bottom = min(canvas.width, int((x + r) * f) + 2 * f), min(canvas.height, int((y + r) * f) + 2 * f)
    # On a piece of the canvas: for a wide outline Pillow makes a mask as large as what is drawn on.
    piece = canvas.crop((left, top, right, bottom))
    draw = ImageDraw.Draw(piece)
    west, east, north, south = (x - r) * f - left, (x + r) * f - left, (y - r) * f - top, (y + r) * f - top
    if activation:
        draw.ellipse((west, north, east, south), fill=ACTIVATION, outline=PAPER, width=2)
    else:
        corners = [(x * f - left, north), (east, y * f - top), (x * f - left, south), (west, y * f - top)]
        draw.polygon(corners, fill=PAPER, outline=OTHER, width=round(1.4 * f))
    canvas.paste(piece, (left, top))


def _named(points: Sequence[DepthPoint], apart: int) -> list[int]:
    """The positions of the points that get a name, in order, any two at least `apart` from each other.

    First the activation layer (or else the layer) with the most zeros, then the ends, then other activation layers,
    then what there is room for.
    """
    count = len(points)
    active = [n for n in range(count) if points[n].activation]
    main = active or list(range(count))
    most = max(main, key=lambda n: points[n].zero_fraction)
    chosen: set[int] = set()
    for n in (most, main[0], main[-1], *active, *range(count)):
        if not chosen.intersection(range(n - apart + 1, n + apart)):
            chosen.add(n)
    return sorted(chosen)
