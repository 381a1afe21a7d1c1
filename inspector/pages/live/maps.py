"""Which maps the page can make of a network, and what it needs for them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from inspector.cam.areas import find_areas, find_middle
from inspector.cam.choose import ChosenLayers, choose_cam_layers, choose_last_maps
from inspector.cam.context import GRID, choose_cell, draw_grids
from inspector.cam.covers import LEAST_UNDER_MASK
from inspector.cam.quantized import find_quantization
from inspector.cam.target import Explained, find_output
from inspector.errors import NotComputable
from inspector.layers import Layer
from inspector.model import Model
from inspector.reverse.head import Head
from inspector.tasks.decoder import BoxDecoder, MapDecoder

MOST_PLACES = 1024
"""Places of a layer at which the part behind it is run once for each."""
MOST_CHANNELS = 2048
"""Channels of a layer without each of which the part behind it is run once."""
MASKS = 1000
"""Masks of D-RISE, as many as `inspector cam` lays over a picture unless told otherwise; their seed is 0."""


def choose_usual_size(model: Model) -> tuple[int, int]:
    """(width, height) of a picture like those that the model is for."""
    height, width = model.preprocess.size or model.input.size or (224, 224)
    return (width, height)


def describe_maps(
    model: Model, layers: Sequence[Layer], shapes: Sequence[Sequence[int]], notes: list[str]
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Describe the layer of the maps and what is explained there.

    Args:
        model: The model.
        layers: Those that the page shows.
        shapes: Of each of them, (C, ...), on a picture of the usual size.
        notes: Gets what cannot be shown, and why.

    Returns:
        The description for the page, None where there is no layer with maps; and the methods.
    """
    try:
        explained, (layer, head) = _choose(model)
    except NotComputable as error:
        notes.append(f"No class activation maps: {error.message}.")
        return None, ()
    if isinstance(model.decoder, BoxDecoder):
        notes.append(
            "Maps of boxes are made by D-RISE: the network is run on the picture under one mask after the other, and "
            "the map gets better with each. `inspector cam` has maps of boxes by gradients, from one run."
            if model.decoder.layout is not None
            else "No maps of boxes: Eigen-CAM shows where the last maps are strongest; `inspector cam` explains boxes."
        )
    elif explained is None:
        notes.append(
            "No maps for a class: this network has no scores of classes. Eigen-CAM shows where it is strongest."
        )
    if layer is None or layer.name not in [x.name for x in layers]:
        return None, ()
    place = [x.name for x in layers].index(layer.name)
    about: dict[str, Any] = {"layer": place, "beside": [], "closed": False, "target": None, "places": MOST_PLACES}
    about["stored"] = asdict(find_quantization(model.graph, layer.tensor))
    if head is None or explained is None:
        return about, ("eigencam",)
    methods = _choose_methods(model, layer, shapes[place], head, notes)
    if methods:
        beside = [*head.siblings, *([model.input.name] if head.reads_shape else [])]
        about["beside"] = list(dict.fromkeys(beside))
        about["closed"] = head.linear
        about["target"] = _describe_target(model, explained)
    if methods[:1] == ("ablationcam",):  # many runs for each picture: only where it is asked for
        return about, ("eigencam", *methods)
    return about, (*methods, "eigencam")


def _choose(model: Model) -> tuple[Explained | None, tuple[Layer | None, Head | None]]:
    """What is explained where that is classes, the layer that is looked at, and what lies behind it."""
    explained: Explained | None = None
    if isinstance(model.decoder, MapDecoder) and model.decoder.task == "segment":
        explained = find_areas(model)
    elif model.classifier is not None:
        explained = find_output(model, None)
    if explained is not None:
        chosen: ChosenLayers = choose_cam_layers(model, explained.tensor, None)
        return explained, (chosen[0][0], chosen[1][0])
    found = choose_last_maps(model.graph, model.layers, model.graph.outputs[0])
    return None, (found[0] if found is not None else None, None)


def _choose_methods(model: Model, layer: Layer, shape: Sequence[int], head: Head, notes: list[str]) -> tuple[str, ...]:
    """The methods for a class at a layer, the usual one first."""
    channels, places = shape[0], int(np.prod(shape[1:]))
    if layer.channels_last or layer.arrangement is not None or (model.input.batch or 1) > 1:
        why = "holds tokens" if layer.grid is not None else "has channels last, or takes several pictures at a time"
        notes.append(
            f"No maps for a class: {layer.name} {why}. Eigen-CAM shows where it is strongest; `inspector cam` explains "
            "classes."
        )
        return ()
    methods = ["ablationcam"] if channels <= MOST_CHANNELS else []
    if places <= MOST_PLACES:
        even = head.linear and model.classifier is not None and _is_even(model)
        methods.insert(0, "gradcam" if even else "hirescam" if head.linear else "reciprocam")
    told = " and ".join({"ablationcam": "Ablation-CAM", "reciprocam": "Recipro-CAM"}.get(name, "") for name in methods)
    if methods and not head.linear:
        notes.append(
            f"Behind {layer.name} the scores are no linear function: the page has no gradients, so it runs what lies "
            f"behind that layer again and again ({told}); `inspector cam` has Grad-CAM."
        )
    if not methods:
        notes.append(
            f"No maps for a class: {layer.name} has too many places and channels. Eigen-CAM shows where it is "
            "strongest; `inspector cam` explains classes."
        )
    return tuple(methods)


def _describe_target(model: Model, explained: Explained) -> dict[str, Any]:
    """The tensor of the scores, and for a segmenter how they lie: the score of a class is summed over its own area."""
    areas = None
    if isinstance(model.decoder, MapDecoder) and model.classifier is None:
        areas = {"last": bool(getattr(explained, "channels_last", False)), "middle": find_middle(model)}
    return {"tensor": explained.tensor, "areas": areas}


def _is_even(model: Model) -> bool:
    """Whether the gradient of a score is the same at all places, so that Grad-CAM and HiResCAM are one."""
    from inspector.cam import prepare_maps

    rng = np.random.default_rng(0)
    height, width = model.preprocess.frame(choose_usual_size(model))
    pixels = rng.integers(0, 256, (height, width, model.preprocess.channels), np.uint8)
    tensor = model.preprocess.normalise(pixels)
    one, other = (prepare_maps(model, name).maps(tensor, top=1)[0] for name in ("gradcam", "hirescam"))
    return bool(np.abs(one.heatmap - other.heatmap).max() < 1e-5)


def describe_covers(size: tuple[int, int]) -> dict[str, Any]:
    """The masks of D-RISE for an input of size (H, W), the very ones that `inspector cam` draws.

    Args:
        size: (H, W) of the input. A page that sees another size stretches the shifts.

    Returns:
        ``cell``: height and width of a cell; ``cells``: how many go into a side of the input; ``bits``: base64, a bit
        for each of (cells + 1) x (cells + 1) cells, mask by mask; ``shifts``: of each mask; ``least``: the score from
        which on a box under a mask counts.
    """
    grids, shifts = [], []
    for grid, y, x in draw_grids(size, MASKS, seed=0):
        grids.append(grid > 0)
        shifts.append([y, x])
    bits = np.packbits(np.array(grids).reshape(-1)).tobytes()
    return {
        "cell": list(choose_cell(size)),
        "cells": GRID,
        "count": MASKS,
        "bits": base64.b64encode(bits).decode(),
        "shifts": shifts,
        "least": LEAST_UNDER_MASK,
    }
