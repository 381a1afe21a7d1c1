"""One channel alone, beside the picture it was computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.image import Box
from inspector.render.figure import (
    INK,
    MUTED,
    PAD,
    PAPER,
    Color,
    draw_lines,
    fit_size,
    measure_lines,
    paste_bar,
    resize_picture,
    round_box,
)
from inspector.render.scale import Scaled, as_maps, average_areas, draw_hatch, to_indices, to_rgb, wants_symmetric
from inspector.render.text import draw_text, format_percent, format_value, measure_text

SMALLEST, LARGEST = 64, 4096


# Wide: what a figure says and how it looks, all but the first by name.
def draw_channel(
    values: NDArray[Any],
    *,
    title: str,
    subtitle: str = "",
    picture: Image.Image | None = None,
    box: Box | None = None,
    size: int = 448,
    scale: str = "channel",
    limits: tuple[float, float] | None = None,
    colormap: str = "viridis",
    smooth: bool = False,
) -> Image.Image:
    """Draw one map, enlarged, with its color bar and statistics; the picture to its left if there is one.

    Args:
        values: Float32 (H, W), as the network made them; not modified.
        title: Layer and channel.
        subtitle: Model and picture.
        picture: What the map was computed from.
        box: The part of the picture that the network saw; only that part is shown, as large as the map.
        size: Longer side of the map and of the picture in pixels, 64 to 4096. Without `smooth` the map is enlarged by a
            whole factor, so that every element is a square of one color, and may come out smaller.
        scale: "channel" from the map's minimum to its maximum, "fixed" with `limits`, or "lecture".
        limits: The range of the scale "fixed".
        colormap: Name of a color map.
        smooth: Enlarge by bilinear interpolation.

    Returns:
        An RGB image.

    Raises:
        UsageError: The values have another shape, the size is out of range, or there is no such scale or color map.
    """
    array = np.asarray(values)
    if array.ndim != 2:
        raise UsageError(f"a channel has the shape (H, W), not {array.shape}")
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"the size must be {SMALLEST} to {LARGEST} pixels, not {size}")
    maps = as_maps(array[None])
    # One map: its own range is the common one, and then the bar has numbers.
    scaled = to_indices(maps, "layer" if scale == "channel" else scale, limits, wants_symmetric(colormap, scale))
    if bool(scaled.blank[0]):
        shown = (size, size) if array.shape[0] == array.shape[1] else fit_size(array.shape[::-1], size)
        tile = Image.fromarray(to_rgb(draw_hatch(shown[1], shown[0]), colormap))
    elif smooth or max(array.shape) > size:
        tile = _smooth(maps, fit_size(array.shape[::-1], size), scaled.limits, scale, limits, colormap)
    else:
        k = max(1, size // max(array.shape))
        tile = Image.fromarray(to_rgb(scaled.indices[0].repeat(k, axis=0).repeat(k, axis=1), colormap))
    panels = [_seen(picture, box, tile.size)] if picture is not None else []
    panels.append((f"channel, {array.shape[0]} x {array.shape[1]}", tile))
    blocks = [(title, 17, INK, 3), (_facts(scaled, array), 12, INK, 3), (subtitle, 12, MUTED, 2)]
    return _place_panels(panels, blocks, scaled, colormap)


def _place_panels(
    panels: Sequence[tuple[str, Image.Image]],
    blocks: Sequence[tuple[str, int, Color, int]],
    scaled: Scaled,
    colormap: str,
) -> Image.Image:
    """The panels below the text, each below its name, and the color bar below the last one, which is the map."""
    tile = panels[-1][1]
    widths = [max(panel.width, measure_text(name, 12)) for name, panel in panels]
    map_width = max(widths[-1], 240)
    room = max(sum(widths[:-1]) + map_width + PAD * (len(panels) - 1), 360)
    top = PAD - 4 + measure_lines(room, blocks) + 8
    tallest = max(panel.height for _, panel in panels)
    canvas = Image.new("RGB", (room + 2 * PAD, top + 20 + tallest + 10 + 12 + 22 + PAD), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw_lines(draw, PAD, PAD - 4, room, blocks)
    x = PAD
    for (name, panel), across in zip(panels, widths, strict=True):
        draw_text(draw, (x, top), name, 12, MUTED)
        canvas.paste(panel, (x, top + 20))
        x += across + PAD
    left = x - PAD - widths[-1]
    bar_top = top + 20 + tile.height + 10
    bar = (left, bar_top, left + max(tile.width, 240), bar_top + 12)
    if bool(scaled.blank[0]):
        draw_text(draw, (left, bar_top), f"constant: {format_value(float(scaled.low[0]))} everywhere", 12, INK)
    elif scaled.limits is not None and scaled.limits[0] < scaled.limits[1]:
        paste_bar(canvas, bar, *scaled.limits, colormap)
    elif scaled.limits is None:
        labels = {-2.0: "-2 std", -1.0: "-1 std", 0.0: "mean", 1.0: "+1 std", 127 / 64: "+2 std"}
        paste_bar(canvas, bar, -2, 127 / 64, colormap, labels)
    return canvas


def _seen(picture: Image.Image, box: Box | None, size: tuple[int, int]) -> tuple[str, Image.Image]:
    """What the network saw, at the size of the map, so that what is at one place in one is there in the other."""
    if box is None:
        return "the picture", resize_picture(picture, size)
    region = round_box(box, picture.size)
    name = "the picture" if region == (0, 0, *picture.size) else "the part of the picture that the network saw"
    return name, resize_picture(picture.crop(region), size)


def _smooth(
    maps: NDArray[Any],
    size: tuple[int, int],
    span: tuple[float, float] | None,
    scale: str,
    limits: tuple[float, float] | None,
    colormap: str,
) -> Image.Image:
    factor = max(maps.shape[1] // size[1], maps.shape[2] // size[0])
    if span is None:
        # The lecture's rule is a straight line too, so it may be applied before or after.
        lecture = to_indices(maps, scale, limits).indices[0]
        picture = Image.fromarray(lecture).resize(size, Image.Resampling.NEAREST)
        return Image.fromarray(to_rgb(np.asarray(picture), colormap))
    with np.errstate(all="ignore"):
        reduced = average_areas(maps, factor) if factor > 1 else maps
    bad = ~np.isfinite(reduced[0])
    plain = np.where(bad, 0, reduced[0]).astype(np.float32)
    enlarged = np.array(Image.fromarray(plain).resize(size, Image.Resampling.BILINEAR))
    if bad.any():
        enlarged[np.asarray(Image.fromarray(bad).resize(size, Image.Resampling.NEAREST))] = np.nan
    low, high = span
    if low == high:
        high = np.nextafter(high, np.inf) if high else 1.0
    return Image.fromarray(to_rgb(to_indices(enlarged[None], "fixed", (low, high)).indices[0], colormap))


def _facts(scaled: Scaled, array: NDArray[Any]) -> str:
    finite = array[np.isfinite(array)]
    facts = []
    if finite.size:
        mean = float(finite.mean(dtype=np.float64))
        facts += [f"mean {format_value(mean)}", f"lowest {format_value(float(finite.min()))}"]
        facts += [f"highest {format_value(float(finite.max()))}"]
    facts.append(f"{format_percent(scaled.zero_fraction)} of the values are zero")
    if scaled.nan:
        facts.append(f"{scaled.nan} NaN (magenta)")
    if scaled.infinite:
        facts.append(f"{scaled.infinite} infinite (magenta)")
    return " · ".join(facts)
