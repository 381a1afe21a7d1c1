"""Maps of what a detector found: one for each box, from the few cells that its score reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.cam.assemble import MapMaker, make_result
from inspector.cam.method import Method
from inspector.cam.place import MapPatch, join_scales
from inspector.cam.result import CamResult
from inspector.cam.sides import SIDES, find_side_terms
from inspector.cam.target import CamClass
from inspector.cam.ways import RunValues, Ways
from inspector.errors import NotComputable, UsageError
from inspector.graph import Graph
from inspector.image import Box, ImageSource, Preprocess, open_image
from inspector.layers import Layer
from inspector.model import Model
from inspector.records import record
from inspector.reverse import Head, Spot, SpotValues
from inspector.reverse.origin import Origin
from inspector.tasks.answers import Detection, Detections, Element
from inspector.tasks.back import take_back
from inspector.tasks.decoder import BoxDecoder

Array = NDArray[Any]
USUAL = 5
"""Boxes that are explained where none are named."""
CELLS = 3
"""Cells of coarser maps that have to fit across a box, on heads that put all scores into one map."""


@record
class BoxChoice:
    """Which boxes of a picture are explained.

    Attributes:
        boxes: Their numbers in the order of `Model.detect`, the best being 0; ``"all"``; None takes the best few.
        confidence: Smallest score; None takes that of the head.
        iou: Overlap above which two boxes show one object; None takes that of the head.
        side: The side of the box whose place is explained; None explains its score.
        masks: How many masks `drise` lays over the picture.
        seed: Of these masks.
    """

    boxes: tuple[int, ...] | Literal["all"] | None = None
    confidence: float | None = None
    iou: float | None = None
    side: str | None = None
    masks: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("confidence", self.confidence), ("iou", self.iou)):
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} {value} is not in [0, 1]")
        if isinstance(self.boxes, tuple) and any(number < 0 for number in self.boxes):
            raise UsageError(f"box {min(self.boxes)} is less than 0", "boxes are counted from 0, the best first")
        if self.side is not None and self.side not in SIDES:
            raise UsageError(f"there is no side {self.side!r}", f"known: {', '.join(SIDES)}")
        if self.masks < 1:
            raise UsageError(f"masks {self.masks} is less than 1")


def choose_box_numbers(given: str | int | Sequence[str | int] | None) -> tuple[int, ...] | Literal["all"] | None:
    """Numbers of boxes as people give them: one or several, or ``"all"``.

    Raises:
        UsageError: Something else is given.
    """
    if given is None or given == "all":
        return None if given is None else "all"
    listed = [given] if isinstance(given, str | int) else list(given)
    if any(str(one) == "all" for one in listed):
        return "all"
    if not all(str(one).strip().isdigit() for one in listed):
        bad = next(one for one in listed if not str(one).strip().isdigit())
        raise UsageError(f"{bad!r} is no box", "give the number of a box, the best being 0, or all")
    return tuple(dict.fromkeys(int(one) for one in listed)) or None


_HOW = "gradient in numpy, of one place each"
_Number = tuple[str, tuple[int, ...], float]
"""(tensor, place, factor) of a number that is explained."""


@record
class _Frame:
    """The part of the picture that the network sees, (width, height) of the picture, (H, W) of the input."""

    box: Box
    size: tuple[int, int]
    sides: tuple[int, int]


@dataclass
class BoxEngine:
    """A method made ready for the boxes of many pictures; not for several threads at once.

    Attributes:
        model: The model.
        method: One that needs gradients.
        choice: Which boxes are explained.
        layers: The layers asked for; empty where each box has the branch of its own scale.
        backend: Always ``onnx``.
    """

    model: Model
    method: Method
    choice: BoxChoice
    layers: tuple[Layer, ...] = ()
    element: Element | None = None
    backend: Literal["onnx", "twin"] = "onnx"
    ways: Ways = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.ways = Ways(self.model, self.layers)

    @property
    def decoder(self) -> BoxDecoder:
        """What turns outputs into boxes."""
        found = self.model.decoder
        assert isinstance(found, BoxDecoder)
        return found

    @property
    def reason(self) -> str:
        """Which layers are looked at and why, as far as pictures have shown it."""
        if self.layers:
            return "the layers asked for, with the gradient of one place each"
        tensors = dict.fromkeys(head.layer for heads in self.ways.all_heads for head in heads)
        names = ", ".join(name_of(self.model, tensor) for tensor in tensors)
        where = f" ({names})" if names else ""
        if self.ways.distant:
            return f"queries look at all places: {self.ways.distant}{where}; gradient in numpy, of one score each"
        if self.ways.levels:
            return f"the head has one scale: the coarsest maps of which {CELLS} cells fit across a box{where}; {_HOW}"
        return f"the maps that the class branch of each scale begins with{where}; {_HOW}"

    def maps(self, image: ImageSource | Array, classes: Any = None, top: int | None = None) -> list[CamResult]:
        """The maps of one picture, one for each box that was chosen, the best box first.

        Args:
            image: What `open_image` takes, or an input tensor of the model (1, ...) as it is.
            classes: Labels or indices; only boxes of these classes. None takes all.
            top: How many of the best boxes, where the choice names none; None takes 5.

        Returns:
            The maps; none where nothing was found.
        """
        tensor, size, preprocess = read_input(self.model, image)
        values = self.ways.run(tensor, [*self.decoder.outputs, *([self.element.tensor] if self.element else ())])
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            found = find_detections(self.model, values.known, tensor, size, preprocess, self.choice)
            frame = _Frame(preprocess.box(size), size, sides_of(self.model, tensor))
            if self.element is not None:
                about, explained = self._explain_element(self.element, found, values)
                return [self._map(about, explained, values.spots(), frame)]
            chosen = choose_boxes(self.model, found, self.choice, classes, USUAL if top is None else top)
            abouts = self._explain_boxes(chosen, values, frame)
            spots = values.spots()
            return [
                self._map(about, explained, spots, frame, found=one)
                for one, (about, explained) in zip(chosen, abouts, strict=True)
            ]

    def _explain_boxes(
        self, chosen: Sequence[tuple[int, Detection]], values: RunValues, frame: _Frame
    ) -> list[tuple[CamClass, list[_Number]]]:
        """For each box what is told of it, and the numbers that are explained."""
        elements = [self._element(one) for _, one in chosen]
        origins = self.ways.learn(elements, values)
        spots = values.spots()
        made = []
        for (_, one), element, origin in zip(chosen, elements, origins, strict=True):
            about = CamClass(
                one.index, self.model.label(one.index), one.score, origin_value(self.model.graph, origin, spots)
            )
            explained = [(origin.tensor, origin.place, float(origin.sign))]
            if self.choice.side is not None:
                place, terms = find_side_terms(self.decoder, values.known, frame.sides, element, self.choice.side)
                self.ways.learn_numbers([term.tensor for term, _ in terms], values)
                about = replace(about, score=place)
                explained = [(term.tensor, term.index, weight) for term, weight in terms]
            made.append((about, explained))
        return made

    def _explain_element(
        self, element: Element, found: Detections, values: RunValues
    ) -> tuple[CamClass, list[_Number]]:
        """The one element of an output that was asked for: its own place is explained, whatever it means."""
        place = find_place(element, values.known[element.tensor].shape)
        number = float(values.known[element.tensor][place])
        flat = ",".join(map(str, element.index))
        about = CamClass(element.index[-1], f"{element.tensor}:{flat}", None, number)
        try:
            [origin] = self.ways.learn([Element(element.tensor, place)], values)
        except NotComputable:
            # No score of a class: the branches are found by one that is.
            known = [one.element for one in found if one.element is not None]
            if not known and not self.layers:
                raise
            if known:
                self.ways.learn(known[:1], values)
            self.ways.learn_numbers([element.tensor], values)
            return about, [(element.tensor, place, 1.0)]
        return about, [(origin.tensor, origin.place, float(origin.sign))]

    def _element(self, found: Detection) -> Element:
        if found.element is None:
            raise NotComputable(
                f"the head {self.decoder.head} has no single number that is the score of a box",
                "method drise needs none: it covers parts of the picture",
            )
        return found.element

    def _map(
        self,
        about: CamClass,
        explained: Sequence[_Number],
        values: SpotValues,
        frame: _Frame,
        found: tuple[int, Detection] | None = None,
    ) -> CamResult:
        """The map of the sum of some numbers, of the object `found` where it is of one."""
        spots: dict[str, Spot] = {}
        number, seen = found or (None, None)
        heads = [(head, one) for one in explained for head in self._choose_heads(one[0], seen, frame)]
        for head, (tensor, place, weight) in heads:
            spot = head.follow(Spot.at(place, values.shape(tensor), weight), values)
            if spot is not None:
                spots[head.layer] = spots[head.layer] + spot if head.layer in spots else spot
        scaled = join_scales([self._patch(name, spot, values) for name, spot in spots.items()], frame.sides)
        names = tuple(name_of(self.model, tensor) for tensor in spots or dict.fromkeys(h.layer for h, _ in heads))
        maker = MapMaker(self.method.name, names, "onnx", self.reason)
        return make_result(about, maker, scaled, frame.box, frame.size, found=seen, number=number)

    def _choose_heads(self, tensor: str, found: Detection | None, frame: _Frame) -> Sequence[Head]:
        """The heads that lead to a number; of a head with one scale that at the coarsest maps that suit the box."""
        levels = self.ways.levels.get(tensor, ()) if self.choice.side is None else ()
        if found is not None:
            # The box in cells of each level: as many as fit across its shorter side.
            seen, box = frame.box, found.box
            share = min((box[2] - box[0]) / (seen[2] - seen[0]), (box[3] - box[1]) / (seen[3] - seen[1]))
            for level in levels:
                if share * min(level.places) >= CELLS:
                    return (level.head,)
        return self.ways.heads[tensor]

    def _patch(self, layer: str, spot: Spot, values: SpotValues) -> MapPatch:
        """The map at one layer: the method's formula over the cells that are read."""
        gradient, activation = spot.values[0], values.window(layer, spot.ranges)[0]
        places, whole = spot.start[1:], spot.shape[1:]
        if is_channels_last(self.model, layer):
            gradient, activation = np.moveaxis(gradient, -1, 0), np.moveaxis(activation, -1, 0)
            places, whole = (spot.start[3], *places[:2]), (spot.shape[3], *whole[:2])
        formula: Any = self.method.formula
        made = np.asarray(formula(np.asarray(activation, np.float32), gradient), np.float32)
        return MapPatch(made, (places[1], places[2]), (whole[1], whole[2]))


