"""The boxes of a picture without their masks, for who looks at very many of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import NotComputable
from inspector.tasks.answers import Detection, Detections
from inspector.tasks.back import take_back
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import BoxDecoder

if TYPE_CHECKING:
    from PIL.Image import Image

    from inspector.model.model import Model


def find_boxes(
    model: Model,
    picture: Image,
    confidence: float,
    tensor: NDArray[Any] | None = None,
    values: Mapping[str, NDArray[Any]] | None = None,
) -> Detections:
    """Find the boxes on one picture; masks are not computed.

    Args:
        model: A detector.
        picture: Upright, RGB.
        confidence: Smallest score.
        tensor: The network's input for this picture, where it is at hand.
        values: What a run on it gave, by output, where it was made already.

    Raises:
        NotComputable: The model finds no objects.
    """
    found, _ = _find(model, picture, confidence, tensor, values)
    return take_back(replace(found, masks=None), model.preprocess, picture.size)


def find_masked(
    model: Model,
    picture: Image,
    confidence: float,
    tensor: NDArray[Any] | None = None,
    values: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[Detection] | None:
    """Find the objects on one picture with their masks, one after the other, so that one mask is held at a time.

    The arguments are those of :func:`find_boxes`; None for a head without masks.
    """
    found, masked = _find(model, picture, confidence, tensor, values)
    if not masked:
        return None
    each = (found.pick(np.array([at])) for at in range(len(found)))
    return (one for single in each for one in take_back(single, model.preprocess, picture.size))


def _find(
    model: Model,
    picture: Image,
    confidence: float,
    tensor: NDArray[Any] | None,
    values: Mapping[str, NDArray[Any]] | None,
) -> tuple[Candidates, bool]:
    """(what is found, whether it has masks)."""
    decoder = model.decoder
    if not isinstance(decoder, BoxDecoder):
        raise NotComputable(f"{model.path} detects no objects")
    given = model.tensor(picture) if tensor is None else tensor
    known = model.run(given, decoder.outputs) if values is None else values
    found = replace(decoder.find(known, model.sides(given), confidence), keypoints=None, rotated=None)
    return found, found.masks is not None
