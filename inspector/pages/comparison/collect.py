"""What the page of a comparison shows, collected and put into one file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inspector.comparing import ComparedSides, LayerDifference, ModelDifference, TuningChange
from inspector.image import ImageSource, digest_image, open_image
from inspector.pages.comparison.changes import draw_changes
from inspector.pages.comparison.flipped import draw_flipped
from inspector.pages.comparison.tiles import MOST_CHANNELS, TilePart, draw_tiles
from inspector.pages.html import write_page
from inspector.pages.report.parts import encode_jpeg
from inspector.pages.report.sprites import SPRITE_LEVELS
from inspector.provenance import Provenance
from inspector.render.colormap import make_color_table
from inspector.text import to_script

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_SHOWN = 3
"""Pictures whose channels are on the page."""
MOST_FLIPPED = 12
"""Pictures that changed their answer which are shown with both maps."""
_BUDGET = 9_000_000
"""Bytes that the channels may take."""
_SIDES = (28, 20, 14, 10, 7)


def write_comparison(
    sides: ComparedSides,
    found: ModelDifference,
    pictures: Sequence[tuple[str, ImageSource]],
    path: Path,
    changes: TuningChange | None = None,
) -> Path:
    """Write one self-contained page about two networks.

    Args:
        sides: The two, after the comparison.
        found: What was found.
        pictures: (name, what `open_image` takes) of each that was compared.
        path: Where to.
        changes: What a fine-tuning changed, where one made B.

    Raises:
        OutputError: The page cannot be written.
    """
    flipped = {x.path for x in found.answers.flipped}
    ordered = sorted(range(len(pictures)), key=lambda k: (pictures[k][0] not in flipped, k))
    shown = [pictures[k] for k in ordered[:MOST_SHOWN]]
    opened = [(name, source, open_image(source)) for name, source in shown]
    parts = _draw(sides, found, [picture for _, _, picture in opened])
    digests = [digest_image(source) for _, source, _ in opened]
    made_by = Provenance(
        sides.a.model.digest,
        digests[0] if len(digests) == 1 else "",
        settings={"b": sides.b.model.digest, "levels": SPRITE_LEVELS, "images": digests},
    )
    document = {
        "version": made_by.version,
        "a": _describe(sides, found, "a"),
        "b": _describe(sides, found, "b"),
        "rows": _list_rows(sides, found),
        "layers": [{**row.to_json(), "tiles": [part[i].entry for part in parts]} for i, row in enumerate(found.layers)],
        "parted": None if found.parted is None else found.layers.index(found.parted),
        "answers": found.answers.to_json(),
        "pictures": found.pictures,
        "images": [{"name": Path(name).name, "picture": encode_jpeg(picture, 240, 85)} for name, _, picture in opened],
        "flipped": draw_flipped(sides, found, dict(pictures), MOST_FLIPPED),
        "levels": SPRITE_LEVELS,
        "most": MOST_CHANNELS,
        "notes": list(found.notes),
        "changes": None if changes is None else draw_changes(sides, changes, dict(pictures)),
    }
    tables = {x: base64.b64encode(make_color_table(x).tobytes()).decode() for x in ("viridis", "diverging")}
    write_page(
        path,
        "comparison",
        made_by,
        document=document,
        verdict=_word_verdict(found, changes is not None),
        data=to_script({**document, "colormaps": tables}),
        sprites=[[part.sprites for part in row] for row in parts],
    )
    return path


def _draw(sides: ComparedSides, found: ModelDifference, pictures: Sequence[Image]) -> list[list[TilePart]]:
    """The channels of every pair on every picture, as large as the page can hold."""
    elements = [
        min(row.a_shape[1] if len(row.a_shape) > 1 else 1, MOST_CHANNELS) * int(np.prod(row.a_shape[2:4]))
        for row in found.layers
    ]
    side = _SIDES[-1]
    for side in _SIDES:
        kept = [min(n, MOST_CHANNELS * side * side) for n in elements]
        # Three maps an element, of which a PNG takes half a byte each and base64 a third more.
        if sum(kept) * 3 * 0.7 * len(pictures) <= _BUDGET:
            break
    parts: list[list[TilePart]] = []
    for picture in pictures:
        made: dict[int, TilePart] = {}

        def take(i: int, a: Any, b: Any, made: dict[int, TilePart] = made) -> None:
            made[i] = draw_tiles(sides.pairs[i].match.a, a, b, found.layers[i].channels_db, side)

        sides.show(picture, take)
        parts.append([made[i] for i in range(len(found.layers))])
    return parts


def _describe(sides: ComparedSides, found: ModelDifference, which: str) -> dict[str, Any]:
    side = sides.a if which == "a" else sides.b
    return {
        "name": found.a_name if which == "a" else found.b_name,
        "digest": side.model.digest,
        "layers": len(side.layers),
        "parameters": side.model.graph.parameters,
    }


def _list_rows(sides: ComparedSides, found: ModelDifference) -> list[dict[str, Any]]:
    """The two columns from the first layer down: places of pairs, and between them what is only in one."""
    by_a = {row.layer: i for i, row in enumerate(found.layers)}
    places = {row.b_layer: i for i, row in enumerate(found.layers)}
    before: dict[int, list[str]] = {}
    last = -1
    for layer in sides.b.layers:
        if layer.name in places:
            last = places[layer.name]
        else:
            before.setdefault(last, []).append(layer.name)
    rows: list[dict[str, Any]] = [{"b": name} for name in before.get(-1, [])]
    for layer in sides.a.layers:
        if layer.name in by_a:
            rows.append({"pair": by_a[layer.name]})
            rows += [{"b": name} for name in before.get(by_a[layer.name], [])]
        else:
            rows.append({"a": layer.name})
    return rows


def _word_verdict(found: ModelDifference, tuned: bool) -> str:
    row: LayerDifference | None = found.parted
    many = f"{found.pictures} picture{'s' * (found.pictures != 1)}"
    if row is None:
        return f"On {many} they do not part: rounding explains every difference."
    if tuned:
        return f"On {many} they are one up to {row.layer}: what was trained begins there."
    if row.note:
        return f"On {many} they part at {row.layer}, which {row.note}."
    return f"On {many} they part at {row.layer}: what begins there is {row.excess:.3g} times what rounding explains."