def origin_value(graph: Graph, origin: Origin, values: SpotValues) -> float:
    """The number that a score was made of, with the bias that a product of matrices gets behind it."""
    value = values.whole(origin.tensor)
    number = float(value[origin.place])
    for index in graph.consumers_of.get(origin.tensor, ()):
        node = graph.nodes[index]
        for name in node.input if node.op_type == "Add" else ():
            if name in graph.initializers:
                number += float(np.broadcast_to(graph.weight(name), value.shape)[origin.place])
    return number


def find_place(element: Element, shape: Sequence[int]) -> tuple[int, ...]:
    """The place, batch axis included, of an element given by a flat index or one per axis without the batch axis.

    Raises:
        UsageError: There is no such element.
    """
    own = tuple(shape[1:])
    given = element.index
    sizes = "x".join(map(str, own))
    if len(given) == 1 and len(own) != 1:
        if not 0 <= given[0] < int(np.prod(own)):
            raise UsageError(
                f"output {element.tensor!r} of {sizes} has no index {given[0]}",
                f"the indices are 0 to {int(np.prod(own)) - 1}",
            )
        return (0, *(int(i) for i in np.unravel_index(given[0], own)))
    if len(given) != len(own) or not all(0 <= i < n for i, n in zip(given, own, strict=True)):
        raise UsageError(f"output {element.tensor!r} of {sizes} has no element {','.join(map(str, given))}")
    return (0, *given)


