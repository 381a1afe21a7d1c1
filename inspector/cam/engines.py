"""The engine for what a model does: of classes, of boxes, of areas; the last ones used are kept."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any, Literal, Protocol
from weakref import WeakKeyDictionary

from numpy.typing import NDArray

from inspector.cam.areas import labels_pixels
from inspector.cam.boxes import BoxChoice, BoxEngine
from inspector.cam.choose import measure_shapes, names_of
from inspector.cam.covers import CoverEngine
from inspector.cam.engine import Classes, prepare
from inspector.cam.faithfulness import Region
from inspector.cam.file_engine import find_file_engine
from inspector.cam.method import Method
from inspector.cam.methods import METHODS, find_method
from inspector.cam.result import CamResult
from inspector.cam.target import find_output
from inspector.errors import NotComputable, UsageError, listing
from inspector.image import ImageSource
from inspector.layers import Layer, LayerNames, find_layer
from inspector.model import Model
from inspector.tasks.answers import Element
from inspector.tasks.decoder import BoxDecoder

Array = NDArray[Any]

_KEPT_ENGINES = 4
_engines: WeakKeyDictionary[Model, OrderedDict[tuple[Any, ...], MapEngine]] = WeakKeyDictionary()
"""The engines last used, for each model that is alive."""


class MapEngine(Protocol):
    """A method made ready for many pictures of one model."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def method(self) -> Method:
        """The method."""

    @property
    def backend(self) -> Literal["onnx", "twin"]:
        """Where gradients come from."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers looked at; empty where each box has its own, or where no layer is looked at."""

    @property
    def reason(self) -> str:
        """Why these layers, and where gradients come from."""

    def maps(
        self, image: ImageSource | Array, classes: Classes | None = None, top: int | None = None
    ) -> list[CamResult]:
        """The maps of one picture; `top` None takes the usual number."""


def finds_boxes(model: Model) -> bool:
    """Whether a model finds objects."""
    return isinstance(model.decoder, BoxDecoder)


def _usual_method(model: Model) -> str:
    return "layercam" if finds_boxes(model) else "gradcam"


# Wide: what is explained and how, all but the first by name.
def prepare_maps(
    model: Model,
    method: str | None = None,
    layer: LayerNames | None = None,
    backend: str = "auto",
    output: str | None = None,
    choice: BoxChoice | None = None,
    region: Region | None = None,
) -> MapEngine:
    """A method made ready for what a model does: classes, or boxes of a detector.

    Args:
        model: The model.
        method: A name in METHODS; None takes layercam for boxes, gradcam else.
        layer: The layers to look at; None chooses.
        backend: As for `prepare`.
        output: As for `prepare`; on a detector the one element that is explained.
        choice: Which boxes are explained, on a detector.
        region: The area that is explained, on a segmenter; None takes the pixels of each class.

    Raises:
        UsageError: There is no such method, backend or output, or boxes are asked of a model that finds none.
        LayerNotFound: There is no such layer.
        NotComputable: The method does not exist for this model or layer.
        MissingExtra: The twin is needed, and torch is not installed.
    """
    method = method or _usual_method(model)
    if backend not in ("auto", "onnx", "twin"):
        raise UsageError(f"there is no backend {backend!r}", "known: auto, onnx, twin")
    if region is not None and not labels_pixels(model):
        region = None  # of other models it is where the object lies, and nothing that is explained
    if not finds_boxes(model):
        if choice is not None and choice != BoxChoice():
            raise NotComputable(f"{model.path} finds no boxes", "the options for boxes are for detectors")
        engine = prepare(model, method, layer, backend, output, region)
        return find_file_engine(engine, maps=backend == "auto")
    chosen = find_method(method)
    element = find_element(model, output)
    if chosen.needs == "detections":
        if element is not None or layer is not None:
            raise UsageError(
                f"{chosen.name} explains boxes, and looks at no layer", "leave out the output and the layer"
            )
        return CoverEngine(model, chosen, choice or BoxChoice())
    if chosen.needs != "gradient" or chosen.linear_head:
        able = [m.name for m in METHODS.values() if m.needs in ("gradient", "detections") and not m.linear_head]
        raise NotComputable(f"{chosen.name} does not explain boxes", f"these do: {listing(able, 12)}")
    if backend == "twin":
        raise NotComputable("maps of boxes need no twin", "leave out the backend: their gradients come from numpy")
    boxes = BoxEngine(model, chosen, choice or BoxChoice(), _find_layers(model, layer), element)
    return find_file_engine(boxes, maps=backend == "auto")


