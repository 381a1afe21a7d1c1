"""Class activation maps on the picture they explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.image import Box
from inspector.records import record
from inspector.render.colormap import make_color_table
from inspector.render.figure import (
    INK,
    MUTED,
    PAD,
    PAPER,
    draw_lines,
    fit_size,
    mark_box,
    measure_lines,
    outline_box,
    paste_bar,
    resize_picture,
    round_box,
    scale_box,
    write_across,
)
from inspector.render.text import draw_text, format_percent, measure_line, wrap

OPACITY = 0.4
SIGNED_OPACITY = 0.8
"""Of the strongest evidence in a signed map; weaker evidence is more transparent, and none leaves the picture."""
SMALLEST, LARGEST = 64, 2048

# Pixels interpolated at a time, so that a picture of 24 megapixels needs little more memory than itself.
_BAND = 1 << 20


@record(eq=False)
class CamMap:
    """A heatmap and the class it is for.

    Attributes:
        heatmap: float (h, w) at the layer's resolution; [0, 1], or any range with zero in the middle for a signed
            map.
        label: Of the class; None where the model has no probability.
        probability: Of the class; None where the model has no probability.
        empty: Nothing in the picture speaks for the class. A heatmap that is zero everywhere counts as empty.
        found: The box of the object that the map is of, in pixels of the picture; None for a map of a class.
        inside: The share of the map that lies in it, in [0, 1].
    """

    heatmap: NDArray[Any]
    label: str
    probability: float | None = None
    empty: bool = False
    found: Box | None = None
    inside: float | None = None


@record
class _Style:
    """How maps are laid on a picture; see `draw_cam`. size: the longer side of the picture in pixels."""

    box: Box | None
    opacity: float | None
    colormap: str
    signed: bool
    size: int


@record
class _Texts:
    """What a figure says: above the pictures, beside the color bar, and on a map that is empty."""

    title: str
    made: str
    subtitle: str
    legend: str
    nothing: str


# Wide: what a figure says and how it looks, all but the first two by name.
# Long: each of them is explained.
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
    found: Box | None = None,
    inside: float | None = None,
    size: int = 448,
) -> Image.Image:
    """Draw the picture, and beside it the picture under the heatmap of one class.

    Args:
        picture: Of any mode and size.
        heatmap: Float (h, w), see `CamMap`.
        label: Of the class.
        probability: Of the class; None where the model has none.
        layer: What was looked at, named above the pictures.
        method: How the map was made, named above the pictures.
        backend: What computed it, named above the pictures.
        subtitle: The model and the picture.
        box: The part of the picture that the network saw, in picture pixels; the rest is dimmed. None for all of it.
        opacity: Of the heatmap, 0 to 1; OPACITY, or SIGNED_OPACITY if `signed`, unless given.
        colormap: Name of a color map; viridis, or diverging if `signed`, unless given.
        signed: The heatmap has negative values, for what speaks against the class.
        empty: Nothing in the picture speaks for the class.
        class_independent: The map is not of a class, which title and key say; `label` and `probability` are not shown.
        found: The box of the object that the map is of, in picture pixels: it is drawn.
        inside: The share of the map that lies in it, in [0, 1]: it is written.
        size: Longer side of each of the two pictures in pixels, 64 to 2048.

    Returns:
        An RGB image.

    Raises:
        UsageError: The heatmap is not (h, w) and finite, the opacity or size is out of range, or there is no such
            color map.
    """
    chance = "" if probability is None else f", {format_percent(probability)}"
    if class_independent:
        title = f"The strongest pattern{' at ' + layer if layer else ''}; it does not depend on the class"
    elif signed:
        title = f"What speaks for and against “{label}”{chance}"
    else:
        title = f"Where the network sees “{label}”{chance}"
    if inside is not None:
        title += f"; {format_percent(inside)} of the map lies in its box"
    made = [method, f"at {layer}" if layer else "", f"map of {' x '.join(map(str, np.shape(heatmap)))}"]
    made.append(f"computed with {backend}" if backend else "")
    texts = _Texts(title, " · ".join(filter(None, made)), subtitle, *_words(1, signed, class_independent))
    style = _Style(box, opacity, colormap or ("diverging" if signed else "viridis"), signed, size)
    return _draw_figure(picture, [CamMap(heatmap, label, probability, empty, found)], texts, style, captions=False)


# Wide: what a figure says and how it looks, all but the first two by name.
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
    """Draw the picture, then the picture under the heatmap of each class, each with its label and probability.

    Args:
        picture: Of any mode and size.
        maps: One for each class.
        title: What the maps are; that they are of the first guesses unless given.
        layer: As in `draw_cam`, and so are all that follow.
        method: How the maps were made.
        backend: What computed them.
        subtitle: The model and the picture.
        box: The part of the picture that the network saw.
        opacity: Of the heatmaps.
        colormap: Name of a color map.
        signed: The heatmaps have negative values.
        size: Longer side of each picture in pixels.

    Returns:
        An RGB image.

    Raises:
        UsageError: There are no maps, or for the reasons of `draw_cam`.
    """
    if not maps:
        raise UsageError("there are no class activation maps to draw")
    usual = "What speaks for and against its first guesses" if signed else "Where the network sees its first guesses"
    made = filter(None, (method, f"at {layer}" if layer else "", f"computed with {backend}" if backend else ""))
    texts = _Texts(title or usual, " · ".join(made), subtitle, *_words(len(maps), signed, False))
    style = _Style(box, opacity, colormap or ("diverging" if signed else "viridis"), signed, size)
    return _draw_figure(picture, maps, texts, style, captions=True)


# Long: a good part is the description of its parameters.
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

    A signed map is the more transparent the nearer it is to zero, so that its pale middle hides nothing. A heatmap
    that is zero everywhere leaves the picture as it is. Returns a new RGB image.

    Args:
        picture: The picture.
        heatmap: float (h, w); [0, 1], or signed. It is enlarged bilinearly, each element covering its share of the
            box.
        box: Where the map lies in the picture; all of it if None.
        opacity: Of the map, in [0, 1].
        colormap: Name of the color map.
        signed: Whether values below 0 count.
        limit: The value that has the last color; 1, or the largest magnitude of a signed map, unless given.

    Raises:
        UsageError: As `draw_cam` does.
    """
    values = _check_heatmap(heatmap)
    if opacity is None:
        opacity = SIGNED_OPACITY if signed else OPACITY
    if not 0 <= opacity <= 1:
        raise UsageError(f"the opacity must be 0 to 1, not {opacity:g}")
    table = make_color_table(colormap or ("diverging" if signed else "viridis"), 256)
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    if not values.any() or opacity == 0:
        return rgb.copy()
    high = limit if limit is not None else _limit([values], signed)
    levels = (values / high + 1) / 2 if signed else values / high
    exact = scale_box(box, rgb.size, rgb.size)
    left, top, right, bottom = round_box(exact, rgb.size)
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


