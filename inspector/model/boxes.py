"""The boxes of a picture without their masks, for who looks at very many of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from inspector.errors import NotComputable
from inspector.tasks.answers import Detections
from inspector.tasks.back import take_back
from inspector.tasks.decoder import BoxDecoder

if TYPE_CHECKING:
    from PIL.Image import Image

    from inspector.model.model import Model


def find_boxes(model: Model, picture: Image, confidence: float, tensor: NDArray[Any] | None = None) -> Detections:
    """Find the boxes on one picture; masks are not computed.

    Args:
        model: A detector.
        picture: Upright, RGB.
        confidence: Smallest score.
        tensor: The network's input for this picture, where it is at hand.

    Raises:
        NotComputable: The model finds no objects.
    """
    decoder = model.decoder
    if not isinstance(decoder, BoxDecoder):
        raise NotComputable(f"{model.path} detects no objects")
    given = model.tensor(picture) if tensor is None else tensor
    size = given.shape[1:3] if model.preprocess.layout == "NHWC" else given.shape[2:4]
    found = decoder.find(model.run(given, decoder.outputs), (int(size[0]), int(size[1])), confidence)
    return take_back(replace(found, masks=None, keypoints=None, rotated=None), model.preprocess, picture.size)
