"""Sheets of what channels respond to: a layer's patterns, and patches beside them. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from inspector.model import Model
from inspector.provenance import Provenance
from inspector.receptive.fields import ReceptiveField
from inspector.receptive.patches import TopPatches, draw_patches
from inspector.render.png import save_png
from inspector.render.sheet import draw_sheet

if TYPE_CHECKING:
    from inspector.ascent import FilterSpec
    from inspector.pages.filter_sheet import FilterSheet

COLUMNS = 8
_MARGIN = 5
_LEGIBLE = 96
_SHEET_PIXELS = 30_000_000


def describe_field(field: ReceptiveField) -> str:
    """`a unit sees 43 x 43 pixels`."""
    if field.size is None:
        return "a unit sees the whole picture"
    seen = f"a unit sees {field.size[1]} x {field.size[0]} pixels"
    return f"{seen}, and through a gate the whole picture" if field.everything else seen


def draw_layer_sheet(model: Model, sheet: FilterSheet, spec: FilterSpec, made_by: Provenance) -> Path:
    """``<recipe>-grid.png``: all finished channels in rows of eight, numbered."""
    recipe, size, pictures = spec.recipe, sheet.size, sheet.pictures
    tiles: list[Image.Image | None] = []
    side = choose_tile_size(max(size), sum(1 + len(p.variants) for p in pictures))
    for picture in pictures:
        tiles.append(None if picture.stuck else scale_picture(load_picture(picture.image), side))
        tiles += [scale_picture(load_picture(path), side) for path in picture.variants]
    names = [f"{p.channel} {p.label}".strip() for p in pictures for _ in range(1 + len(p.variants))]
    stuck = sum(p.stuck for p in pictures)
    made = f"recipe {recipe.name}, {recipe.steps} steps at {size[1]} x {size[0]}"
    note = [f"{spec.objective.sentence()}, {made}; {describe_field(sheet.field)}"]
    if stuck:
        note.append(f"{stuck} {'channels are' if stuck > 1 else 'channel is'} stuck: no start led anywhere")
    drawn = draw_sheet(
        tiles,
        names,
        columns=COLUMNS,
        title=f"{sheet.layer.name}  ({sheet.layer.kind})",
        note="; ".join(note),
        subtitle=model.path.name,
        tile_size=side,
        margin=_MARGIN,
        caption_lines=1,
    )
    return save_png(drawn, sheet.folder / f"{recipe.name}-grid.png", made_by.png_info(), level=6)


def choose_tile_size(side: int, count: int) -> int:
    """Side of a tile: the picture's own where there is room for all, enlarged by a whole factor where it is small."""
    wanted = side * max(1, round(_LEGIBLE / side))
    most = int(math.sqrt(_SHEET_PIXELS / max(count, 1))) - 24
    return max(24, min(wanted, most, 256))


def load_picture(path: Path) -> Image.Image:
    """A picture without the text chunks of its file."""
    with Image.open(path) as image:
        plain = image.convert("RGB")
    plain.info = {}
    return plain


def scale_picture(picture: Image.Image, side: int) -> Image.Image:
    """A picture with its longer side at `side`; smoothly, as unlike a map's, its single pixels mean nothing."""
    longer = max(picture.size)
    width, height = (max(1, round(n * side / longer)) for n in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC if side > longer else Image.Resampling.LANCZOS)


def draw_mosaic(tiles: Sequence[Image.Image | None], tile: int, columns: int, gap: int) -> Image.Image:
    """Tiles side by side without numbers; None is hatched."""
    from inspector.render.scale import draw_hatch, to_rgb

    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (tile + gap) - gap, rows * (tile + gap) - gap), (255, 255, 255))
    for n, picture in enumerate(tiles):
        if picture is None:
            shown = Image.fromarray(to_rgb(draw_hatch(tile, tile)))
        else:
            shown = scale_picture(picture, tile)
        sheet.paste(shown, (n % columns * (tile + gap), n // columns * (tile + gap)))
    return sheet


# Long: a good part is the description of its parameters.
def draw_patch_sheet(
    model: Model,
    found: TopPatches,
    sources: Mapping[str, Any],
    path: Path,
    patterns: Mapping[int, Path | None],
    tile: int = 128,
) -> Path:
    """For each channel its pattern, if there is one, and beside it the patches that excite it most.

    Args:
        model: The model.
        found: The patches.
        sources: The pictures by name.
        path: The file that is written.
        patterns: Channel -> its picture; None where it is stuck. Where there are any, a missing one is hatched
            too.
        tile: Side of a patch as it is drawn, in pixels.
    """
    k = max((len(p) for p in found.patches.values()), default=1)
    columns = max(1, math.ceil(math.sqrt(k)))
    gap = 2
    small = max(24, (tile - gap * (columns - 1)) // columns)
    tiles: list[Image.Image | None] = []
    captions = []
    for channel, patches in draw_patches(model, found, sources, small):
        parts: list[Image.Image | None] = []
        if patterns:
            picture = patterns.get(channel)
            parts.append(load_picture(picture) if picture is not None else None)
        side = columns * (small + gap) - gap
        strip = draw_mosaic(patches, small, columns, gap) if patches else draw_mosaic([None], side, 1, 0)
        both = Image.new("RGB", ((side + 4) * len(parts) + side, side), (255, 255, 255))
        for n, part in enumerate(parts):
            both.paste(draw_mosaic([part], side, 1, 0), (n * (side + 4), 0))
        both.paste(strip, (len(parts) * (side + 4), 0))
        tiles.append(both)
        values = found.patches[channel]
        captions.append(
            f"{channel}: {values[0].value:.3g} to {values[-1].value:.3g}" if values else f"{channel}: never"
        )
    across = 4 if patterns else 6
    width = max(t.width for t in tiles if t is not None)
    sheet = draw_sheet(
        tiles,
        captions,
        columns=across,
        title=f"{found.layer.name}  ({found.layer.kind})",
        note=(
            ("each channel's pattern, and beside it " if patterns else "for each channel ")
            + f"the {k} patches of {found.seen} pictures that excite it most, best first, with the activation of the "
            f"first and the last; {describe_field(found.field)}; light grey lies outside the picture"
        ),
        subtitle=model.path.name,
        tile_size=width,
        margin=10,
        caption_lines=1,
    )
    made_by = Provenance(
        model.digest, layer=found.layer.name, method="most exciting patches", settings={"pictures": found.seen}
    )
    return save_png(sheet, path, made_by.png_info(), level=6)