def _find_layers(model: Model, layer: LayerNames | None) -> tuple[Layer, ...]:
    """The layers asked for. Raises NotComputable for one without maps."""
    if layer is None:
        return ()
    names = names_of(model, layer)
    found = tuple(find_layer(measure_shapes(model, names), name) for name in names)
    for one in found:
        if one.shape is None or len(one.shape) != 4 or not one.spatial:
            raise NotComputable(f"layer {one.name!r} has no maps", "choose a convolution or what follows it")
    return found


def find_element(model: Model, output: str | None) -> Element | None:
    """The one element that ``NAME:INDEX`` names; None for a name alone, and without one.

    Raises:
        UsageError: There is no such output.
    """
    if output is None:
        return None
    explained = find_output(model, output)
    return None if explained.element is None else Element(explained.tensor, explained.element)


# Wide: the options of `inspector cam`, all but the first two by name.
def class_activation_maps(
    model: Model,
    image: ImageSource | Array,
    *,
    classes: Classes | None = None,
    top: int | None = None,
    method: str | None = None,
    layer: LayerNames | None = None,
    backend: str = "auto",
    output: str | None = None,
    choice: BoxChoice | None = None,
    region: Region | None = None,
) -> list[CamResult]:
    """Maps of one picture, one for each class or box. All share one run of the network.

    Args:
        model: The model.
        image: What `open_image` takes, or an input tensor of the model (1, ...) as it is.
        classes: Labels or indices, one map each in this order; None takes the most likely. On a detector: the classes
            whose boxes are explained.
        top: Number of the most likely classes, without `classes`, or of the best boxes; None takes one or five.
        method: A name in METHODS; None takes layercam for boxes, gradcam else.
        layer: A layer or its name, or several whose maps are averaged; None chooses one, and `reason` of the result
            says why. Of the maps of a box the largest at each place is taken.
        backend: "auto" stays in onnxruntime and numpy where that is exact and takes the torch twin elsewhere; "onnx"
            and "twin" take only that. Methods without gradients never need the twin.
        output: What to explain where it is not the classifier: a tensor's name, its index in `classes` or after a colon
            (``"scores:3"``). For an output (N, K, H, W) the index is a channel, and its sum over H and W is explained;
            for any other it is a flat index, or one per axis (``"boxes:12,4"``).
        choice: Which boxes are explained, on a detector.
        region: The area that is explained, on a segmenter; None takes the pixels of each class.

    Returns:
        The maps; none where a detector finds nothing. The prepared engine is kept as long as the model lives; see
        `prepare_maps` to hold one.

    Raises:
        UsageError: There is no such method, backend or output.
        LayerNotFound: There is no such layer.
        ClassNotFound: There is no such class.
        ImageError: The image cannot be opened.
        NotComputable: The method does not exist for this model or layer.
        ModelError: The model cannot be run on this image.
        MissingExtra: The twin is needed, and torch is not installed.
    """
    if region is not None:  # an engine of its own, which is not worth keeping
        return prepare_maps(model, method, layer, backend, output, choice, region).maps(image, classes, top)
    return prepare_once(model, method, layer, backend, output, choice).maps(image, classes, top)


# Wide: as above.
def prepare_once(
    model: Model,
    method: str | None = None,
    layer: LayerNames | None = None,
    backend: str = "auto",
    output: str | None = None,
    choice: BoxChoice | None = None,
) -> MapEngine:
    """The engine of `prepare_maps` that was used last with these arguments, or a new one.

    The last few engines of each model are kept as long as the model lives.
    """
    names = None if layer is None else names_of(model, layer)
    engines = _engines.setdefault(model, OrderedDict())
    method = method or _usual_method(model)
    key = (find_method(method).name, names, backend, output, choice or BoxChoice())
    engine = engines.get(key)
    if engine is None:
        # Only a weak reference: an engine that held its own key would keep the model alive forever.
        engine = engines[key] = prepare_maps(weakref.proxy(model), method, names, backend, output, choice)
        while len(engines) > _KEPT_ENGINES:
            engines.popitem(last=False)
    return engine
