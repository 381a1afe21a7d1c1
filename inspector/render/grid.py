"""Every channel of a layer on one sheet."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspector.errors import UsageError
from inspector.records import record
from inspector.render.figure import INK, MUTED, draw_lines, draw_ticks, measure_lines, to_grey
from inspector.render.png import ALIKE, SAME, Indices
from inspector.render.scale import (
    GREY_TABLE,
    LEVELS,
    NAN_INDEX,
    PAPER_INDEX,
    MapRange,
    Scaled,
    as_maps,
    check_scale,
    draw_hatch,
    find_grey_index,
    make_palette,
    to_indices,
    wants_symmetric,
)
from inspector.render.text import (
    GreyCanvas,
    draw_digits,
    draw_text,
    format_percent,
    format_value,
    measure_text,
    shorten,
)

SMALLEST_TILE = 21
"""Tiles are enlarged by a whole factor to at least this many pixels, and to twice that in a layer of few channels."""
MAX_PIXELS = 40_000_000
"""A sheet has no more pixels than this; larger maps are reduced."""

_PAD = 14
_GAP, _ROW_GAP = 3, 5
_MIN_WIDTH = 520
_COLUMNS = 16
_FEW = 256
_LONGEST_SIDE = 4096
_THINNEST_TILE = 12
_MAX_WIDTH = 2200
_TALLEST = 2.5
_INK, _MUTED = to_grey(INK), to_grey(MUTED)
_WORDS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


@record
class SheetLayout:
    """Where the tiles of a sheet go, in pixels: each cell is a number above a tile, and a gap."""

    columns: int
    rows: int
    tile_width: int
    tile_height: int
    label_size: int
    label_width: int
    label_height: int
    enlarge_x: int
    enlarge_y: int
    shrink: int

    @property
    def cell_width(self) -> int:
        """Distance from one tile to the next, across."""
        return max(self.tile_width, self.label_width) + _GAP

    @property
    def cell_height(self) -> int:
        """Distance from one tile to the next, down."""
        return self.label_height + self.tile_height + _ROW_GAP


# Wide: what a sheet says and how it looks, all but the first by name.
def draw_grid(
    maps: NDArray[Any],
    *,
    title: str,
    subtitle: str = "",
    scale: str = "channel",
    limits: tuple[float, float] | None = None,
    colormap: str = "viridis",
    columns: int | None = None,
    first_channel: int = 0,
) -> Image.Image:
    """The sheet of :func:`draw_map_sheet` as an image of mode "P".

    Raises:
        UsageError: As there.
    """
    return draw_map_sheet(
        maps, title=title, subtitle=subtitle, scale=scale, limits=limits, colormap=colormap, columns=columns,
        first_channel=first_channel,
    ).to_image()  # fmt: skip


# Wide: as above.
def draw_map_sheet(
    maps: NDArray[Any],
    *,
    title: str,
    subtitle: str = "",
    scale: str = "channel",
    limits: tuple[float, float] | None = None,
    colormap: str = "viridis",
    columns: int | None = None,
    first_channel: int = 0,
    known: MapRange | None = None,
) -> Indices:
    """Draw every channel of a layer as a numbered tile, with what the colors mean above them.

    Constant channels are hatched; elements that are not finite are magenta. Small maps are enlarged by a whole
    factor, each element a square; large ones are reduced by area until the sheet is below MAX_PIXELS.

    Args:
        maps: Float32 (C, H, W), values as the network made them; not modified. Any other real type is converted.
        title: The layer's name and kind. Shape, zero fraction, constant channels and elements that are not finite are
            added here.
        subtitle: The model and the picture.
        scale: See `inspector.render.scale.to_indices`.
        limits: The range of the scale "fixed".
        colormap: Name of a color map.
        columns: Tiles in a row; 16 unless the sheet would get out of shape.
        first_channel: The number of the first tile, for a sheet that shows a part of a layer.
        known: The range of the maps, where it need not be looked for.

    Returns:
        A picture of palette indices: 0..223 are the color map from low to high.

    Raises:
        UsageError: The maps have another shape, there is no such scale or color map, or columns are below 1.
    """
    check_scale(scale, limits)
    table = make_palette(colormap)
    array = as_maps(maps)
    if columns is not None and columns < 1:
        raise UsageError(f"a sheet needs at least one column, not {columns}")
    if first_channel < 0:
        raise UsageError(f"the first channel cannot be {first_channel}")
    channels, height, width = array.shape
    layout = plan_layout(channels, height, width, columns, len(str(first_channel + channels - 1)))
    scaled = to_indices(array, scale, limits, wants_symmetric(colormap, scale), layout.shrink, known)
    across = max(layout.columns * layout.cell_width - _GAP + 2 * _PAD, _MIN_WIDTH)
    header = _header(across, title, _facts(array.shape, scaled, layout), subtitle, scaled)
    sheet = np.full((header.shape[0] + layout.rows * layout.cell_height + _PAD, across), PAPER_INDEX, np.uint8)
    sheet[: header.shape[0], : header.shape[1]] = header
    _place_tiles(sheet[header.shape[0] :, _PAD:], scaled, layout, first_channel)
    return Indices(sheet, table, _find_repeats(header.shape[0], len(sheet), scaled, layout))


@lru_cache(maxsize=256)
def plan_layout(channels: int, height: int, width: int, columns: int | None = None, digits: int = 4) -> SheetLayout:
    """Choose size and arrangement of the tiles for `channels` maps of height x width, numbered with `digits`."""
    shrink = -(-max(height, width) // _LONGEST_SIDE)
    while True:
        layout = _layout(channels, -(-height // shrink), -(-width // shrink), columns, shrink, digits)
        pixels = layout.columns * layout.cell_width * layout.rows * layout.cell_height
        if pixels <= MAX_PIXELS or (layout.tile_width <= SMALLEST_TILE and layout.tile_height <= SMALLEST_TILE):
            return layout
        shrink = max(shrink + 1, math.floor(shrink * math.sqrt(pixels / MAX_PIXELS)))


def _layout(channels: int, height: int, width: int, columns: int | None, shrink: int, digits: int) -> SheetLayout:
    short, long = min(height, width), max(height, width)
    enlarge = 1
    if shrink == 1:
        least = SMALLEST_TILE if channels > _FEW or long == 1 else 2 * SMALLEST_TILE
        # A strip of 3 x 500 keeps its length: enlarging it to 21 x 3500 would help nobody.
        enlarge = max(-(-least // long), min(-(-least // short), 4 * least // long), 1)
    # But it is made thick enough to be seen.
    stretch = enlarge * -(-_THINNEST_TILE // (short * enlarge))
    enlarge_x, enlarge_y = (enlarge, stretch) if width >= height else (stretch, enlarge)
    tile_width, tile_height = width * enlarge_x, height * enlarge_y
    label_size = 10 if tile_width < 48 else 11 if tile_width < 120 else 13
    _, digit_height, advance = draw_digits(label_size).shape

    def arrange(count: int) -> SheetLayout:
        count = min(count, channels)
        rows = -(-channels // count)
        return SheetLayout(
            columns=count,
            rows=rows,
            tile_width=tile_width,
            tile_height=tile_height,
            label_size=label_size,
            label_width=digits * advance,
            label_height=digit_height + 2,
            enlarge_x=enlarge_x,
            enlarge_y=enlarge_y,
            shrink=shrink,
        )

    def shape(layout: SheetLayout) -> tuple[int, float]:
        across = layout.columns * layout.cell_width
        return across, layout.rows * layout.cell_height / across

    if columns is not None:
        return arrange(columns)
    usual = arrange(_COLUMNS)
    across, ratio = shape(usual)
    if across <= _MAX_WIDTH and ratio <= _TALLEST:
        return usual
    # Out of shape: the arrangement nearest to a page, a little higher than wide.
    choices = [arrange(count) for count in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)]
    return min(choices, key=lambda layout: (abs(math.log(shape(layout)[1] / 1.2)), layout.columns))


@lru_cache(maxsize=64)
def _labels(first: int, count: int, size: int, width: int) -> NDArray[np.uint8]:
    """The numbers first .. first + count - 1, each centred on a strip: palette indices (count, height, width)."""
    glyphs = find_grey_index(255 - draw_digits(size) // 4 * 3)
    _, height, advance = glyphs.shape
    out = np.full((count, height, width), PAPER_INDEX, np.uint8)
    numbers = np.arange(first, first + count)
    places = len(str(first + count - 1))
    digits = np.stack([numbers // 10**place % 10 for place in range(places)], axis=1)
    lengths = np.searchsorted(10 ** np.arange(1, places), numbers, side="right") + 1
    for length in range(int(lengths.min()), places + 1):
        which = np.flatnonzero(lengths == length)
        left = max(0, (width - length * advance) // 2)
        for place in range(length):
            x = left + (length - 1 - place) * advance
            if x + advance <= width:
                out[which, :, x : x + advance] = glyphs[digits[which, place]]
    out.setflags(write=False)
    return out


def _place_tiles(area: NDArray[np.uint8], scaled: Scaled, layout: SheetLayout, first: int) -> None:
    """Write numbers and tiles into `area`, whose top left corner is that of the first cell."""
    tiles = scaled.indices
    count, height, width = tiles.shape
    kx, ky = layout.enlarge_x, layout.enlarge_y
    cell_w, cell_h = layout.cell_width, layout.cell_height
    strips = _labels(first, count, layout.label_size, cell_w - _GAP)
    left = (cell_w - _GAP - layout.tile_width) // 2
    tiles = _widen_tiles(tiles, kx)
    hatched = draw_hatch(layout.tile_height, layout.tile_width) if scaled.blank.any() else None

    full = count // layout.columns
    # Whole rows in one assignment each, then the rest of the last row.
    for begin, rows, across in (
        (0, full, layout.columns),
        (full * layout.columns, 1, count - full * layout.columns),
    ):
        if rows == 0 or across == 0:
            continue
        end, top = begin + rows * across, begin // layout.columns * cell_h
        # The last tile's gap may lie outside the area, so the view stops at the tile and strides on.
        block = np.lib.stride_tricks.as_strided(
            area[top:],
            (rows, across, cell_h, cell_w - _GAP),
            (cell_h * area.strides[0], cell_w, area.strides[0], 1),
        )
        block[:, :, : strips.shape[1]] = strips[begin:end].reshape(rows, across, *strips.shape[1:])
        target = block[:, :, layout.label_height : layout.label_height + layout.tile_height]
        target = target[..., left : left + layout.tile_width]
        source = tiles[begin:end].reshape(rows, across, height, 1, width * kx)
        np.copyto(target.reshape(rows, across, height, ky, width * kx), source)
        if hatched is not None:
            row, column = np.divmod(np.flatnonzero(scaled.blank[begin:end]), across)
            target[row, column] = hatched


def _widen_tiles(tiles: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Each pixel of (C, h, w) `factor` times beside itself: (C, h, w * factor)."""
    if factor == 1:
        return tiles
    word = _WORDS.get(factor)
    if word is not None:
        # As one number of so many bytes, in a tenth of the time of np.repeat.
        wide = tiles.astype(word)
        wide *= word(int("01" * factor, 16))
        return wide.view(np.uint8)
    if factor > 4:
        return np.repeat(tiles, factor, axis=2)
    out = np.empty((*tiles.shape, factor), np.uint8)
    for place in range(factor):
        out[..., place] = tiles
    return out.reshape(*tiles.shape[:2], -1)


