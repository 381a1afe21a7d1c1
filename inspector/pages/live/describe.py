"""What the page has to know of a model: its layers, where its scores and maps come from, where it can be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import NotComputable, UsageError, listing
from inspector.image import Preprocess
from inspector.layers import Layer
from inspector.model import Model
from inspector.model.attached import Attached
from inspector.receptive import compute_receptive_fields
from inspector.reverse.head import Head, find_head
from inspector.tasks.decoder import BoxDecoder, MapDecoder

MOST_PLACES = 1024
"""Places of a layer at which the part behind it is run once for each."""


@dataclass(frozen=True)
class Description:
    """A model as the page sees it.

    Attributes:
        layers: Those that the page shows, in topological order.
        shapes: Of each of them as it is drawn, (C, ...), on a picture of the usual size.
        methods: Class activation maps that the page makes, the usual one first.
        notes: What the page cannot show of this model, and why.
        document: All of it for the page's worker.
    """

    layers: tuple[Layer, ...]
    shapes: tuple[tuple[int, ...], ...]
    methods: tuple[str, ...]
    notes: tuple[str, ...]
    document: Mapping[str, Any]


def describe_live(model: Model, layers: Sequence[Layer], attached: Attached | None = None) -> Description:
    """Describe a model for the page; it is run once, on a picture of zeros, for the shapes.

    Args:
        model: The model.
        layers: Those that are to be shown.
        attached: Outputs that the file has besides, which the page says.

    Raises:
        UsageError: None of them can be shown.
        ModelError: The model cannot be run.
    """
    notes: list[str] = []
    if attached is not None:
        told = listing([entry.name for entry in attached.entries], 6)
        notes.append(f"The file has attached outputs ({told}). This page leaves them out, and computes its own.")
    shown = tuple(layer for layer in layers if _is_plain(layer) and layer.tensor in model.graph.producer_of)
    if len(shown) < len(layers):
        count = len(layers) - len(shown)
        notes.append(
            f"{count} layer{'s are' * (count > 1) or ' is'} left out, whose channels lie in blocks or windows: "
            "`inspector report` without --live shows them."
        )
    if not shown:
        raise UsageError(f"{model.path.name} has no layers that the page can show")
    values, classes = _run_once(model, shown)
    cam, methods = _describe_maps(model, shown, notes)
    cuts = _find_cuts(model, shown)
    beside = [name for cut in cuts for name in cut or ()] + list(cam["beside"] if cam else ())
    scores = [model.classifier.scores] if model.classifier is not None and classes else []
    segments = _describe_segments(model)
    boxes = None if segments else _describe_boxes(model, notes)
    found = [*(boxes["outputs"] if boxes else ()), *([segments["tensor"]] if segments else ())]
    own = model.input.name
    names = dict.fromkeys([*(layer.tensor for layer in shown), *scores, *found, *beside])
    quick = dict.fromkeys([*scores, *found, *([shown[cam["layer"]].tensor, *cam["beside"]] if cam else ())])
    height, width = model.preprocess.frame(_usual(model))
    document = {
        "preprocess": describe_preprocess(model.preprocess),
        "size": [height, width],
        "input": {"name": own, "batch": model.input.batch or 1},
        "classifier": _describe_scores(model, classes) if scores else None,
        "boxes": boxes,
        "segments": segments,
        "outputs": [name for name in names if name != own],
        "quick": [name for name in quick if name != own] or [shown[-1].tensor],
        "layers": [_describe_layer(x, y.size) for x, y in zip(shown, values, strict=True)],
        "cam": cam,
        "cuts": cuts,
        "fields": _describe_fields(model, shown),
    }
    return Description(shown, tuple(value.shape for value in values), methods, tuple(notes), document)


def describe_preprocess(preprocess: Preprocess) -> dict[str, Any]:
    """A preprocess with all its keys, and ``vertical``: which way the installed Pillow resizes first."""
    return {"place": "centre", "stride": 1, **preprocess.to_json(), "vertical": _resizes_vertically_first()}


@lru_cache(maxsize=1)
def _resizes_vertically_first() -> bool:
    """Whether this Pillow takes the vertical direction first where that is cheaper; it rounds in between.

    Pillow 13 does. What it does is tried on a picture for which the two orders differ.
    """
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (60, 30, 3), np.uint8)
    picture, bilinear = Image.fromarray(noise), Image.Resampling.BILINEAR
    both = picture.resize((20, 20), bilinear)
    return bool(both.tobytes() == picture.resize((30, 20), bilinear).resize((20, 20), bilinear).tobytes())


def _is_plain(layer: Layer) -> bool:
    """Whether its tensor holds the pictures on axis 0 and the channels on one axis."""
    lies = layer.arrangement
    return lies is None or (lies.batch == 0 and lies.parts == 1 and lies.block == 1)


def _usual(model: Model) -> tuple[int, int]:
    """(width, height) of a picture like those that the model is for."""
    height, width = model.preprocess.size or model.input.size or (224, 224)
    return (width, height)


def _run_once(model: Model, layers: Sequence[Layer]) -> tuple[list[NDArray[np.float32]], int]:
    """The values of the layers on a picture of zeros, (C, ...) each, and the number of classes; 0 for none."""
    from PIL import Image

    tensor = model.preprocess.tensor(Image.new("RGB", _usual(model)))
    values, scores = model.layer_values(tensor, layers, scores=True)
    maps = [layer.to_maps(values[layer.name]) for layer in layers]
    return [one[0] if one.size else np.zeros((*one.shape[1:2], 0), np.float32) for one in maps], (
        0 if scores is None else scores.shape[1]
    )


def _describe_scores(model: Model, classes: int) -> dict[str, Any]:
    assert model.classifier is not None
    return {
        "scores": model.classifier.scores,
        "activation": model.classifier.activation,
        "guessed": model.classifier.guessed,
        "classes": classes,
        "fixed": model.input.batch is not None and model.input.batch > 1,
    }


def _describe_segments(model: Model) -> dict[str, Any] | None:
    """Where a segmenter's classes of pixels come from."""
    from inspector.render.objects import choose_color

    decoder = model.decoder
    if not isinstance(decoder, MapDecoder) or decoder.task != "segment":
        return None
    return {
        "tensor": decoder.outputs[0],
        "activation": decoder.activation,
        "last": decoder.channels_last,
        "foreground": decoder.foreground,
        "colors": [list(choose_color(index)) for index in range(min(max(decoder.classes or 0, 2), 250))],
    }


