"""What a file says of a frame itself: the outputs that `inspector attach` added, in the run that is made anyway."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.cam import finds_boxes
from inspector.cam.target import CamClass
from inspector.metadata import AttachedEntry
from inspector.model import Model

_SIDE = 96
"""Most rows and columns of a map of the gradient."""


@dataclass(frozen=True, eq=False)
class FileMap:
    """A map as the file itself gives it: a class activation map, or the size of the gradient of the top score.

    Attributes:
        target: The class explained.
        method: Its method; of a gradient its kind.
        layer: The layer that it looks at; empty for the map of a box, which looks at one layer of each scale, and for
            the gradient.
        heatmap: float32 (h, w) in [0, 1].
        attached: The name of the output.
        saliency: It is the size of the gradient.
    """

    target: CamClass
    method: str
    layer: str
    heatmap: NDArray[np.float32] = field(repr=False)
    attached: str
    saliency: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing speaks for the class."""
        return not self.heatmap.any()


def choose_entries(model: Model, method: str | None = None) -> dict[str, AttachedEntry]:
    """The attached outputs that are used while frames are watched.

    Args:
        model: The model.
        method: The class activation maps that were asked for; None takes those of the file.

    Returns:
        What an output says -> the output. It is empty where the file has none.
    """
    if model.attached is None:
        return {}
    wanted = ["probability", "unknown", "cam_classes", "saliency"] if model.classifier is not None else []
    if model.classifier is not None or finds_boxes(model):
        wanted.append("cam")
    return {
        entry.meaning: entry
        for entry in model.attached.entries
        if entry.meaning in wanted and (method is None or entry.settings.get("method") in (None, method))
    }


def read_map(
    model: Model, entries: dict[str, AttachedEntry], tensor: NDArray[Any], target: CamClass, best: bool
) -> FileMap | None:
    """The map of a class as the file gives it; None where it does not.

    Args:
        model: The model; its attached outputs are computed.
        entries: Those that are used.
        tensor: The input of one picture.
        target: The class.
        best: It is the one that the network answers first.
    """
    entry = entries.get("cam") if best else None
    row: tuple[int, ...] = (0,)
    if entry is None:
        entry, row = entries.get("cam_classes"), (0, target.index)
    if entry is None or model.attached is None:
        return None
    found = model.attached.run(model.input.name, tensor, [entry.name], model.input.batch)[entry.name]
    heatmap = np.asarray(found[row], np.float32)
    return FileMap(target, entry.settings["method"], entry.settings.get("layer", ""), heatmap, entry.name)


def read_saliency(
    model: Model, entries: dict[str, AttachedEntry], tensor: NDArray[Any], target: CamClass
) -> FileMap | None:
    """How much each pixel moves the top score, as the file gives it; None where it does not.

    The largest magnitude of the channels of a pixel (Simonyan, Vedaldi, Zisserman 2014, section 3.1), as a share of the
    largest of all pixels; of several pixels that fall on one of the map the largest.

    Args:
        model: The model; its attached outputs are computed.
        entries: Those that are used.
        tensor: The input of one picture.
        target: The top class.
    """
    entry = entries.get("saliency")
    if entry is None or model.attached is None:
        return None
    found = model.attached.run(model.input.name, tensor, [entry.name], model.input.batch)[entry.name][0]
    sizes = np.nan_to_num(np.abs(found).max(axis=-1 if model.input.layout == "NHWC" else 0), posinf=0)
    block = -(-max(sizes.shape) // _SIDE)
    rows, columns = (range(0, side, block) for side in sizes.shape)
    small = np.maximum.reduceat(np.maximum.reduceat(sizes, rows, axis=0), columns, axis=1)
    heatmap = np.asarray(small / (small.max() or 1), np.float32)
    return FileMap(target, str(entry.settings.get("kind", "gradient")), "", heatmap, entry.name, saliency=True)
