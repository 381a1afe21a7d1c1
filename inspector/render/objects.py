"""A picture with the objects that were found on it, or with the class of each pixel."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inspector.render.figure import INK, MUTED, PAD, PAPER, Color
from inspector.render.text import draw_text, format_percent, measure_line, measure_text, shorten

_LEAST = 320
"""Pixels that the longer side of a drawing has at least: smaller pictures are enlarged."""
_ROOM = (280, 72)
"""Width and height of a drawing at least, so that names fit beside a narrow picture."""
_CROWD = 6
"""With more objects than this, a drawing is larger, a name that finds no free place is left out, and of objects that
are all of one class only the scores stand at them."""
_GOLDEN = (math.sqrt(5) - 1) / 2
_MASK = 0.45
_VISIBLE = 0.5


@dataclass(frozen=True, eq=False)
class Mark:
    """An object to draw.

    Attributes:
        label: Its name.
        score: In [0, 1].
        index: Its class, which gives the color.
        box: x1, y1, x2, y2 in pixels of the picture.
        corners: float (4, 2) of an oriented box, drawn in place of `box`.
        keypoints: float (P, 3): x, y, visibility.
        mask: bool (H, W) of the picture's size.
    """

    label: str
    score: float
    index: int
    box: tuple[float, float, float, float]
    corners: NDArray[np.float32] | None = None
    keypoints: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None


@lru_cache(maxsize=1024)
def choose_color(index: int) -> Color:
    """The color of a class, the same in every drawing; neighbors in number are far apart in hue."""
    hue = (index * _GOLDEN) % 1
    light = (0.95, 0.75, 1.0)[index % 3]
    r, g, b = colorsys.hsv_to_rgb(hue, (0.85, 0.95, 0.6)[index % 3], light)
    return round(r * 255), round(g * 255), round(b * 255)


def draw_objects(picture: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """Draw objects onto a picture.

    Args:
        picture: Of mode RGB.
        marks: The objects, the surest first.

    Returns:
        The picture with masks, boxes, keypoints and names, of mode RGB. A small picture is enlarged by a whole number,
        and a narrow one gets white room beside it for the names.
    """
    pixels = np.asarray(picture.convert("RGB")).copy()
    for mark in reversed(marks):
        if mark.mask is not None:
            tint = np.array(choose_color(mark.index))
            pixels[mark.mask] = np.rint(pixels[mark.mask] * (1 - _MASK) + tint * _MASK)
    crowd = len(marks) > _CROWD
    sheet, scale = _enlarge(Image.fromarray(pixels), 2 if crowd else 1)
    size = _choose_text_size(sheet.size)
    width = max(1, round(size / 8))
    draw = ImageDraw.Draw(sheet)
    for mark in reversed(marks):
        _draw_outline(draw, mark, scale, width, sheet.size)
    taken: list[tuple[int, int, int, int]] = []
    alike = crowd and len({mark.index for mark in marks}) == 1
    for mark in marks:
        text = f"{mark.score:.2f}" if alike else f"{mark.label} {mark.score:.2f}"
        _draw_label(draw, mark, text, scale, size, taken, crowd)
    return sheet


def _enlarge(picture: Image.Image, times: int = 1) -> tuple[Image.Image, int]:
    """(the picture on a sheet with room for names, how many times as large)."""
    scale = max(1, math.ceil(times * _LEAST / max(picture.size)))
    large = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    room = (max(large.width, _ROOM[0]), max(large.height, _ROOM[1]))
    if room == large.size:
        return large, scale
    sheet = Image.new("RGB", room, PAPER)
    sheet.paste(large)
    return sheet, scale


def _choose_text_size(size: tuple[int, int]) -> int:
    return max(12, min(round(math.sqrt(size[0] * size[1]) / 45), min(size) // 10, 40))


def _draw_outline(draw: ImageDraw.ImageDraw, mark: Mark, scale: int, width: int, size: tuple[int, int]) -> None:
    color = choose_color(mark.index)
    dark = max(1, width // 2)
    if mark.corners is not None:
        around = [(float(x) * scale, float(y) * scale) for x, y in mark.corners]
        draw.line([*around, around[0]], fill=INK, width=width + 2 * dark, joint="curve")
        draw.line([*around, around[0]], fill=color, width=width, joint="curve")
    else:
        x1, y1, x2, y2 = (round(v * scale) for v in mark.box)
        x2, y2 = max(x1, min(x2, size[0]) - 1), max(y1, min(y2, size[1]) - 1)
        # A dark line on both sides keeps the box visible on its own color.
        draw.rectangle((x1 - dark, y1 - dark, x2 + dark, y2 + dark), outline=INK, width=width + 2 * dark)
        draw.rectangle((x1, y1, x2, y2), outline=color, width=width)
    for x, y, seen in [] if mark.keypoints is None else mark.keypoints.tolist():
        if math.isfinite(x) and math.isfinite(y) and seen > 0:
            r = width + 2
            spot = (x * scale - r, y * scale - r, x * scale + r, y * scale + r)
            draw.ellipse(spot, fill=color if seen >= _VISIBLE else None, outline=PAPER, width=max(1, r // 3))


def _draw_label(
    draw: ImageDraw.ImageDraw,
    mark: Mark,
    text: str,
    scale: int,
    size: int,
    taken: list[tuple[int, int, int, int]],
    crowd: bool,
) -> None:
    """The name on a tab of the class's color: above the box, else inside or below it, where no other name is."""
    room = draw.im.size
    text = shorten(text, size, room[0] - 8)
    width, height = measure_text(text, size) + 8, measure_line(size) + 2
    x1, y1, _, y2 = (round(v * scale) for v in mark.box)
    left = max(0, min(x1, room[0] - width))
    tops = [max(0, min(top, room[1] - height)) for top in (y1 - height, y1, y2, y2 - height)]
    spots = [(left, top, left + width, top + height) for top in tops]
    free = [one for one in spots if not any(_overlap(one, other) for other in taken)]
    if crowd and not free:
        return
    spot = free[0] if free else spots[0]
    taken.append(spot)
    color = choose_color(mark.index)
    draw.rectangle((spot[0], spot[1], spot[2] - 1, spot[3] - 1), fill=color)
    light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    draw_text(draw, (spot[0] + 4, spot[1] + 1), text, size, INK if light > 128 else PAPER)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def draw_segments(
    picture: Image.Image, classes: NDArray[np.int32], shares: Sequence[tuple[int, str, float]], most: int = 12
) -> Image.Image:
    """Draw the class of each pixel over a picture, with a legend below.

    Args:
        picture: Of mode RGB.
        classes: int32 (H, W) of its size; what is below 0 is left as it is.
        shares: Class, name and share of the picture, the largest first.
        most: Classes that the legend names at most.
    """
    pixels = np.asarray(picture.convert("RGB")).astype(np.float32)
    known = classes >= 0
    there, which = np.unique(classes[known], return_inverse=True)
    table = np.array([choose_color(int(i)) for i in there], np.float32).reshape(-1, 3)
    pixels[known] = pixels[known] * (1 - _MASK) + table[which] * _MASK
    large, _ = _enlarge(Image.fromarray(np.rint(pixels).astype(np.uint8)))
    size = _choose_text_size(large.size)
    line = measure_line(size) + 4
    rows = [(*one[:2], format_percent(one[2])) for one in shares[:most]]
    if len(shares) > most:
        rows.append((-1, f"and {len(shares) - most} more", format_percent(sum(one[2] for one in shares[most:]))))
    sheet = Image.new("RGB", (large.width, large.height + 2 * PAD + line * max(1, len(rows))), PAPER)
    sheet.paste(large)
    draw = ImageDraw.Draw(sheet)
    for at, (index, name, share) in enumerate(rows):
        top = large.height + PAD + at * line
        if index >= 0:
            draw.rectangle((PAD, top + 2, PAD + size, top + 2 + size), fill=choose_color(index))
        text = shorten(f"{share} {name}", size, large.width - 3 * PAD - size)
        draw_text(draw, (2 * PAD + size, top), text, size, INK if index >= 0 else MUTED)
    return sheet


