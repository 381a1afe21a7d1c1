"""The layer whose channels are the scores of classes, of a classifier, a detector or a segmenter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inspector.cam.areas import find_areas, labels_pixels
from inspector.cam.ways import Ways
from inspector.errors import NotComputable
from inspector.layers import Layer
from inspector.model import Model
from inspector.tasks.answers import Element
from inspector.tasks.decoder import BoxDecoder


def find_class_channels(model: Model, classes: Sequence[str | int]) -> tuple[Layer, list[int]]:
    """Find what the network says of classes as channels of a layer, for what asks a layer.

    Of a detector these are the maps of scores, before the sigmoid, that the head makes at its middle scale.

    Args:
        model: The model.
        classes: Labels or indices.

    Returns:
        The layer, and the channel of each class.

    Raises:
        NotComputable: The model has no scores of classes.
        ClassNotFound: There is no such class.
    """
    numbers = [model.find_class(name) for name in classes]
    first, kind = 0, "linear"
    if isinstance(model.decoder, BoxDecoder):
        (tensor, first), kind = _find_box_scores(model, model.decoder), "conv"
    elif labels_pixels(model):
        tensor, kind = find_areas(model).tensor, "conv"
    elif model.classifier is not None:
        tensor = model.classifier.scores
    else:
        raise NotComputable(
            f"{model.path} has no scores of classes", "give --layer and --channels (layers and channels)"
        )
    found = next((layer for layer in model.layers if layer.tensor == tensor), None)
    if found is None:
        shape = (None, model.classes) if kind == "linear" else (None, None, None, None)
        found = Layer("scores", tensor, kind, shape, tensor in model.graph.outputs)
    return found, [first + number for number in numbers]


def _find_box_scores(model: Model, decoder: BoxDecoder) -> tuple[str, int]:
    """(the tensor with the scores of the middle scale, the channel of class 0)."""
    height, width = model.preprocess.size or (640, 640)
    sides = (height, width, model.input.channels) if model.input.layout == "NHWC" else (
        model.input.channels, height, width
    )  # fmt: skip
    tensor = np.zeros((model.input.batch or 1, *sides), model.input.dtype)
    ways = Ways(model)
    values = ways.run(tensor, decoder.outputs)
    found = decoder.decode({name: values.known[name] for name in decoder.outputs}, (height, width))
    if not len(found) or found.places is None:
        raise NotComputable(
            f"{model.path} has no layer of class scores that could be found", "give --layer and --channels"
        )
    element = Element(found.tensor, tuple(int(i) for i in found.places[0]))
    [origin] = ways.learn([element], values)
    ends = sorted(ways.others, key=lambda name: int(np.prod((values.find_shape(name) or (0,))[2:])))
    return ends[len(ends) // 2], origin.place[1] - int(found.classes[0])