def _find_repeats(top: int, height: int, scaled: Scaled, layout: SheetLayout) -> NDArray[np.uint8] | None:
    """The rows of a sheet that repeat the one above them, as in Indices; None where no map is enlarged.

    top: the height of the header.
    height: of the whole sheet.
    """
    if layout.enlarge_y == 1:
        return None
    cell = np.zeros(layout.cell_height, np.uint8)
    cell[layout.label_height : layout.label_height + layout.tile_height] = 1
    cell[layout.label_height : layout.label_height + layout.tile_height : layout.enlarge_y] = 0
    # The lines of hatching run across the squares.
    hatched = np.zeros(layout.rows * layout.columns, np.bool_)
    hatched[: len(scaled.blank)] = scaled.blank
    kinds = np.where(hatched.reshape(layout.rows, layout.columns).any(axis=1), ALIKE, SAME).astype(np.uint8)
    found = np.zeros(height, np.uint8)
    found[top : top + layout.rows * layout.cell_height] = np.outer(kinds, cell).ravel()
    return found


def _facts(shape: tuple[int, ...], scaled: Scaled, layout: SheetLayout) -> str:
    channels, height, width = shape
    facts = [
        f"{channels} channel{'s' * (channels != 1)} of {height} x {width}",
        f"{format_percent(scaled.zero_fraction)} of the values are zero",
    ]
    if height * width > 1:
        blank = int(scaled.blank.sum())
        facts.append(f"{blank} constant channel{'s' * (blank != 1)}" if blank else "no constant channel")
    bad = [f"{scaled.nan} NaN"] * bool(scaled.nan) + [f"{scaled.infinite} infinite"] * bool(scaled.infinite)
    if bad:
        facts.append(" and ".join(bad) + " values")
    if layout.enlarge_x != layout.enlarge_y:
        facts.append(f"each element is drawn {layout.enlarge_y} high and {layout.enlarge_x} wide")
    if layout.shrink > 1:
        facts.append(f"drawn at 1/{layout.shrink} of its size")
    return " · ".join(facts)