def draw_indices(classes: NDArray[np.int32]) -> Image.Image:
    """The class of each pixel as an indexed picture: mode P, a pixel's value is its class, 255 where there is none.

    More than 255 classes give a grey picture of 16 bits, with 65535 where there is none.

    Args:
        classes: int32 (H, W), below 0 where nothing was seen.
    """
    if int(classes.max(initial=0)) > 254:
        return Image.fromarray(np.where((classes < 0) | (classes > 65534), 65535, classes).astype(np.uint16))
    image = Image.fromarray(np.where(classes < 0, 255, classes).astype(np.uint8)).convert("L")
    palette = [value for index in range(255) for value in choose_color(index)]
    indexed = Image.frombytes("P", image.size, image.tobytes())
    indexed.putpalette([*palette, 0, 0, 0])
    return indexed


def to_picture(values: NDArray[np.float32]) -> tuple[Image.Image, tuple[float, float]]:
    """Make a picture of what an image-to-image network gives.

    Args:
        values: float32 (h, w) or (h, w, 3).

    Returns:
        The picture, of mode L or RGB, and which values are black and white: 0 and 255, 0 and 1 or -1 and 1 where colors
        lie in one of these; else, and for a single plane, the smallest and the largest.
    """
    sound = values[np.isfinite(values)]
    low, high = (float(sound.min()), float(sound.max())) if sound.size else (0.0, 1.0)
    if values.ndim == 3:
        # What a network makes may lie a little beyond.
        known = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]
        low, high = next((one for one in known if one[0] - 0.1 * one[1] <= low and high <= 1.1 * one[1]), (low, high))
    spread = np.nan_to_num((values.astype(np.float64) - low) / ((high - low) or 1.0))
    return Image.fromarray(np.rint(spread.clip(0, 1) * 255).astype(np.uint8)), (low, high)
