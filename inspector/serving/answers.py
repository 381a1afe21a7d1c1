"""What the network answers about one frame, from one input tensor: as a page is told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import NotComputable
from inspector.model import Model
from inspector.model.attached import predict_attached
from inspector.model.probabilities import ClassRows
from inspector.tasks.answers import Detections
from inspector.tasks.back import segment_picture, take_back
from inspector.tasks.decoder import BoxDecoder, MapDecoder, PictureDecoder

TOP = 5
"""Classes that are told of each frame."""

_LEAST_SHARE = 0.001
_LABELS = 256 - 1
"""Classes that a mask of one byte a pixel can tell apart; 255 is what the network did not see."""


@dataclass(frozen=True, eq=False)
class FrameAnswer:
    """What a network answers about one frame.

    Attributes:
        about: For the page: ``top``, ``boxes`` or ``segments``, each with ``index``, ``label`` and what is known of it.
        best: The class that stands first; None where there is none.
        confidence: How sure the network is, in [0, 1]: the probability of the first class, the score of the best box,
            the mean probability of the pixels' classes; None where the task has no such number, or nothing was found.
        plane: uint8 (h, w) over the whole picture: the class of each pixel of a segmenter, 255 where none is known, or
            the picture that a network makes, in greys; None for other tasks.
        unscaled: The confidence by the scores as they are, where the file's own calibrated probabilities are told.
    """

    about: Mapping[str, Any]
    best: int | None = None
    confidence: float | None = None
    plane: NDArray[np.uint8] | None = field(default=None, repr=False)
    unscaled: float | None = None


def answer_frame(
    model: Model,
    tensor: NDArray[Any],
    classes: ClassRows | None,
    size: tuple[int, int],
    small: tuple[int, int],
) -> FrameAnswer:
    """Say what a network answers about one frame.

    Args:
        model: The model.
        tensor: The input tensor.
        classes: What the run says of a classifier's classes.
        size: (width, height) of the frame.
        small: (width, height) of what the page shows of it, which masks are made for.

    Returns:
        The answer; an empty one where the task is not known, or is none that can be watched.
    """
    if classes is not None:
        return _tell_classes(model, tensor, classes)
    decoder = model.decoder
    if isinstance(decoder, BoxDecoder):
        sides = tensor.shape[1:3] if model.preprocess.layout == "NHWC" else tensor.shape[2:4]
        found = decoder.find(model.run(tensor, decoder.outputs), (int(sides[0]), int(sides[1])), decoder.confidence)
        return _tell_boxes(model, take_back(replace(found, masks=None), model.preprocess, size))
    if isinstance(decoder, MapDecoder):
        return _tell_segments(model, decoder, tensor, size, small)
    if isinstance(decoder, PictureDecoder):
        values = model.run(tensor, decoder.outputs)
        with decoder.guard(values):
            plane = decoder.planes(values)[0]
        low, high = float(np.nanmin(plane)), float(np.nanmax(plane))
        grey = np.nan_to_num((plane - low) * (255 / (high - low) if high > low else 0.0))
        return FrameAnswer({"picture": {"low": low, "high": high}}, plane=np.rint(grey).astype(np.uint8))
    return FrameAnswer({})


def _tell_classes(model: Model, tensor: NDArray[Any], classes: ClassRows) -> FrameAnswer:
    top, unscaled = model.top(classes, TOP), None
    said: dict[str, Any] = {}
    if top and model.attached is not None:
        own = float(top[0].probability)
        top, said = predict_attached(model, tensor, TOP)
        unscaled = own if "probability" in said else None
    told = [{"index": p.index, "label": p.label, "probability": p.probability} for p in top]
    about = {"top": told, **({"attached": said} if said else {})}
    return FrameAnswer(about, top[0].index, float(top[0].probability), unscaled=unscaled) if top else FrameAnswer(about)


def _tell_boxes(model: Model, found: Detections) -> FrameAnswer:
    boxes = [
        {
            "index": one.index,
            "label": model.label(one.index),
            "score": float(one.score),
            "box": [float(side) for side in one.box],
            "corners": None if one.corners is None else one.corners.tolist(),
            "keypoints": None if one.keypoints is None else one.keypoints.tolist(),
        }
        for one in found
    ]
    first = found[0] if len(found) else None
    return FrameAnswer(
        {"boxes": boxes}, first.index if first is not None else None, float(first.score) if first is not None else None
    )


def _tell_segments(
    model: Model, decoder: MapDecoder, tensor: NDArray[Any], size: tuple[int, int], small: tuple[int, int]
) -> FrameAnswer:
    """Of the size that is shown, where the input has a size of its own: a mask of a large frame takes long."""
    values = model.run(tensor, decoder.outputs)
    fixed = model.preprocess.frame(size) == model.preprocess.frame(small)
    with decoder.guard(values):
        found = segment_picture(decoder, decoder.maps(values), model.preprocess, small if fixed else size)
    known = found.classes >= 0
    counts = np.bincount(found.classes[known], minlength=1)
    total = max(1, int(counts.sum()))
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k] / total >= _LEAST_SHARE]
    told = [{"index": k, "label": model.label(k), "share": float(counts[k] / total)} for k in order]
    sure = None if found.confidence is None or not known.any() else float(found.confidence[known].mean())
    plane = np.where(known & (found.classes < _LABELS), found.classes, _LABELS).astype(np.uint8)
    return FrameAnswer({"segments": told}, order[0] if order else None, sure, plane)


def choose_best(model: Model, answer: FrameAnswer) -> int:
    """The class whose map is shown where the likeliest is asked for.

    Raises:
        NotComputable: Nothing was found on the frame, or the model has no classes.
    """
    if answer.best is None:
        raise NotComputable("nothing was found on this frame" if model.classes else f"{model.path} has no classes")
    return answer.best
