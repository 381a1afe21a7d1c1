"""One map and what is known of it, put together: the same for classes, boxes and areas."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.place import measure_inside
from inspector.cam.result import CamResult, find_peak
from inspector.cam.target import CamClass
from inspector.image import Box
from inspector.records import record
from inspector.tasks.answers import Detection

ScaledMap = tuple[NDArray[np.float32], NDArray[np.float32], bool]
"""(raw, heatmap, empty); see :class:`CamResult`."""


@record
class MapMaker:
    """How a map was made.

    Attributes:
        method: Name of the method.
        layers: Names of the layers looked at.
        backend: Where gradients came from.
        reason: Why these layers, and where the gradients came from, in a few words.
    """

    method: str
    layers: tuple[str, ...]
    backend: Literal["onnx", "twin"]
    reason: str


# Wide: what is explained, how, the map, and where it lies; the object and its number by name.
def make_result(
    target: CamClass,
    maker: MapMaker,
    scaled: ScaledMap,
    box: Box,
    size: tuple[int, int],
    *,
    found: Detection | None = None,
    number: int | None = None,
) -> CamResult:
    """Put a map together.

    Args:
        target: What is explained.
        maker: How the map was made.
        scaled: The map.
        box: The part of the picture that it lies on.
        size: (width, height) of the picture.
        found: The object that it is of, on a detector.
        number: Of that object.
    """
    raw, heatmap, empty = scaled
    return CamResult(
        target=target,
        method=maker.method,
        layer=" + ".join(maker.layers),
        layers=maker.layers,
        backend=maker.backend,
        raw=raw,
        heatmap=heatmap,
        empty=empty,
        peak=find_peak(raw, heatmap, box, size),
        box=box,
        size=size,
        reason=maker.reason,
        found=found,
        number=number,
        energy_inside=None if found is None else measure_inside(heatmap, found.box, box),
    )