def name_of(model: Model, tensor: str) -> str:
    """The name of the layer whose tensor it is, else the tensor's own."""
    return next((layer.name for layer in model.layers if layer.tensor == tensor), tensor)


def is_channels_last(model: Model, tensor: str) -> bool:
    """Whether a tensor's channels lie on its last axis, as far as the layers tell."""
    return next((layer.channels_last for layer in model.layers if layer.tensor == tensor), False)


def sides_of(model: Model, tensor: Array) -> tuple[int, int]:
    """(H, W) of an input tensor."""
    sides = tensor.shape[1:3] if model.input.layout == "NHWC" else tensor.shape[2:4]
    return (int(sides[0]), int(sides[1]))


def read_input(model: Model, image: ImageSource | Array) -> tuple[Array, tuple[int, int], Preprocess]:
    """(input tensor, (width, height) of the picture, how the one became the other).

    A graph that was traced with several pictures has their number in its constants: it gets the picture as many times.
    """
    if isinstance(image, np.ndarray) and image.ndim == 4:
        if len(image) != 1:
            raise UsageError(
                f"an input tensor of shape {image.shape} holds {len(image)} pictures", "give one at a time"
            )
        height, width = sides_of(model, image)
        tensor, size, preprocess = image, (width, height), replace(model.preprocess, resize="none")
    else:
        picture = open_image(image, warn=model.warn)
        tensor, size, preprocess = model.preprocess.tensor(picture), picture.size, model.preprocess
    many = model.input.batch
    return tensor if not many else np.repeat(tensor[:1], many, axis=0), size, preprocess


