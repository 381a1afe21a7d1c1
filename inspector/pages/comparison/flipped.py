"""The pictures that two networks answer otherwise, each with the map of either's class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.comparing import ComparedSides, ModelDifference
from inspector.errors import InspectorError
from inspector.image import ImageSource, open_image
from inspector.model import Model
from inspector.pages.report.parts import encode_jpeg
from inspector.render.cam import draw_overlay

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 320


def draw_flipped(
    sides: ComparedSides, found: ModelDifference, pictures: Mapping[str, ImageSource], most: int
) -> list[dict[str, Any]]:
    """Draw the first `most` pictures that changed their answer.

    Args:
        sides: The two networks.
        found: What was found.
        pictures: Name -> what `open_image` takes.
        most: How many are drawn.
    """
    made = []
    for flip in found.answers.flipped[:most]:
        picture = open_image(pictures[flip.path])
        maps = [
            _draw_map(side.model, picture, index) for side, index in ((sides.a, flip.a_class), (sides.b, flip.b_class))
        ]
        made.append({"name": Path(flip.path).name, "a": flip.a, "b": flip.b, "maps": maps})
    return made


def _draw_map(model: Model, picture: Image, index: int | None) -> dict[str, str]:
    """The map of a class over the picture, and what it is; the bare picture with a reason where there is none."""
    from inspector.cam import class_activation_maps

    plain = encode_jpeg(picture, _SIDE, 82)
    if index is None:
        return {"picture": plain, "told": "no classes"}
    try:
        [result] = class_activation_maps(model, picture, classes=[index])
    except InspectorError as error:
        return {"picture": plain, "told": error.message}
    drawn = draw_overlay(picture, result.heatmap, result.box)
    told = f"{result.method} at {result.layer}" + (", no positive evidence" if result.empty else "")
    return {"picture": encode_jpeg(drawn, _SIDE, 82), "told": told}
