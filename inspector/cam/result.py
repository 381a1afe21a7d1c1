"""What a map is given back as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.resize import enlarge
from inspector.cam.target import CamClass
from inspector.image import Box
from inspector.records import record
from inspector.tasks.answers import Detection

if TYPE_CHECKING:
    from PIL.Image import Image

NOISE = 4 * float(np.finfo(np.float32).eps)
"""Positive evidence below this share of the largest value of either sign is rounding."""


@record(eq=False)
class CamResult:
    """One class activation map of one picture.

    Args:
        target: The class explained.
        method: Its name in METHODS.
        layer: Name of the layer; several are joined by " + ".
        layers: Names of the layers.
        backend: "onnx" (onnxruntime and numpy alone) or "twin" (a gradient by torch).
        raw: Float32 (h, w), before ReLU and scaling, evidence against the class negative. Of several layers: each
            divided by its own largest value (by its largest magnitude when it has no positive evidence), enlarged to
            the largest of them, averaged.
        heatmap: Float32 (h, w) in [0, 1]: max(raw, 0) / max(raw), so that zero stays "no evidence" and the peak is 1.
            (grad-cam stretches from the minimum instead, so that the least evidence there always becomes 0.)
        empty: There is no positive evidence beyond the rounding of what went into the map; the heatmap is 0
            everywhere.
        peak: (x, y), the picture's pixel under the centre of the heatmap's highest cell; of an empty map the cell with
            the least evidence against.
        box: (left, top, right, bottom), the part of the picture in its pixels that the map lies on.
        size: (width, height) of the picture in pixels.
        reason: Why this layer, and where the gradient came from, in a few words.
        picture: The picture, for a notebook.
        found: The object that the map is of, on a detector; its heatmap is of the input's size.
        number: Of that object in the order of `Model.detect`.
        energy_inside: The share of the heatmap that lies inside its box, in [0, 1]; None for a map that is empty.
        attached: The output of the file that the heatmap was taken from; None where it was computed here.
        said: What other attached outputs of the file say of the picture: under ``probability`` the name of the output
            that the probability was taken from, under ``unknown`` an output, its value, threshold and alarm.
    """

    target: CamClass
    method: str
    layer: str
    layers: tuple[str, ...]
    backend: Literal["onnx", "twin"]
    raw: NDArray[np.float32] = field(repr=False)
    heatmap: NDArray[np.float32] = field(repr=False)
    empty: bool
    peak: tuple[int, int]
    box: Box
    size: tuple[int, int]
    reason: str
    picture: Image | None = field(default=None, repr=False)
    found: Detection | None = None
    number: int | None = None
    energy_inside: float | None = None
    attached: str | None = None
    said: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def _repr_png_(self) -> bytes | None:
        """The map over its picture, for a notebook; nothing for a map of an input tensor."""
        if self.picture is None:
            return None
        from inspector.cam.methods import find_method
        from inspector.notebook import to_png
        from inspector.render.cam import draw_cam

        return to_png(
            draw_cam(
                self.picture,
                self.heatmap,
                label=self.target.label,
                probability=self.target.probability,
                layer=self.layer,
                method=self.method,
                backend=self.backend,
                box=self.box,
                empty=self.empty,
                class_independent=find_method(self.method).class_independent,
                found=self.found.box if self.found is not None else None,
                inside=self.energy_inside,
            )
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the map."""
        h, w = self.raw.shape
        return (h, w)

    def enlarge(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """The heatmap as float32 (H, W) in [0, 1] for size (H, W), bilinear, over the extent of `box`."""
        return np.clip(enlarge(self.heatmap, size), 0, 1)


def scale_map(raw: NDArray[Any], noise: float = 0.0) -> tuple[NDArray[np.float32], bool]:
    """(max(raw, 0) / max(raw), False), or (zeros, True) when there is no positive evidence.

    No number is added to the divisor: maps of the smallest gradients keep their shape. Values up to `noise` are none.
    """
    values = np.asarray(raw, np.float64)
    high = float(values.max(initial=-np.inf))
    reach = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(reach) or high <= max(NOISE * reach, noise, 0):
        return np.zeros(values.shape, np.float32), True
    return (np.maximum(values, 0) / high).astype(np.float32), False


def fuse_maps(
    maps: Sequence[NDArray[np.float32]], noises: Sequence[float] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
    """(raw, heatmap, empty) of the maps of several layers; see :class:`CamResult`.

    Args:
        maps: Of one picture and one class, from several layers.
        noises: For each map the magnitude up to which its values are rounding.
    """
    noises = [0.0] * len(maps) if noises is None else noises
    if len(maps) == 1:
        return (maps[0], *scale_map(maps[0], noises[0]))
    size = (max(m.shape[0] for m in maps), max(m.shape[1] for m in maps))
    raws, heatmaps = [], []
    for raw, noise in zip(maps, noises, strict=True):
        heatmap, empty = scale_map(raw, noise)
        unit = float(np.abs(raw).max() if empty else raw.max())
        raws.append(enlarge(raw / unit if unit else raw, size))
        heatmaps.append(enlarge(heatmap, size))
    heatmap, empty = scale_map(np.mean(heatmaps, axis=0))
    return np.mean(raws, axis=0, dtype=np.float32), heatmap, empty


def find_peak(
    raw: NDArray[np.float32], heatmap: NDArray[np.float32], box: Box, size: tuple[int, int]
) -> tuple[int, int]:
    """The pixel (x, y) of a picture of `size` (width, height) under the centre of the highest cell.

    Bilinear enlargement with samples at the centres of cells has its maximum there.
    """
    scores = np.nan_to_num(raw, nan=-np.inf) if not heatmap.any() else heatmap
    row, column = divmod(int(scores.argmax()), raw.shape[1])
    x = box[0] + (column + 0.5) / raw.shape[1] * (box[2] - box[0])
    y = box[1] + (row + 0.5) / raw.shape[0] * (box[3] - box[1])
    return (min(max(int(x), 0), size[0] - 1), min(max(int(y), 0), size[1] - 1))