def _check_heatmap(heatmap: NDArray[Any]) -> NDArray[np.float64]:
    values = np.asarray(heatmap, np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise UsageError(f"a heatmap has the shape (h, w), not {values.shape}")
    if not np.isfinite(values).all():
        raise UsageError("the heatmap holds NaN or infinite values")
    return values


def _limit(maps: Sequence[NDArray[np.float64]], signed: bool) -> float:
    """The value at the end of the color bar."""
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


def _draw_figure(
    picture: Image.Image, maps: Sequence[CamMap], texts: _Texts, style: _Style, *, captions: bool
) -> Image.Image:
    """The picture and the maps on it. captions: each map says which class it is of."""
    size = style.size
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"the size must be {SMALLEST} to {LARGEST} pixels, not {size}")
    limit = _limit([_check_heatmap(entry.heatmap) for entry in maps], style.signed)
    shown = fit_size(picture.size, size)
    small, exact = resize_picture(picture, shown), scale_box(style.box, picture.size, shown)
    panels = [(["the picture"], _mark_all(mark_box(small, exact), maps, picture.size))]
    width = max(shown[0], min(size, 220))
    empty = [entry.empty or not np.asarray(entry.heatmap).any() for entry in maps]
    for rank, (entry, nothing) in enumerate(zip(maps, empty, strict=True), 1):
        if nothing:
            panel = write_across(mark_box(small, exact), texts.nothing.format(entry.label))
        else:
            over = draw_overlay(
                small, entry.heatmap, exact, opacity=style.opacity, colormap=style.colormap, signed=style.signed,
                limit=limit,
            )  # fmt: skip
            panel = mark_box(over, exact)
        panel = _mark_all(panel, [entry], picture.size)
        if captions:
            lines = _caption(rank, entry, width)
        else:
            lines = ["the same picture, no map over it" if nothing else "with the map over it"]
        panels.append((lines, panel))
    return _place_panels(panels, (width, shown[1]), texts, style, None if all(empty) else limit)