def _header(width: int, title: str, facts: str, subtitle: str, scaled: Scaled) -> NDArray[np.uint8]:
    """Title, facts, color bar and key: palette indices (height, at most `width`)."""
    room = width - 2 * _PAD
    blocks = [(title, 17, _INK, 3), (facts, 12, _INK, 3), (subtitle, 12, _MUTED, 2)]
    # A sheet may be far wider than what is written above it. Bar and key take less than 900.
    inked = max(900, *(measure_text(text, size) + 2 * _PAD for text, size, _, _ in blocks))
    canvas = GreyCanvas(min(width, inked), measure_lines(room, blocks) + 120, GREY_TABLE)
    y = draw_lines(canvas, _PAD, _PAD - 4, room, blocks) + 6
    bar_width, bar_height = min(256, room), 12
    bar_top = y
    note = _bar_labels(canvas, scaled, _PAD, y + bar_height, bar_width)
    x = _PAD + bar_width + 14
    if x + measure_text(note, 12) > width - _PAD:
        x, y = _PAD, y + bar_height + 20
    draw_text(canvas, (x, y - 1), shorten(note, 12, width - x - _PAD), 12, _INK)
    y = max(y + 18, bar_top + bar_height + 24)

    swatches = []
    if scaled.blank.any():
        swatches.append((draw_hatch(14, 28), "constant on this picture"))
    if scaled.nan or scaled.infinite:
        swatches.append((np.full((14, 28), NAN_INDEX, np.uint8), "NaN or infinite"))
    boxes = []
    x = _PAD
    for swatch, text in swatches:
        boxes.append((x, y, swatch))
        draw_text(canvas, (x + 34, y), text, 12, _INK)
        x += 34 + measure_text(text, 12) + 22
    y += 24 if swatches else 0
    out = canvas.pixels[: y + 8]
    out[bar_top : bar_top + bar_height, _PAD : _PAD + bar_width] = np.arange(bar_width) * LEVELS // bar_width
    for x, top, swatch in boxes:
        out[top : top + swatch.shape[0], x : x + swatch.shape[1]] = swatch
    return out


def _bar_labels(draw: GreyCanvas, scaled: Scaled, left: int, top: int, width: int) -> str:
    """Draw the numbers below the bar; return the sentence that goes beside it."""
    if scaled.limits is not None:
        low, high = scaled.limits
        draw_ticks(draw, (left, top, width), (low, high), _INK)
        if scaled.scale == "fixed":
            return f"one scale for all channels, fixed: {format_value(low)} to {format_value(high)}"
        return f"one scale for all channels: {format_value(low)} to {format_value(high)}"
    if scaled.scale == "lecture":
        labels = {-2.0: "-2 std", -1.0: "-1 std", 0.0: "mean", 1.0: "+1 std", 127 / 64: "+2 std"}
        draw_ticks(draw, (left, top, width), (-2, 127 / 64), _INK, labels)
        return "each channel: its own mean and standard deviation"
    draw_ticks(draw, (left, top, width), (0, 1), _INK, {0: "lowest", 1: "highest"})
    span = f"{format_value(float(scaled.low.min()))} to {format_value(float(scaled.high.max()))}"
    return f"each channel on its own scale; the layer spans {span}"