def _describe_boxes(model: Model, notes: list[str]) -> dict[str, Any] | None:
    """Where the objects of a detector are found; None for other networks, and for heads that say no layout."""
    from inspector.render.objects import choose_color

    decoder = model.decoder
    if decoder is None:
        return None
    layout = decoder.layout if isinstance(decoder, BoxDecoder) else None
    if not isinstance(decoder, BoxDecoder) or layout is None:
        notes.append(f"What the head {decoder.head} says is not decoded in this page; `inspector predict` does that.")
        return None
    return {
        "outputs": list(decoder.outputs),
        "layout": asdict(layout),
        "iou": decoder.iou,
        "confidence": decoder.confidence,
        "colors": [
            list(choose_color(index))
            for index in range(min((decoder.classes or len(model.labels or ()) or 90) + 1, 250))
        ],
    }


def _describe_layer(layer: Layer, elements: int) -> dict[str, Any]:
    axis: int | str = "last" if layer.channels_last else 1
    if layer.arrangement is not None:
        axis = layer.arrangement.channel
    grid = layer.grid
    return {
        "tensor": layer.tensor,
        "channel": axis,
        "elements": elements,
        "places": layer.places,
        "grid": grid
        and {"height": grid.height, "width": grid.width, "extra": grid.extra, "order": list(grid.order or ()) or None},
    }


def _describe_maps(
    model: Model, layers: Sequence[Layer], notes: list[str]
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """(layer, what is read beside it), and the methods; None where there is no layer with maps."""
    from inspector.cam.choose import choose_cam_layers, choose_last_maps

    output = model.classifier.scores if model.classifier is not None else model.graph.outputs[0]
    layer: Layer | None
    head: Head | None = None
    try:
        if model.classifier is not None:
            (layer, *_), (head, *_), _ = choose_cam_layers(model, output, None)
        else:
            found = choose_last_maps(model.graph, model.layers, output)
            layer = found[0] if found is not None else None
            notes.append(
                "No maps for a class or a box: this network has no single row of scores for a picture. Eigen-CAM shows "
                "where its last maps are strongest; `inspector cam` explains boxes and segments."
            )
    except NotComputable as error:
        notes.append(f"No class activation maps: {error.message}.")
        return None, ()
    if layer is None or layer.name not in [x.name for x in layers]:
        return None, ()
    place = [x.name for x in layers].index(layer.name)
    cells = int(np.prod([s if isinstance(s, int) else 1 for s in (layer.shape or (1, 1, 1))[2:]]))
    beside = list(head.siblings) if head is not None else []
    alone = (model.input.batch or 1) == 1
    if head is None or cells > MOST_PLACES or layer.channels_last or layer.arrangement is not None or not alone:
        if head is not None:
            notes.append(
                f"No maps for a class: {layer.name} has too many places, channels last, or several pictures at a time. "
                "Eigen-CAM shows where it is strongest; `inspector cam` explains classes."
            )
        return {"layer": place, "beside": [], "closed": False}, ("eigencam",)
    if not head.linear:
        notes.append(
            f"Behind {layer.name} the scores are no linear function: the page has no gradients, so it shows "
            "Recipro-CAM and Eigen-CAM; `inspector cam` has Grad-CAM."
        )
    usual = ("gradcam" if _is_even(model) else "hirescam") if head.linear else "reciprocam"
    return {"layer": place, "beside": beside, "closed": head.linear}, (usual, "eigencam")


def _is_even(model: Model) -> bool:
    """Whether the gradient of a score is the same at all places, so that Grad-CAM and HiResCAM are one."""
    from inspector.cam import prepare_maps

    rng = np.random.default_rng(0)
    height, width = model.preprocess.frame(_usual(model))
    pixels = rng.integers(0, 256, (height, width, model.preprocess.channels), np.uint8)
    tensor = model.preprocess.normalise(pixels)
    one, other = (prepare_maps(model, name).maps(tensor, top=1)[0] for name in ("gradcam", "hirescam"))
    return bool(np.abs(one.heatmap - other.heatmap).max() < 1e-5)


def _find_cuts(model: Model, layers: Sequence[Layer]) -> list[list[str] | None]:
    """For each layer what the rest of the network reads beside it; None where it does not lead to the scores."""
    cuts: list[list[str] | None] = []
    for layer in layers:
        head = find_head(model.graph, layer.tensor, model.classifier.scores) if model.classifier is not None else None
        cuts.append(list(head.siblings) if head is not None and head.path else None)
    return cuts


def _describe_fields(model: Model, layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """What one position of each layer sees: see `ReceptiveField`."""
    fields = compute_receptive_fields(model.graph, [layer.tensor for layer in layers], model.input.layout)
    return [
        {
            "size": field.size and list(field.size),
            "jump": list(field.jump),
            "first": list(field.first),
            "last": list(field.last),
            "everything": field.everything,
        }
        for field in (fields[layer.tensor] for layer in layers)
    ]
