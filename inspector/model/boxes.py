"""The boxes of a picture without their masks, for who looks at very many of them."""

from __future__ import annotations

from collections.abc import Mapping
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


def find_boxes(
    model: Model,
    picture: Image,
    confidence: float,
    tensor: NDArray[Any] | None = None,
    values: Mapping[str, NDArray[Any]] | None = None,
    masks: bool = False,
) -> Detections:
    """Find the boxes on one picture; masks are not computed unless they are asked for.

    Args:
        model: A detector.
        picture: Upright, RGB.
        confidence: Smallest score.
        tensor: The network's input for this picture, where it is at hand.
        values: What a run on it gave, by output, where it was made already.
        masks: Whether the masks are wanted too, of a head that has some.

    Raises:
        NotComputable: The model finds no objects.
    """
    decoder = model.decoder
    if not isinstance(decoder, BoxDecoder):
        raise NotComputable(f"{model.path} detects no objects")
    given = model.tensor(picture) if tensor is None else tensor
    known = model.run(given, decoder.outputs) if values is None else values
    found = replace(decoder.find(known, model.sides(given), confidence), keypoints=None, rotated=None)
    return take_back(found if masks else replace(found, masks=None), model.preprocess, picture.size)
