"""What the figures share: colors, blocks of text, panels, color bars, and how a picture is fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from inspector.image import Box
from inspector.render.colormap import make_color_table
from inspector.render.text import GreyCanvas, choose_ticks, draw_text, format_ticks, measure_line, measure_text, wrap

Color = tuple[int, int, int]

PAPER: Color = (255, 255, 255)
INK: Color = (24, 24, 24)
MUTED: Color = (96, 96, 96)
RULE: Color = (214, 214, 214)
PAD = 16


def to_grey(color: Color) -> int:
    """The grey of INK, MUTED and the like, for canvases of mode "L"."""
    return color[0]


def draw_lines(
    draw: ImageDraw.ImageDraw | GreyCanvas,
    left: int,
    top: int,
    room: int,
    blocks: Sequence[tuple[str, int, int | Color, int]],
) -> int:
    """Draw blocks of (text, size, color, most lines), wrapped to `room` pixels; return where the next would start.

    Text of size 15 and more is bold.
    """
    y = top
    for text, size, fill, most in blocks:
        if not text:
            continue
        for line in wrap(text, size, room, most):
            draw_text(draw, (left, y), line, size, fill, bold=size >= 15)
            y += measure_line(size)
        y += 2
    return y


def measure_lines(room: int, blocks: Sequence[tuple[str, int, int | Color, int]]) -> int:
    """The height `draw_lines` takes."""
    return sum(len(wrap(text, size, room, most)) * measure_line(size) + 2 for text, size, _, most in blocks if text)


def draw_ticks(
    draw: ImageDraw.ImageDraw | GreyCanvas,
    edge: tuple[float, float, float],
    span: tuple[float, float],
    fill: int | Color,
    labels: dict[float, str] | None = None,
    size: int = 11,
) -> None:
    """Draw ticks and numbers below a horizontal bar; labels that would overlap are left out.

    Args:
        draw: What is drawn on.
        edge: (left, top, width) of the ticks: the lower edge of the bar.
        span: Values at the bar's ends.
        fill: Color of ticks and numbers.
        labels: What to write where; round numbers if None, zero among them if it is in the range.
        size: Of the text in pixels.
    """
    (left, top, width), (low, high) = edge, span
    if labels is None:
        values = choose_ticks(low, high)
        labels = dict(zip(values, format_ticks(values), strict=True))
    end = -math.inf
    for value, text in labels.items():
        # Halved, so that the widest range a float has does not overflow.
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
        x = left + share * (width - 1)
        extent = measure_text(text, size)
        begin = min(max(x - extent / 2, left), left + width - extent)
        draw.line((round(x), top, round(x), top + 3), fill=fill)
        if begin >= end + 5:
            draw_text(draw, (begin, top + 3), text, size, fill)
            end = begin + extent


def paste_bar(
    canvas: Image.Image,
    box: tuple[int, int, int, int],
    low: float,
    high: float,
    colormap: str,
    labels: dict[float, str] | None = None,
) -> None:
    """A color bar from `low` to `high` in `box` of an RGB canvas, with its numbers below; they take 20 pixels."""
    left, top, right, bottom = box
    strip = np.broadcast_to(make_color_table(colormap, right - left), (bottom - top, right - left, 3))
    canvas.paste(Image.fromarray(np.ascontiguousarray(strip)), (left, top))
    draw_ticks(ImageDraw.Draw(canvas), (left, bottom, right - left), (low, high), INK, labels)


def fit_size(size: tuple[int, int], limit: int) -> tuple[int, int]:
    """Width and height of `size` scaled so that the longer side is `limit`; never below 1."""
    factor = limit / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resize_picture(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`picture` as RGB at `size`: reduced smoothly, enlarged with its pixels as squares, since they are the data."""
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    if rgb.size == size:
        return rgb.copy()
    larger = size[0] >= 2 * rgb.width
    # reducing_gap lets Pillow shrink a photograph of 24 megapixels by whole factors first.
    return rgb.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.BICUBIC, reducing_gap=3.0)


def scale_box(box: Box | None, picture: tuple[int, int], shown: tuple[int, int]) -> Box:
    """`box` of a picture in pixels of the size it is shown at; all of it if None."""
    if box is None:
        return (0.0, 0.0, float(shown[0]), float(shown[1]))
    x, y = shown[0] / picture[0], shown[1] / picture[1]
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def round_box(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """`box` on whole pixels inside a picture of `size`, at least one pixel each way."""
    left = min(max(round(box[0]), 0), size[0] - 1)
    top = min(max(round(box[1]), 0), size[1] - 1)
    return left, top, min(max(round(box[2]), left + 1), size[0]), min(max(round(box[3]), top + 1), size[1])


def mark_box(picture: Image.Image, box: Box) -> Image.Image:
    """`picture` (RGB) with what is outside `box` dimmed and its border drawn; unchanged if the box is all of it."""
    left, top, right, bottom = round_box(box, picture.size)
    if (left, top, right, bottom) == (0, 0, *picture.size):
        return picture
    pixels = np.asarray(picture)
    out = pixels // 3 + 96
    out[top:bottom, left:right] = pixels[top:bottom, left:right]
    marked = Image.fromarray(out.astype(np.uint8))
    draw = ImageDraw.Draw(marked)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255))
    if right - left > 4 and bottom - top > 4:
        # White inside black can be seen on every picture.
        draw.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline=(0, 0, 0))
    return marked


def outline_box(picture: Image.Image, box: Box) -> Image.Image:
    """A copy of `picture` (RGB) with the border of what was found at `box`, in its pixels."""
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    left, top, right, bottom = round_box(box, picture.size)
    # White between black can be seen on every picture and under every map.
    for inset, color in ((-1, 0), (0, 255), (1, 255), (2, 0)):
        if right - left > 2 * inset + 2 and bottom - top > 2 * inset + 2:
            corners = (left + inset, top + inset, right - 1 - inset, bottom - 1 - inset)
            draw.rectangle(corners, outline=(color, color, color))
    return marked


def write_across(picture: Image.Image, words: str) -> Image.Image:
    """`picture` with a sentence on a pale strip across its middle."""
    size = 13
    lines = wrap(words, size, max(picture.width - 16, 20), 4)
    pitch = measure_line(size)
    tall = min(len(lines) * pitch + 12, picture.height)
    top = (picture.height - tall) // 2
    pixels = np.array(picture)
    strip = pixels[top : top + tall]
    strip[...] = strip // 8 + 223
    out = Image.fromarray(pixels)
    draw = ImageDraw.Draw(out)
    for n, line in enumerate(lines):
        draw_text(draw, (picture.width / 2, top + 6 + n * pitch), line, size, INK, "middle")
    return out
