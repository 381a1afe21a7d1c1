"""What a map of a segmenter explains: the scores of a class, summed over an area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspector.cam.faithfulness import Region
from inspector.cam.target import CamClass, Explained, Target
from inspector.errors import NotComputable
from inspector.graph import attributes, operator_of
from inspector.image import Box
from inspector.model import Model
from inspector.records import record
from inspector.tasks.decoder import MapDecoder

_LONGEST_TAIL = 8
USUAL_AREAS = 5
"""Classes that are explained where none are named, those of the largest share first."""


@record
class AreaExplained(Explained):
    """The scores of classes at every place of a segmenter.

    Attributes:
        channels_last: The classes lie on the last axis of the tensor.
        region: The area that is explained; None takes the pixels of the class itself.
    """

    channels_last: bool = False
    region: Region | None = None


def labels_pixels(model: Model) -> bool:
    """Whether a model gives a class for every pixel."""
    return isinstance(model.decoder, MapDecoder)


def find_areas(model: Model, region: Region | None = None) -> AreaExplained:
    """The scores of a segmenter's classes, before the softmax and before the choice of the largest.

    Raises:
        NotComputable: The graph gives nothing but the classes, chosen in a way that is not known.
    """
    decoder = model.decoder
    assert isinstance(decoder, MapDecoder)
    name, last, chosen = decoder.outputs[0], decoder.channels_last, decoder.activation != "indices"
    for _ in range(_LONGEST_TAIL):
        index = model.graph.producer_of.get(name)
        if index is None:
            break
        node = model.graph.nodes[index]
        row = operator_of(node)
        if row.positions and row.ranks and not chosen:
            chosen, last = True, int(attributes(node).get("axis", 0)) in (3, -1)
        elif not row.ending and not (row.passes and not chosen):
            break
        name = node.input[0]
    if not chosen:
        raise NotComputable(
            f"{model.path} gives classes without scores: what speaks for one is not to be seen",
            "name a tensor of scores with --output NAME:CLASS (in Python output=)",
        )
    return AreaExplained(name, None, False, last, region)


# Wide: the scores of one picture, and where they lie on it.
def choose_areas(
    model: Model,
    explained: AreaExplained,
    values: NDArray[np.floating],
    classes: Sequence[str | int],
    top: int,
    box: Box,
    size: tuple[int, int],
) -> list[Target]:
    """The classes that are explained on one picture, each over the area where it is the likeliest, or over the region.

    Seg-Grad-CAM: Vinogradova, Dibrov, Myers, 2020 (arXiv:2002.11434), equation 1: the sum of the class's scores over a
    set of pixels.

    Args:
        model: The model.
        explained: What is explained.
        values: The scores, (1, K, h, w), or (1, h, w, K).
        classes: Labels or indices; none takes those with the largest share.
        top: How many classes, where none are named.
        box: The part of the picture that the scores lie on.
        size: (width, height) of the picture.
    """
    if values.ndim != 4:
        raise NotComputable(f"the scores of pixels {explained.tensor!r} have the shape {values.shape}, and not 4 axes")
    scores = np.moveaxis(values[0], -1, 0) if explained.channels_last else values[0]
    count, height, width = scores.shape
    x, y = np.meshgrid(
        box[0] + (np.arange(width) + 0.5) / width * (box[2] - box[0]),
        box[1] + (np.arange(height) + 0.5) / height * (box[3] - box[1]),
    )
    seen = (explained.region or Region()).holds(x, y, size)
    best = (
        (scores[0] > find_middle(model)).astype(np.int64)
        if count == 1
        else np.nan_to_num(scores, nan=-np.inf).argmax(0)
    )
    many = np.bincount(best[seen], minlength=max(count, 2))
    named = [model.find_class(name) for name in classes]
    order = np.argsort(-many, kind="stable")
    targets = []
    for index in named or [int(i) for i in order[:top] if many[i]]:
        channel, sign = (0, 1 if index else -1) if count == 1 else (index, 1)
        if not 0 <= index < max(count, 2):
            raise NotComputable(f"there is no class {index}: the network knows {max(count, 2)}")
        area = seen if explained.region is not None else seen & (best == index)
        weights = np.zeros(scores.shape, np.float32)
        weights[channel] = area
        flat = np.moveaxis(weights, 0, -1) if explained.channels_last else weights
        score = sign * float((scores[channel] * area).sum(dtype=np.float64))
        about = CamClass(index, model.label(index), None, score)
        targets.append(Target(about, range(weights.size), sign, np.ascontiguousarray(flat).reshape(-1)))
    return targets


def find_middle(model: Model) -> float:
    """The score of a foreground from which on it is one: of a probability or of what a sigmoid makes one."""
    decoder = model.decoder
    assert isinstance(decoder, MapDecoder)
    row = model.graph.producer_of.get(decoder.outputs[0])
    ends = row is not None and bool(operator_of(model.graph.nodes[row]).ending)
    return 0.5 if decoder.activation == "none" and not ends else 0.0