# Wide: a run, and how its picture became its input.
def find_detections(
    model: Model,
    values: Mapping[str, Array],
    tensor: Array,
    size: tuple[int, int],
    preprocess: Preprocess,
    choice: BoxChoice,
) -> Detections:
    """What `Model.detect` finds, without masks, from the values of a run."""
    decoder = model.decoder
    assert isinstance(decoder, BoxDecoder)
    least = decoder.confidence if choice.confidence is None else choice.confidence
    outputs = {name: values[name] for name in decoder.outputs}
    found = decoder.find(outputs, sides_of(model, tensor), least, choice.iou, model.warn)
    return take_back(replace(found, masks=None), preprocess, size)


def choose_boxes(
    model: Model, found: Detections, choice: BoxChoice, classes: Any, top: int
) -> list[tuple[int, Detection]]:
    """(number, box) of the boxes that are explained, in the order asked for.

    Raises:
        UsageError: There is no box of that number, though some were found.
        ClassNotFound: There is no such class.
    """
    wanted = [classes] if isinstance(classes, str | int) else list(classes or ())
    indices = {model.find_class(name) for name in wanted}
    numbered = [(i, one) for i, one in enumerate(found) if not wanted or one.index in indices]
    if isinstance(choice.boxes, tuple):
        known = dict(enumerate(found))
        for number in choice.boxes:
            if found and number not in known:
                raise UsageError(
                    f"there is no box {number}: {len(found)} found", f"boxes are counted from 0, up to {len(found) - 1}"
                )
        picked = [(number, known[number]) for number in choice.boxes if number in known]
        return [(i, one) for i, one in picked if not wanted or one.index in indices]
    return numbered if choice.boxes == "all" else numbered[:top]
