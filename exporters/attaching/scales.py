"""Where the scores of boxes stand before their sigmoid: one map for each scale, with or without an objectness."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from exporters.attaching.sizes import Lengths
from inspector.cam.attached import HALF_ROUNDING
from inspector.cam.ways import RunValues, Ways
from inspector.errors import NotComputable
from inspector.graph import Graph
from inspector.model import Model, make_picture_shape, to_probabilities
from inspector.reverse import Head, find_head
from inspector.reverse.origin import Origin, trace_origin, trace_others
from inspector.tasks.answers import Element
from inspector.tasks.candidates import Candidates
from inspector.tasks.decoder import BoxDecoder

_NEAR = 1e-4
"""How far the best score may be from the product of both probabilities."""


@dataclass(frozen=True)
class Scale:
    """The scores of the places of one grid.

    Attributes:
        head: The way from the layer to the logits, (N, C, h, w), whose channels are those of one anchor after another.
        first: The channel of class 0 among those of an anchor.
        anchors: Number of boxes at each place.
        sure: (tensor, channel, number of channels) of the logit of the objectness; None where there is none.
    """

    head: Head
    first: int
    anchors: int = 1
    sure: tuple[str, int, int] | None = None


def find_scales(model: Model, graph: Graph) -> tuple[list[Scale], int]:
    """The scores of each scale, and the number of classes.

    Args:
        model: The detector.
        graph: Its graph as it is added to, which the heads are of.

    Raises:
        NotComputable: They are no maps of fixed size.
    """
    decoder = model.decoder
    assert isinstance(decoder, BoxDecoder)
    shape = make_picture_shape(model)
    if model.input.layout != "NCHW":
        raise NotComputable(
            f"{model.path} takes pictures with the channels last, and maps of boxes are written for (N, C, H, W)",
            "export it with the channels first",
        )
    if model.preprocess.size is None:
        raise open_size(model)
    ways = Ways(model)
    values = ways.run(np.zeros(shape, model.input.dtype), decoder.outputs)
    found = decoder.decode({name: values.known[name] for name in decoder.outputs}, (shape[2], shape[3]))
    if not len(found) or found.places is None:
        raise NotComputable(
            f"{model.path} has no scores of boxes that could be found", "look at a layer with inspector cam"
        )
    place, number = [int(i) for i in found.places[0]], int(found.classes[0])
    sure = _find_objectness(decoder, found, values.known[found.tensor].shape)
    if sure is not None:
        place[1] = 0  # the first anchor, of which the same channels are known at all scales
    [origin] = ways.learn([Element(found.tensor, tuple(place))], values)
    scales = [_read_scale(ways, values, end, origin, number) for end in ways.others]
    if sure is not None:
        numbers = values.known[found.tensor].shape[2]
        scales = _add_objectness(ways, values, scales, (found.tensor, sure, numbers))
        _check_product(ways, scales, int(model.classes or 0), (found.tensor, sure, place[2] - number))
    heads = [find_head(graph, one.head.layer, one.head.output) for one in scales]
    return [replace(one, head=head) for one, head in zip(scales, heads, strict=True)], int(model.classes or 0)


def open_size(model: Model) -> NotComputable:
    """The error that a detector takes pictures of any size."""
    return NotComputable(
        f"{model.path} leaves the size of its input open, and the map of a box is enlarged to it by matrices (MatMul) "
        "of fixed size",
        "export it with a fixed size",
    )


def _find_objectness(decoder: BoxDecoder, found: Candidates, shape: Lengths) -> int | None:
    """The number of a place that says how sure it is of an object; None where the scores stand alone."""
    layout = decoder.layout
    if layout is None or layout.sure is None:
        return None
    table, at = layout.sure
    assert found.places is not None
    last = len(shape) == 3 and layout.scores[0] == table and not layout.root
    if not last or any(
        int(p[2]) != layout.scores[1] + int(k) for p, k in zip(found.places, found.classes, strict=True)
    ):
        raise NotComputable(
            f"{found.tensor!r} holds its objectness apart from the scores", "look at it with inspector cam"
        )
    return at


def _read_scale(ways: Ways, values: RunValues, end: str, origin: Origin, number: int) -> Scale:
    model, size, classes = ways.model, values.find_shape(end), int(ways.model.classes or 0)
    first = origin.place[1] - number
    fits = classes > 0 and first >= 0 and origin.sign == 1
    if not fits or size is None or len(size) != 4 or size[1] < first + classes:
        raise NotComputable(f"the scores of {model.path} are no maps of its classes", "look at it with inspector cam")
    if len(ways.heads[end]) != 1:
        raise NotComputable(f"a scale of {model.path} reads several layers", "look at it with inspector cam")
    return Scale(ways.heads[end][0], first)


def _add_objectness(ways: Ways, values: RunValues, scales: list[Scale], table: tuple[str, int, int]) -> list[Scale]:
    """The same scales with anchors and objectness; `table` is (tensor, its number there, how many a place has)."""
    tensor, at, numbers = table
    origin = trace_origin(ways.graph, tensor, (0, 0, at), values.spots())
    ends = [origin, *trace_others(ways.graph, origin, values.spots())]
    made = []
    for scale in scales:
        shape = values.find_shape(scale.head.output) or ()
        # One convolution gives all numbers of all anchors, or one the classes and another the objectness.
        anchors = shape[1] // numbers if shape[1] % numbers == 0 else 1
        near = [one.tensor for one in ends if (values.find_shape(one.tensor) or ())[2:] == shape[2:]]
        channels = (values.find_shape(near[0]) or (0, 0))[1] if len(near) == 1 else 0
        if not channels or channels % anchors or origin.sign != 1:
            raise NotComputable(
                f"the objectness of {ways.model.path} is no map beside the scores", "look at it with inspector cam"
            )
        made.append(replace(scale, anchors=anchors, sure=(near[0], origin.place[1], channels)))
    return made


def _check_product(ways: Ways, scales: list[Scale], classes: int, table: tuple[str, int, int]) -> None:
    """Raise NotComputable where a score is something else than the product of two sigmoids.

    All scores of each class are compared, in the order of their size, on pictures of zeros and of noise.

    Args:
        ways: How to run the network.
        scales: The scores of each scale.
        classes: Number of classes.
        table: (tensor, the number of the objectness, the first of those of classes) of what the boxes are read from.
    """
    model, (tensor, at, first) = ways.model, table
    decoder = model.decoder
    assert isinstance(decoder, BoxDecoder)
    shape, rng = make_picture_shape(model), np.random.default_rng(0)
    near = HALF_ROUNDING if model.graph.half_precision else _NEAR
    for contrast in (0.0, 1.0, 8.0):
        picture = contrast * rng.standard_normal(shape) * (255 * model.preprocess.scale)
        values = ways.run(picture.astype(model.input.dtype), decoder.outputs)
        values.fetch([name for one in scales for name in (one.head.output, *(one.sure or ())[:1])])
        made = np.concatenate([_multiply(values, one, classes) for one in scales])
        rows = values.known[tensor][0].astype(np.float64)
        told = rows[:, at, None] * rows[:, first : first + classes]
        found = decoder.decode({name: values.known[name] for name in decoder.outputs}, (shape[2], shape[3]))
        best = float(found.scores.max(initial=0.0)) if len(found) else float(told.max())
        same = made.shape == told.shape and np.abs(np.sort(made, axis=0) - np.sort(told, axis=0)).max() <= near
        if not same or abs(best - float(told.max())) > near:
            raise NotComputable(
                "a score is no product of the sigmoids of a class and of the objectness",
                "look at it with inspector cam",
            )


def _multiply(values: RunValues, one: Scale, classes: int) -> NDArray[np.float64]:
    """The products of one scale, (places, classes)."""
    assert one.sure is not None
    logits, sure = (values.known[name][:1].astype(np.float64) for name in (one.head.output, one.sure[0]))
    parts = [
        array.reshape(1, one.anchors, -1, *array.shape[2:])[:, :, start : start + count]
        for array, start, count in ((logits, one.first, classes), (sure, one.sure[1], 1))
    ]
    both = [to_probabilities(part, "sigmoid") for part in parts]
    made: NDArray[np.float64] = np.moveaxis(both[0] * both[1], 2, -1).reshape(-1, classes)
    return made
