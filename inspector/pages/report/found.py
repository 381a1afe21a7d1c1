"""What a detector or a segmenter finds on a picture, as the page draws it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspector.errors import ModelError
from inspector.model import Model

_Outputs = Mapping[str, NDArray[Any]]
_MOST = 250
"""Classes that a mask on the page can tell apart: it has a byte for each pixel, and 255 where there is none."""


def list_boxes(
    model: Model, outputs: _Outputs, sides: tuple[int, int], size: tuple[int, int]
) -> list[dict[str, Any]] | None:
    """All objects found, the best first; None where the model is no detector, or its head cannot tell.

    Args:
        model: The model.
        outputs: What a run gave.
        sides: (H, W) of the network's input.
        size: (width, height) of the picture.
    """
    if model.task not in ("detect", "pose") or not outputs:
        return None
    try:
        found = model.read_objects(outputs, sides, size)
    except ModelError as error:
        # A head that fails is no reason to withhold the layers before it.
        model.warn(f"no boxes: {error.message}")
        return None
    return [
        {
            "label": model.label(one.index),
            "score": round(one.score, 4),
            "box": [round(side, 2) for side in one.box],
            "corners": None if one.corners is None else np.round(one.corners.astype(float), 2).tolist(),
        }
        for one in found
    ]


def list_segments(model: Model, outputs: _Outputs, size: tuple[int, int], side: int) -> dict[str, Any] | None:
    """The class of each pixel at most `side` pixels a side, and what the classes are; None for another model.

    `mask` is a grey PNG, whose values are places in `classes`, the largest first, and 255 where there is no class.
    """
    if model.task != "segment" or not outputs:
        return None
    from inspector.render.figure import fit_size
    from inspector.render.objects import choose_color

    try:
        found = model.read_segments(outputs, size)
    except ModelError as error:
        model.warn(f"no segments: {error.message}")
        return None
    shares = found.shares[:_MOST]
    places = np.full(found.classes.shape, 255, np.uint8)
    for place, (index, _) in enumerate(shares):
        places[found.classes == index] = place
    small = fit_size(size, side) if max(size) > side else size
    # The nearest pixel: a mean of two classes would be a third one.
    mask = Image.fromarray(places).resize(small, Image.Resampling.NEAREST)
    file = io.BytesIO()
    mask.save(file, format="PNG", optimize=True)
    return {
        "mask": base64.b64encode(file.getvalue()).decode(),
        "classes": [
            {"index": index, "label": model.label(index), "share": share, "color": list(choose_color(index))}
            for index, share in shares
        ],
    }