def _mark_all(panel: Image.Image, maps: Sequence[CamMap], size: tuple[int, int]) -> Image.Image:
    """The panel with the boxes of the objects that the maps are of; `size` is that of the picture."""
    for entry in maps:
        if entry.found is not None:
            panel = outline_box(panel, scale_box(entry.found, size, panel.size))
    return panel


def _caption(rank: int, entry: CamMap, width: int) -> list[str]:
    """The lines above a map."""
    told = [] if entry.probability is None else [format_percent(entry.probability)]
    told += [] if entry.inside is None else [f"{format_percent(entry.inside)} inside"]
    chance = f" ({', '.join(told)})" if told else ""
    name = entry.label if entry.found is not None else f"{rank}. {entry.label}"
    # The probability stays whole, whatever becomes of a long label.
    lines = wrap(f"{name}{chance}", 12, width, 2)
    if chance and not lines[-1].endswith(chance.lstrip()):
        lines = [*wrap(name, 12, width, 1), chance.lstrip()]
    return lines


def _place_panels(
    panels: Sequence[tuple[list[str], Image.Image]],
    cell: tuple[int, int],
    texts: _Texts,
    style: _Style,
    limit: float | None,
) -> Image.Image:
    """The panels below the title, in rows, and the color bar up to `limit`; None for no bar. cell: (width, height)."""
    width, tall = cell
    across = len(panels)
    while across > 1 and across * (width + PAD) > 1500:
        across -= 1
    rows = -(-len(panels) // across)
    room = max(across * (width + PAD) - PAD, 400)
    blocks = [(texts.title, 17, INK, 3), (texts.made, 12, INK, 3), (texts.subtitle, 12, MUTED, 2)]
    top = PAD - 4 + measure_lines(room, blocks) + 8
    caption_height = max(len(lines) for lines, _ in panels) * measure_line(12) + 4
    cell_height = caption_height + tall + PAD
    height = top + rows * cell_height + (56 if limit is not None else 0)
    canvas = Image.new("RGB", (room + 2 * PAD, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw_lines(draw, PAD, PAD - 4, room, blocks)
    for n, (lines, panel) in enumerate(panels):
        x, y = PAD + n % across * (width + PAD), top + n // across * cell_height
        for k, line in enumerate(lines):
            draw_text(draw, (x, y + k * measure_line(12)), line, 12, INK)
        canvas.paste(panel, (x, y + caption_height))
    if limit is not None:
        bar_width = min(256, room)
        y = height - 52
        paste_bar(canvas, (PAD, y, PAD + bar_width, y + 12), -limit if style.signed else 0, limit, style.colormap)
        note = wrap(texts.legend, 12, room - bar_width - 14, 2)
        for k, line in enumerate(note):
            draw_text(draw, (PAD + bar_width + 14, y - 2 + k * measure_line(12)), line, 12, INK)
    return canvas


def _words(count: int, signed: bool, class_independent: bool) -> tuple[str, str]:
    """(what the colors mean, what an empty map says, with a place for the label)."""
    if class_independent:
        ends = "-: the opposite of the pattern; +: the pattern" if signed else "0: not there; 1: where it is strongest"
        return ends, "no pattern at this layer"
    if signed:
        return "below 0 speaks against the class, above 0 for it", "no evidence for or against “{}”"
    which = "each map" if count > 1 else "this map"
    return f"0: no evidence; 1: the strongest evidence in {which}", "no positive evidence for “{}”"
