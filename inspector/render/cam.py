"""Class activation maps on the picture they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.image import Box
from inspector.render.colormap import color_table
from inspector.render.figure import (
    INK,
    MUTED,
    PAD,
    PAPER,
    draw_lines,
    fitted,
    lines_height,
    mark_box,
    paste_bar,
    resized,
    scaled_box,
    whole_box,
)
from inspector.render.text import draw_text, line_height, percent, wrap

OPACITY = 0.4
SIGNED_OPACITY = 0.8
"""Of the strongest evidence in a signed map; weaker evidence is more transparent, and none leaves the picture."""
SMALLEST, LARGEST = 64, 2048

# Pixels interpolated at a time, so that a picture of 24 megapixels needs little more memory than itself.
_BAND = 1 << 20


@dataclass(frozen=True, eq=False)
class CamMap:
    """A heatmap and the class it is for.

    heatmap: float (h, w) at the layer's resolution; [0, 1], or any range with zero in the middle for a signed map.
    label, probability: of the class; None where the model has no probability.
    empty: nothing in the picture speaks for the class. A heatmap that is zero everywhere counts as empty.
    """

    heatmap: NDArray[Any]
    label: str
    probability: float | None = None
    empty: bool = False


def draw_cam(
    picture: Image.Image,
    heatmap: NDArray[Any],
    *,
    label: str,
    probability: float | None = None,
    layer: str = "",
    method: str = "",
    backend: str = "",
    subtitle: str = "",
    box: Box | None = None,
    opacity: float | None = None,
    colormap: str | None = None,
    signed: bool = False,
    empty: bool = False,
    class_independent: bool = False,
    size: int = 448,
) -> Image.Image:
    """The picture, and beside it the picture under the heatmap of one class.

    heatmap, label, probability, empty: see CamMap. layer, method, backend: what made the map, named in the title.
    subtitle: the model and the picture.
    box: the part of the picture that the network saw, in picture pixels; the rest is dimmed. None for all of it.
    opacity: of the heatmap, 0 to 1; OPACITY, or SIGNED_OPACITY if `signed`, unless given.
    colormap: viridis, or diverging if `signed`, unless given.
    signed: the heatmap has negative values, for what speaks against the class.
    class_independent: the map is not of a class, which title and key say; `label` and `probability` are not shown.
    size: longer side of each of the two pictures, 64 to 2048.

    Returns an RGB image. Raises UsageError for a heatmap that is not (h, w) and finite, an opacity or size out of
    range, or an unknown colour map.
    """
    chance = "" if probability is None else f", {percent(probability)}"
    made = " · ".join(
        part
        for part in (
            method,
            f"at {layer}" if layer else "",
            f"map of {' x '.join(map(str, np.shape(heatmap)))}",
            f"computed with {backend}" if backend else "",
        )
        if part
    )
    entry = CamMap(heatmap, label, probability, empty)
    if class_independent:
        title = f"The strongest pattern{' at ' + layer if layer else ''}; it does not depend on the class"
    elif signed:
        title = f"What speaks for and against “{label}”{chance}"
    else:
        title = f"Where the network sees “{label}”{chance}"
    words = _words(1, signed, class_independent)
    return _figure(picture, [entry], title, made, subtitle, box, opacity, colormap, signed, size, False, words)


def draw_cam_sheet(
    picture: Image.Image,
    maps: Sequence[CamMap],
    *,
    title: str = "",
    layer: str = "",
    method: str = "",
    backend: str = "",
    subtitle: str = "",
    box: Box | None = None,
    opacity: float | None = None,
    colormap: str | None = None,
    signed: bool = False,
    size: int = 320,
) -> Image.Image:
    """The picture, then the picture under the heatmap of each class of `maps`, each with its label and probability.

    title: what the maps are, unless given. All as in `draw_cam`; raises UsageError for the same reasons, or if there
    are no maps.
    """
    if not maps:
        raise UsageError("there are no class activation maps to draw")
    made = " · ".join(
        part for part in (method, f"at {layer}" if layer else "", f"computed with {backend}" if backend else "") if part
    )
    usual = "What speaks for and against its first guesses" if signed else "Where the network sees its first guesses"
    words = _words(len(maps), signed, False)
    return _figure(picture, maps, title or usual, made, subtitle, box, opacity, colormap, signed, size, True, words)


def draw_overlay(
    picture: Image.Image,
    heatmap: NDArray[Any],
    box: Box | None = None,
    *,
    opacity: float | None = None,
    colormap: str | None = None,
    signed: bool = False,
    limit: float | None = None,
) -> Image.Image:
    """The picture at its own size with the heatmap over `box`, and nothing else: no title, no dimming, no outline.

    heatmap: float (h, w); [0, 1], or signed. It is enlarged bilinearly, each element covering its share of the box.
    limit: the value that has the last colour; 1, or the largest magnitude of a signed map, unless given.
    A signed map is the more transparent the nearer it is to zero, so that its pale middle hides nothing.
    Other parameters as in `draw_cam`. A heatmap that is zero everywhere leaves the picture as it is.

    Returns a new RGB image. Raises UsageError as `draw_cam` does.
    """
    values = _checked(heatmap)
    if opacity is None:
        opacity = SIGNED_OPACITY if signed else OPACITY
    if not 0 <= opacity <= 1:
        raise UsageError(f"the opacity must be 0 to 1, not {opacity:g}")
    table = color_table(colormap or ("diverging" if signed else "viridis"), 256)
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    if not values.any() or opacity == 0:
        return rgb.copy()
    high = limit if limit is not None else _limit([values], signed)
    levels = (values / high + 1) / 2 if signed else values / high
    exact = scaled_box(box, rgb.size, rgb.size)
    left, top, right, bottom = whole_box(exact, rgb.size)
    across = _weights(left, right, exact[0], exact[2], values.shape[1])
    down = _weights(top, bottom, exact[1], exact[3], values.shape[0])
    # Interpolation is separable: first across the few rows of the heatmap, then down, a band at a time.
    wide = (levels @ across.T).astype(np.float32)
    index = np.empty((bottom - top, right - left), np.uint8)
    band = max(1, _BAND // (right - left))
    for start in range(0, bottom - top, band):
        heat = down[start : start + band].astype(np.float32) @ wide
        heat *= 255
        heat += 0.5
        np.clip(heat, 0, 255, out=heat)
        np.copyto(index[start : start + band], heat, casting="unsafe")
    colored = Image.fromarray(index)
    colored.putpalette(table.tobytes())
    out = rgb.copy()
    region = (left, top, right, bottom)
    if signed:
        strength = (np.abs(np.arange(256) - 127.5) - 0.5) / 127 * 255 * opacity
        mask = Image.fromarray(np.rint(strength).astype(np.uint8)[index])
        out.paste(colored.convert("RGB"), region, mask)
    else:
        out.paste(Image.blend(rgb.crop(region), colored.convert("RGB"), opacity), region)
    return out


def _checked(heatmap: NDArray[Any]) -> NDArray[np.float64]:
    values = np.asarray(heatmap, np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise UsageError(f"a heatmap has the shape (h, w), not {values.shape}")
    if not np.isfinite(values).all():
        raise UsageError("the heatmap holds NaN or infinite values")
    return values


def _limit(maps: Sequence[NDArray[np.float64]], signed: bool) -> float:
    """The value at the end of the colour bar."""
    return (max(float(np.abs(values).max()) for values in maps) or 1.0) if signed else 1.0


def _weights(start: int, stop: int, low: float, high: float, count: int) -> NDArray[np.float64]:
    """How much each of `count` elements spread over low..high weighs in each pixel: float64 (stop - start, count).

    Linear between the elements' centres, and the outermost element's value from its centre to the edge.
    """
    centres = np.arange(start, stop) + 0.5
    place = np.clip((centres - low) / max(high - low, 1e-9) * count - 0.5, 0, count - 1)
    lower = np.minimum(place.astype(int), max(count - 2, 0))
    share = place - lower
    out = np.zeros((stop - start, count))
    rows = np.arange(stop - start)
    out[rows, lower] = 1 - share
    if count > 1:
        out[rows, lower + 1] = share
    return out


def _figure(
    picture: Image.Image,
    maps: Sequence[CamMap],
    title: str,
    made: str,
    subtitle: str,
    box: Box | None,
    opacity: float | None,
    colormap: str | None,
    signed: bool,
    size: int,
    captions: bool,
    words: tuple[str, str],
) -> Image.Image:
    """words: what stands beside the colour bar, and on a map that is empty."""
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"the size must be {SMALLEST} to {LARGEST} pixels, not {size}")
    colors = colormap or ("diverging" if signed else "viridis")
    limit = _limit([_checked(entry.heatmap) for entry in maps], signed)
    shown = fitted(picture.size, size)
    small, exact = resized(picture, shown), scaled_box(box, picture.size, shown)
    panels = [(["the picture"], mark_box(small, exact))]
    width = max(shown[0], min(size, 220))
    empty = []
    for rank, entry in enumerate(maps, 1):
        blank = entry.empty or not np.asarray(entry.heatmap).any()
        empty.append(blank)
        if blank:
            panel = _with_words(mark_box(small, exact), words[1].format(entry.label))
        else:
            over = draw_overlay(
                small, entry.heatmap, exact, opacity=opacity, colormap=colors, signed=signed, limit=limit
            )
            panel = mark_box(over, exact)
        if captions:
            chance = "" if entry.probability is None else f" ({percent(entry.probability)})"
            # The probability stays whole, whatever becomes of a long label.
            lines = wrap(f"{rank}. {entry.label}{chance}", 12, width, 2)
            if chance and not lines[-1].endswith(chance.lstrip()):
                lines = [*wrap(f"{rank}. {entry.label}", 12, width, 1), chance.lstrip()]
        else:
            lines = ["the same picture, no map over it" if blank else "with the map over it"]
        panels.append((lines, panel))
    across = len(panels)
    while across > 1 and across * (width + PAD) > 1500:
        across -= 1
    rows = -(-len(panels) // across)
    room = max(across * (width + PAD) - PAD, 400)
    blocks = [(title, 17, INK, 3), (made, 12, INK, 3), (subtitle, 12, MUTED, 2)]
    top = PAD - 4 + lines_height(room, blocks) + 8
    caption_height = max(len(lines) for lines, _ in panels) * line_height(12) + 4
    cell_height = caption_height + shown[1] + PAD
    bar = not all(empty)
    height = top + rows * cell_height + (56 if bar else 0)
    canvas = Image.new("RGB", (room + 2 * PAD, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw_lines(draw, PAD, PAD - 4, room, blocks)
    for n, (lines, panel) in enumerate(panels):
        x, y = PAD + n % across * (width + PAD), top + n // across * cell_height
        for k, line in enumerate(lines):
            draw_text(draw, (x, y + k * line_height(12)), line, 12, INK)
        canvas.paste(panel, (x, y + caption_height))
    if bar:
        bar_width = min(256, room)
        y = height - 52
        paste_bar(canvas, (PAD, y, PAD + bar_width, y + 12), -limit if signed else 0, limit, colors)
        note = wrap(words[0], 12, room - bar_width - 14, 2)
        for k, line in enumerate(note):
            draw_text(draw, (PAD + bar_width + 14, y - 2 + k * line_height(12)), line, 12, INK)
    return canvas


def _words(count: int, signed: bool, class_independent: bool) -> tuple[str, str]:
    """(what the colours mean, what an empty map says, with a place for the label)."""
    if class_independent:
        ends = "-: the opposite of the pattern; +: the pattern" if signed else "0: not there; 1: where it is strongest"
        return ends, "no pattern at this layer"
    if signed:
        return "below 0 speaks against the class, above 0 for it", "no evidence for or against “{}”"
    which = "each map" if count > 1 else "this map"
    return f"0: no evidence; 1: the strongest evidence in {which}", "no positive evidence for “{}”"


def _with_words(picture: Image.Image, words: str) -> Image.Image:
    """`picture` with a sentence on a pale strip across its middle."""
    size = 13
    lines = wrap(words, size, max(picture.width - 16, 20), 4)
    pitch = line_height(size)
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
