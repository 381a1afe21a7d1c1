"""The layer whose channels are the scores of classes, of a classifier, a detector or a segmenter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inspector.cam.areas import find_areas, labels_pixels
from inspector.cam.ways import RunValues, Ways
from inspector.errors import NotComputable
from inspector.layers import Layer
from inspector.model import Model
from inspector.tasks.answers import Element
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import BoxDecoder


def find_class_channels(model: Model, classes: Sequence[str | int]) -> tuple[Layer, list[int]]:
    """Find what the network says of classes as channels of a layer, for what asks a layer.

    Of a detector these are the maps of scores, before the sigmoid, that the head makes at its middle scale; of a
    segmenter those that its classes are chosen from.

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
    if model.says_two:
        if 0 in numbers:
            raise NotComputable(
                f"the one score of {model.path} is that of {model.label(1)!r}; {model.label(0)!r} has none of its own",
                "ask for the other class",
            )
        numbers = [0] * len(numbers)
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


def asks_one_place(model: Model) -> bool:
    """Whether the score of a class is asked at one place: on a detector, where each place is for an object of its own.

    A segmenter's class is asked over all places, as the share of it is what the network tells.
    """
    return isinstance(model.decoder, BoxDecoder)


def _find_box_scores(model: Model, decoder: BoxDecoder) -> tuple[str, int]:
    """(the tensor with the scores of the middle scale, the channel of class 0)."""
    height, width = model.preprocess.size or (640, 640)
    sides = (height, width, model.input.channels) if model.input.layout == "NHWC" else (
        model.input.channels, height, width
    )  # fmt: skip
    shape = (model.input.batch or 1, *sides)
    # A graph that suppresses boxes itself may give none on an empty picture, and some on noise.
    noise = np.random.default_rng(0).random(shape) * 255 * model.preprocess.scale
    for tensor in (np.zeros(shape, model.input.dtype), noise.astype(model.input.dtype)):
        ways = Ways(model)
        values = ways.run(tensor, decoder.outputs)
        found = decoder.decode({name: values.known[name] for name in decoder.outputs}, (height, width))
        element, index = _choose_element(found, values)
        if element is not None:
            break
    else:
        raise NotComputable(
            f"{model.path} has no layer of class scores that could be found", "give --layer and --channels"
        )
    try:
        [origin] = ways.learn([element], values)
    except NotComputable as error:
        raise NotComputable(
            f"no layer of maps that could be found holds the scores of classes: {error.message}",
            "give --layer and --channels",
        ) from None
    if len(values.find_shape(origin.tensor) or ()) != 4:
        raise NotComputable(
            f"the scores of classes come from {origin.tensor!r}, whose rows are no places of the picture: "
            "no layer of maps holds them",
            "give --layer and --channels",
        )
    ends = sorted(ways.others, key=lambda name: int(np.prod((values.find_shape(name) or (0,))[2:])))
    return ends[len(ends) // 2], origin.place[1] - index


def _choose_element(found: Candidates, values: RunValues) -> tuple[Element | None, int]:
    """(the score of some class at some place, which class)."""
    if len(found) and found.places is not None:
        first = found.pick(np.array([0])).detections()[0]
        return first.element, first.index
    # Of a map of peaks without a peak the first value is a score as well as any.
    flat = len(values.find_shape(found.tensor) or ()) == 4 if found.tensor else False
    return (Element(found.tensor, (0, 0, 0, 0)) if flat else None), 0
