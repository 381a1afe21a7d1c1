"""The walk through all layers of a run of filters: a page and a picture, first layer to last. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from inspector.model import Model
from inspector.pages.html import write_page
from inspector.pages.sheets import COLUMNS, describe_field, draw_mosaic, load_picture
from inspector.provenance import Provenance
from inspector.render.png import save_png
from inspector.render.sheet import draw_sheet

if TYPE_CHECKING:
    from inspector.ascent import FilterOptions
    from inspector.pages.filter_sheet import FilterSheet

_WALK_TILE, _WALK_SHOWN = 56, 64


def write_walk(
    folder: Path, model: Model, sheets: Sequence[FilterSheet], options: FilterOptions, made_by: Provenance
) -> tuple[Path, Path | None]:
    """``filters.html`` and ``filters.png``: all layers side by side, first to last."""
    recipe = options.recipe
    depth = {layer.name: k for k, layer in enumerate(model.layers)}
    sheets = sorted(sheets, key=lambda sheet: depth.get(sheet.layer.name, len(depth)))
    panels: list[Image.Image | None] = []
    captions = []
    for sheet in sheets:
        shown = sheet.pictures[:_WALK_SHOWN]
        if not shown:
            continue
        tiles = [None if p.stuck else load_picture(p.image) for p in shown]
        columns = min(COLUMNS, max(1, math.ceil(math.sqrt(len(tiles)))))
        panels.append(draw_mosaic(tiles, _WALK_TILE, columns, 3))
        captions.append(f"{sheet.layer.name}: {describe_field(sheet.field)}")
    walk = None
    if panels:
        drawn = draw_sheet(
            panels,
            captions,
            columns=len(panels) if len(panels) <= 5 else 4,
            title="From first to last: what the channels of each layer respond to",
            subtitle=f"{model.path.name}, recipe {recipe.name}, {recipe.steps} steps",
            tile_size=max(p.width for p in panels if p is not None),
            margin=18,
            caption_lines=3,
        )
        walk = save_png(drawn, folder / "filters.png", made_by.png_info(), level=6)
    page = write_page(
        folder / "filters.html",
        "filters",
        made_by,
        model=model.path.name,
        sentence=options.objective.sentence(),
        recipe=recipe.name,
        steps=recipe.steps,
        layers=[_page_layer(folder, sheet) for sheet in sheets if sheet.grid is not None],
    )
    return page, walk


def _page_layer(folder: Path, sheet: FilterSheet) -> dict[str, str]:
    """What the walk's page says of one layer."""
    assert sheet.grid is not None
    stuck = sum(p.stuck for p in sheet.pictures)
    words = f"{len(sheet.pictures)} channels; {describe_field(sheet.field)}" + (f"; {stuck} stuck" if stuck else "")
    return {"name": sheet.layer.name, "words": words, "grid": sheet.grid.relative_to(folder).as_posix()}
