"""What the page has to know of a model: its layers, where its scores and maps come from, where it can be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import UsageError, listing
from inspector.image import Preprocess
from inspector.layers import Layer
from inspector.model import Model
from inspector.model.attached import Attached
from inspector.pages.live.attached import SALIENCY, describe_attached, name_used
from inspector.pages.live.maps import choose_usual_size, describe_covers, describe_maps
from inspector.receptive import compute_receptive_fields
from inspector.reverse.head import find_head
from inspector.tasks.decoder import BoxDecoder, MapDecoder, PictureDecoder, VectorDecoder


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


def describe_live(model: Model, layers: Sequence[Layer], original: Attached | None = None) -> Description:
    """Describe a model for the page; it is run once, on a picture of zeros, for the shapes.

    Args:
        model: The model.
        layers: Those that are to be shown.
        original: Attached outputs that the file has; where the model itself has none, the page says so.

    Raises:
        UsageError: None of them can be shown.
        ModelError: The model cannot be run.
    """
    notes: list[str] = []
    if original is not None and model.attached is None:
        told = listing([entry.name for entry in original.entries], 6)
        notes.append(f"The file has attached outputs ({told}). In int8 there are none; this page computes its own.")
    shown = _choose_shown(model, layers, notes)
    values, classes = _run_once(model, shown)
    segments = _describe_segments(model)
    boxes = None if segments else _describe_boxes(model, notes)
    cam, methods = describe_maps(model, shown, [value.shape for value in values], notes)
    covers = None
    if boxes is not None:
        covers, methods = describe_covers(model.preprocess.frame(choose_usual_size(model))), ("drise", *methods)
    scores = list(model.classifier.tensors) if model.classifier is not None and classes else []
    found = [*(boxes["outputs"] if boxes else ()), *([segments["tensor"]] if segments else ())]
    answers = scores or found
    made = _describe_made(model)
    found += [made["tensor"]] if made else []
    cuts = _find_cuts(model, shown, answers)
    beside = [name for cut in cuts if cut for name in cut["beside"]] + list(cam["beside"] if cam else ())
    own = model.input.name
    given, methods = _describe_given(model, methods, shown[cam["layer"]].name if cam else None, notes)
    explained = [cam["target"]["tensor"]] if cam and cam["target"] else []
    names = dict.fromkeys([*(layer.tensor for layer in shown), *scores, *found, *explained, *beside])
    looked = [shown[cam["layer"]].tensor, *cam["beside"]] if cam else []
    quick = dict.fromkeys([*scores, *found, *explained, *looked])
    if given is not None:
        _add_attached(given, names, quick, answers, cuts)
    height, width = model.preprocess.frame(choose_usual_size(model))
    document = {
        "preprocess": describe_preprocess(model.preprocess),
        "size": [height, width],
        "input": {"name": own, "batch": model.input.batch or 1},
        "classifier": _describe_scores(model, classes) if scores else None,
        "boxes": boxes,
        "segments": segments,
        "made": made,
        "outputs": [name for name in names if name != own],
        "quick": [name for name in quick if name != own] or [shown[-1].tensor],
        "layers": [_describe_layer(x, y.size) for x, y in zip(shown, values, strict=True)],
        "cam": cam,
        "covers": covers,
        "attached": given,
        "answers": answers,
        "cuts": cuts,
        "fields": _describe_fields(model, shown),
    }
    return Description(shown, tuple(value.shape for value in values), methods, tuple(notes), document)


def _describe_given(
    model: Model, methods: tuple[str, ...], layer: str | None, notes: list[str]
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """What the page takes from attached outputs of the file, and all methods: those of the file first."""
    if model.attached is None:
        return None, methods
    given = describe_attached(model, model.attached, methods, layer)
    if told := name_used(given):
        notes.append(f"The file's own attached outputs are used: {listing(told, 6)}.")
    return given, tuple(dict.fromkeys([*(one["method"] for one in given["maps"] if not one["rest"]), *methods]))


def _add_attached(
    given: dict[str, Any],
    names: dict[str, None],
    quick: dict[str, None],
    answers: list[str],
    cuts: list[dict[str, list[str]] | None],
) -> None:
    """Let the runs that are made anyway give what the file says itself; a gradient, which is dear, has its own."""
    cheap = [one for one in given["maps"] if one["method"] != SALIENCY]
    first = [given["probability"], given["unknown"] and given["unknown"]["tensor"], *(one["best"] for one in cheap)]
    quick.update((name, None) for name in first if name)
    names.update((name, None) for name in [*first, *(one["every"] for one in cheap)] if name)
    if given["probability"]:
        for cut in cuts:
            if cut is not None and cut["outputs"] == answers:
                cut["outputs"] = [*answers, given["probability"]]
        answers.append(given["probability"])


def _choose_shown(model: Model, layers: Sequence[Layer], notes: list[str]) -> tuple[Layer, ...]:
    """The layers whose channels the page can draw."""
    shown = tuple(layer for layer in layers if _is_plain(layer) and layer.tensor in model.graph.producer_of)
    if len(shown) < len(layers):
        count = len(layers) - len(shown)
        notes.append(
            f"{count} layer{'s are' * (count > 1) or ' is'} left out, whose channels lie in blocks or windows: "
            "`inspector report` without --live shows them."
        )
    if not shown:
        raise UsageError(f"{model.path.name} has no layers that the page can show")
    return shown


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


def _run_once(model: Model, layers: Sequence[Layer]) -> tuple[list[NDArray[np.float32]], int]:
    """The values of the layers on a picture of zeros, (C, ...) each, and the number of classes; 0 for none."""
    from PIL import Image

    tensor = model.preprocess.tensor(Image.new("RGB", choose_usual_size(model)))
    values, scores = model.layer_values(tensor, layers, scores=True)
    maps = [layer.to_maps(values[layer.name]) for layer in layers]
    return [one[0] if one.size else np.zeros((*one.shape[1:2], 0), np.float32) for one in maps], (
        0 if scores is None else scores.shape[1]
    )


def _describe_scores(model: Model, classes: int) -> dict[str, Any]:
    assert model.classifier is not None
    return {
        "scores": model.classifier.scores,
        "probabilities": model.classifier.probabilities,
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
    if decoder is None or isinstance(decoder, VectorDecoder | PictureDecoder):
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


def _describe_made(model: Model) -> dict[str, Any] | None:
    """Where the vector or the picture comes from that a network makes of a picture."""
    decoder = model.decoder
    if not isinstance(decoder, VectorDecoder | PictureDecoder):
        return None
    last = bool(getattr(decoder, "channels_last", False))
    return {"tensor": decoder.outputs[0], "vector": isinstance(decoder, VectorDecoder), "last": last}


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


def _find_cuts(model: Model, layers: Sequence[Layer], answers: Sequence[str]) -> list[dict[str, list[str]] | None]:
    """For each layer which answers it leads to, and what the network behind it reads beside it; None for a dead end."""
    cuts: list[dict[str, list[str]] | None] = []
    for layer in layers:
        heads = {name: find_head(model.graph, layer.tensor, name) for name in answers}
        led = {name: head for name, head in heads.items() if head.path}
        beside = dict.fromkeys(name for head in led.values() for name in head.siblings)
        cuts.append({"outputs": list(led), "beside": list(beside)} if led else None)
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
