"""A contact sheet: pictures in a labelled grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.render.figure import INK, MUTED, PAD, PAPER, draw_lines, fitted, lines_height, resized
from inspector.render.scale import hatch, to_rgb
from inspector.render.text import draw_text, line_height, text_width, wrap

_CAPTION = 12
_MAX_PIXELS = 40_000_000


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
    """`tiles` in rows of `columns`, each under its caption.

    tiles: pictures of any mode and size, or None for one that could not be made: it is hatched and says `missing`.
    captions: one for each tile, such as a channel number or "tabby, should be tiger"; wrapped to the tile's width.
    title, note, subtitle: above the tiles; what is shown, what the reader should know, and where it comes from.
    tile_size: longer side of every tile; the largest side among the tiles, between 48 and 256, unless given.
    margin: pixels between tiles.

    Returns an RGB image. Raises UsageError for no tiles, captions that do not match them, or sizes out of range.
    """
    if not tiles or len(tiles) != len(captions):
        raise UsageError(f"a sheet needs one caption for each tile, not {len(captions)} for {len(tiles)}")
    if columns < 1 or margin < 0 or caption_lines < 1:
        raise UsageError("a sheet needs at least one column, one line of caption and no negative margin")
    sides = [max(tile.size) for tile in tiles if tile is not None]
    size = tile_size if tile_size is not None else min(max(max(sides, default=96), 48), 256)
    if not 16 <= size <= 2048:
        raise UsageError(f"the size of a tile must be 16 to 2048 pixels, not {size}")
    shown = [None if tile is None else resized(tile, fitted(tile.size, size)) for tile in tiles]
    widest = max((tile.width for tile in shown if tile is not None), default=size)
    tallest = max((tile.height for tile in shown if tile is not None), default=size)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    lines = [wrap(caption, _CAPTION, widest, caption_lines) for caption in captions]
    pitch = line_height(_CAPTION)
    row_lines = [max(map(len, lines[row * columns : (row + 1) * columns])) for row in range(rows)]
    room = max(columns * (widest + margin) - margin, 360)
    blocks = [(title, 17, INK, 3), (note, 12, INK, 4), (subtitle, 12, MUTED, 2)]
    head = lines_height(room, blocks)
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
            tile = shown[n] or _missing(widest, tallest, missing)
            canvas.paste(tile, (x + (widest - tile.width) // 2, y + row_lines[row] * pitch))
        y += row_lines[row] * pitch + tallest + margin + 2
    return canvas


def _missing(width: int, height: int, word: str) -> Image.Image:
    """A hatched tile with `word` on a pale strip."""
    pixels = np.array(to_rgb(hatch(height, width)))
    lines = wrap(word, _CAPTION, max(width - 6, 20), 3)
    pitch = line_height(_CAPTION)
    top = max(0, (height - len(lines) * pitch) // 2 - 1)
    across = max((text_width(line, _CAPTION) for line in lines), default=0) + 8
    left = max(0, (width - across) // 2)
    pixels[top : top + len(lines) * pitch + 2, left : width - left] = 245
    out = Image.fromarray(pixels)
    draw = ImageDraw.Draw(out)
    for n, line in enumerate(lines):
        draw_text(draw, (width / 2, top + n * pitch), line, _CAPTION, INK, "middle")
    return out
