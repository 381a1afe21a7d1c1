"""A contact sheet: pictures in a labelled grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.render.figure import INK, MUTED, PAD, PAPER, Color, draw_lines, fit_size, measure_lines, resize_picture
from inspector.render.scale import draw_hatch, to_rgb
from inspector.render.text import draw_text, measure_line, measure_text, wrap

_CAPTION = 12
_MAX_PIXELS = 40_000_000


# Wide: what a sheet says and how it looks, all but the first two by name.
def draw_sheet(
    tiles: Sequence[Image.Image | None],
    captions: Sequence[str],
    *,
    columns: int = 8,
    title: str = "",
    subtitle: str = "",
    note: str = "",
    tile_size: int | None = None,
    margin: int = 5,
    missing: str = "stuck",
    caption_lines: int = 2,
) -> Image.Image:
    """Draw `tiles` in rows of `columns`, each under its caption.

    Args:
        tiles: Pictures of any mode and size, or None for one that could not be made: it is hatched and says `missing`.
        captions: One for each tile, such as a channel number or "tabby, should be tiger"; wrapped to the tile's width.
        columns: Tiles in a row.
        title: Above the tiles: what is shown.
        subtitle: Above the tiles: where it comes from.
        note: Above the tiles: what the reader should know.
        tile_size: Longer side of every tile; the largest side among the tiles, between 48 and 256, unless given.
        margin: Pixels between tiles.
        missing: What stands on a tile that could not be made.
        caption_lines: Most lines of a caption.

    Returns:
        An RGB image.

    Raises:
        UsageError: There are no tiles, the captions do not match them, or a size is out of range.
    """
    if not tiles or len(tiles) != len(captions):
        raise UsageError(f"a sheet needs one caption for each tile, not {len(captions)} for {len(tiles)}")
    if columns < 1 or margin < 0 or caption_lines < 1:
        raise UsageError("a sheet needs at least one column, one line of caption and no negative margin")
    sides = [max(tile.size) for tile in tiles if tile is not None]
    size = tile_size if tile_size is not None else min(max(max(sides, default=96), 48), 256)
    if not 16 <= size <= 2048:
        raise UsageError(f"the size of a tile must be 16 to 2048 pixels, not {size}")
    shown = [None if tile is None else resize_picture(tile, fit_size(tile.size, size)) for tile in tiles]
    widest = max((tile.width for tile in shown if tile is not None), default=size)
    tallest = max((tile.height for tile in shown if tile is not None), default=size)
    lines = [wrap(caption, _CAPTION, widest, caption_lines) for caption in captions]
    full = [tile or _missing(widest, tallest, missing) for tile in shown]
    blocks = [(title, 17, INK, 3), (note, 12, INK, 4), (subtitle, 12, MUTED, 2)]
    return _place_tiles(full, lines, blocks, (widest, tallest), (min(columns, len(tiles)), margin), size)


def _place_tiles(
    tiles: Sequence[Image.Image],
    lines: Sequence[list[str]],
    blocks: Sequence[tuple[str, int, Color, int]],
    cell: tuple[int, int],
    grid: tuple[int, int],
    size: int,
) -> Image.Image:
    """Tiles below their lines. cell: (width, height) of the largest tile. grid: (columns, pixels between tiles)."""
    (widest, tallest), (columns, margin) = cell, grid
    rows = -(-len(tiles) // columns)
    pitch = measure_line(_CAPTION)
    row_lines = [max(map(len, lines[row * columns : (row + 1) * columns])) for row in range(rows)]
    room = max(columns * (widest + margin) - margin, 360)
    head = measure_lines(room, blocks)
    top = PAD - 4 + head + 8 if head else PAD
    height = top + sum(count * pitch + tallest + margin + 2 for count in row_lines) + PAD
    if (room + 2 * PAD) * height > _MAX_PIXELS:
        raise UsageError(f"a sheet of {len(tiles)} tiles of {size} pixels is too large", "give a smaller tile size")
    canvas = Image.new("RGB", (room + 2 * PAD, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw_lines(draw, PAD, PAD - 4, room, blocks)
    y = top
    for row in range(rows):
        for column, n in enumerate(range(row * columns, min((row + 1) * columns, len(tiles)))):
            x = PAD + column * (widest + margin)
            # The last line of every caption is next to its tile.
            first = y + (row_lines[row] - len(lines[n])) * pitch
            for k, line in enumerate(lines[n]):
                draw_text(draw, (x + widest / 2, first + k * pitch), line, _CAPTION, INK, "middle")
            canvas.paste(tiles[n], (x + (widest - tiles[n].width) // 2, y + row_lines[row] * pitch))
        y += row_lines[row] * pitch + tallest + margin + 2
    return canvas


# One tile stands for all that are missing: a sheet of 400 would else draw it 400 times.
@lru_cache(maxsize=1)
def _missing(width: int, height: int, word: str) -> Image.Image:
    """A hatched tile with `word` on a pale strip."""
    pixels = np.array(to_rgb(draw_hatch(height, width)))
    lines = wrap(word, _CAPTION, max(width - 6, 20), 3)
    pitch = measure_line(_CAPTION)
    top = max(0, (height - len(lines) * pitch) // 2 - 1)
    across = max((measure_text(line, _CAPTION) for line in lines), default=0) + 8
    left = max(0, (width - across) // 2)
    pixels[top : top + len(lines) * pitch + 2, left : width - left] = 245
    out = Image.fromarray(pixels)
    draw = ImageDraw.Draw(out)
    for n, line in enumerate(lines):
        draw_text(draw, (width / 2, top + n * pitch), line, _CAPTION, INK, "middle")
    return out
