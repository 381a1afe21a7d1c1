"""Class activation maps as outputs: of the top class, and of all classes where that is a product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from exporters.attaching.class_maps import emit_class_maps, find_class_weights, find_stored, weigh_class_maps
from exporters.attaching.derivative import check_covered, emit_gradient
from exporters.attaching.formulas import FORMULAS, emit_map, scale_maps
from exporters.attaching.seeds import TopSeed, emit_top
from exporters.attaching.sizes import TensorSizes
from exporters.attaching.sums import emit_channel_sums
from exporters.attaching.workbench import Workbench
from inspector.cam.choose import choose_cam_layers
from inspector.cam.method import Method
from inspector.cam.methods import METHODS, find_method
from inspector.cam.quantized import find_quantization
from inspector.cam.target import find_output
from inspector.errors import NotComputable, listing
from inspector.layers import Layer, find_token_grid
from inspector.reverse import Head, find_head

_Floats = NDArray[np.float32]
_Side = TypeVar("_Side", int, "int | None")
_LEAVE_OUT = "leave --all-classes out"
_LARGE = 1024
"""Places of a map beyond which its sums are made row by row."""


def find_formula(name: str) -> Method:
    """The method of a name.

    Raises:
        NotComputable: It cannot be written as nodes.
    """
    method = find_method(name)
    if method.name not in FORMULAS:
        able = [m.name for m in METHODS.values() if m.name in FORMULAS]
        why = "runs of the network" if method.needs in ("runs", "detections") else "more than the gradient of the head"
        raise NotComputable(
            f"{method.name} needs {why}, which cannot be written as nodes", f"these can: {listing(able, 9)}"
        )
    return method


def attach_maps(bench: Workbench, name: str, layer: str | None = None, all_classes: bool | None = None) -> list[str]:
    """Add the map of the top class, and those of all classes where they are a product that costs little.

    Args:
        bench: The network that is added to.
        name: A method that is made of the gradient.
        layer: The layer looked at; None chooses as `inspector cam` does.
        all_classes: Whether the maps of all classes are added; None adds those that take little of a run.

    Returns:
        What is noteworthy: that the maps of all classes are left out for what they would take.

    Raises:
        NotComputable: The network is no classifier, or the method cannot be written as nodes there.
    """
    write, method = bench.write, find_formula(name)
    explained, chosen, head = _choose_layer(bench, layer)
    sizes = bench.measure(head)
    check_plain(bench, chosen, sizes)
    weights = find_class_weights(bench, method, head, chosen, sizes)
    _check_product(method, chosen, head, weights, bool(all_classes))
    if weights is not None and len(weights) < 2:  # one score says two classes, whose maps are no product of theirs
        weights = None
    activation = emit_channels_first(bench, chosen, chosen.tensor, sizes)
    seed = emit_top(bench, explained, chosen.tensor, sizes)
    shape, settings = _map_shape(bench, chosen, sizes), {"method": method.name, "layer": chosen.name}
    notes: list[str] = []
    if weights is not None and all_classes is None:
        places = math.prod(_map_sides(bench, chosen, sizes.sample(chosen.tensor)))
        all_classes, notes = weigh_class_maps(bench.model, weights.shape[1], len(weights) * places)
    if weights is not None and all_classes:
        every = emit_class_maps(write, find_stored(bench, weights), activation)
        text = f"{method.title} of every class at layer {chosen.name}, each scaled by itself"
        every = bench.add_output(every, "cam_classes", text, (shape[0], len(weights), *shape[1:]), settings)
        heat = write.emit("GatherND", every, seed.top, batch_dims=1)
    else:
        flat = write.reshape(activation, 0, 0, -1)
        if weights is None:
            raw = _emit_by_gradient(bench, method, chosen, head, seed, sizes, flat)
        else:
            raw = write.emit("MatMul", write.emit("Gather", find_stored(bench, weights), seed.top, axis=0), flat)
        heat = _to_rows_and_columns(bench, scale_maps(write, raw, [-1]), activation, shape[1:])
    text = f"{method.title} of the top class at layer {chosen.name}: 0 no evidence, 1 the most"
    bench.add_output(heat, "cam", text, shape, settings)
    bench.outputs.sort(key=lambda one: one.entry.meaning == "cam_classes")  # the one that is always there comes first
    return notes


def _choose_layer(bench: Workbench, layer: str | None) -> tuple[str, Layer, Head]:
    """(the tensor with the scores, the layer that is looked at, the way between them)."""
    model = bench.model
    if model.classifier is None:
        does = f": its task is {model.task}" if model.task else ", and what it does is not known (inspector annotate)"
        raise NotComputable(
            f"{model.path} finds neither classes nor boxes{does}", "--cam attaches maps of classes and of boxes"
        )
    explained = find_output(model, None)
    [chosen], _, _ = choose_cam_layers(model, explained.tensor, None if layer is None else [layer])
    return explained.tensor, chosen, find_head(bench.graph, chosen.tensor, explained.tensor)


def _check_product(method: Method, layer: Layer, head: Head, weights: _Floats | None, all_classes: bool) -> None:
    """Raise NotComputable where the maps of a layer have to be one product with the weights of classes and are not."""
    if all_classes and weights is not None and len(weights) < 2:
        raise NotComputable("the network gives one score, so that there are no maps of all classes", _LEAVE_OUT)
    if weights is not None or not (method.linear_head or all_classes):
        return
    comes = f"after {layer.name!r} comes {listing(list(dict.fromkeys(head.operators)), 6)}"
    if method.linear_head:
        raise NotComputable(
            f"{method.name} needs a head that weighs every place of a channel alike (average pooling, then linear); "
            f"{comes}",
            "gradcam and hirescam work with any head",
        )
    if head.linear:
        raise NotComputable(f"the maps of all classes by {method.name} at {layer.name} are not one product", _LEAVE_OUT)
    raise NotComputable(f"the maps of all classes are one product only behind a linear head; {comes}", _LEAVE_OUT)


def _emit_by_gradient(
    bench: Workbench, method: Method, layer: Layer, head: Head, seed: TopSeed, sizes: TensorSizes, flat: str
) -> str:
    """Write the map of the top class before its scaling, (N, 1, P), of maps (N, C, P)."""
    write = bench.write
    check_covered(write, sizes, head, f"{method.name} at {layer.name}")
    if method.name == "gradcam" and len(sizes.sample(layer.tensor)) == 4:  # of tokens not all are places
        sums = emit_channel_sums(bench, layer, head, seed, sizes)
        if sums is not None:
            return write.emit("MatMul", sums, flat)
    found = emit_gradient(write, sizes, {seed.tensor: seed.gradient}, head)
    assert found is not None
    gradient = emit_channels_first(bench, layer, found, sizes, gradient=True)
    height, width = _map_shape(bench, layer, sizes)[1:]
    large = isinstance(height, str) or isinstance(width, str) or height * width > _LARGE
    return emit_map(write, method.name, flat, write.reshape(gradient, 0, 0, -1), gradient if large else "")


def check_plain(bench: Workbench, layer: Layer, sizes: TensorSizes) -> None:
    """Raise NotComputable for a layer that holds neither maps nor rows of tokens, or whose places lie in windows."""
    shape, grid = sizes.sample(layer.tensor), find_token_grid(bench.model.layers, layer)
    tokens = grid is not None and len(shape) == 3 and shape[1 if layer.channels_last else 2] == grid.length
    lies = layer.arrangement
    plain = lies is None or (tokens and (lies.batch, lies.parts, lies.block, lies.real) == (0, 1, 1, None))
    plain = plain and (lies is None or lies.channel == (2 if layer.channels_last else 1))
    maps = grid is None and layer.shape is not None and len(layer.shape) == len(shape) == 4
    if not plain or not (tokens or maps):
        raise NotComputable(f"layer {layer.name!r} {_say_why(layer, shape)}", "choose another layer with --layer")


def _say_why(layer: Layer, shape: Sequence[int]) -> str:
    """Why the maps of a layer cannot be read off its tensor, as the rest of a sentence."""
    lies = layer.arrangement
    if lies is not None and lies.parts > 1:
        return f"holds the places of a picture in {lies.parts} windows, one behind the other"
    if lies is not None and lies.block > 1:
        return f"holds its channels in blocks of {lies.block}"
    if lies is not None and lies.batch != 0:
        return f"has the pictures on axis {lies.batch} of {len(shape)}"
    sides = " x ".join(map(str, shape))
    return f"holds no maps: {sides} is neither channels over rows and columns nor one row of tokens"


def emit_channels_first(bench: Workbench, layer: Layer, tensor: str, sizes: TensorSizes, gradient: bool = False) -> str:
    """A layer's tensor, or its gradient, as float32 (N, C, h, w); tokens that are no places are left out."""
    write = bench.write
    name = write.to_float(tensor) if not gradient and (sizes.is_half(tensor) or sizes.is_whole(tensor)) else tensor
    if sizes.is_whole(layer.tensor):
        stored = find_quantization(bench.graph, layer.tensor)
        scale = write.number(stored.scale)
        name = write.emit("Div", name, scale) if gradient else write.emit(
            "Mul", write.emit("Sub", name, write.number(stored.zero)), scale
        )  # fmt: skip
    grid = find_token_grid(bench.model.layers, layer)
    if grid is not None:
        rows = write.emit("Transpose", name, perm=[0, 2, 1]) if layer.channels_last else name
        if grid.order is not None:
            rows = write.emit("Gather", rows, write.ints(*grid.order), axis=2)
        elif grid.extra:
            rows = write.emit("Slice", rows, write.ints(grid.extra), write.ints(grid.length), write.ints(2))
        return write.reshape(rows, 0, 0, grid.height, grid.width)
    return write.emit("Transpose", name, perm=[0, 3, 1, 2]) if layer.channels_last else name


def _map_shape(bench: Workbench, layer: Layer, sizes: TensorSizes) -> tuple[int | str, ...]:
    """(N, h, w) as it is declared."""
    sides = _map_sides(bench, layer, sizes.fixed(layer.tensor))
    return (bench.batch, *(size or word for size, word in zip(sides, ("map_height", "map_width"), strict=True)))


def _map_sides(bench: Workbench, layer: Layer, lengths: Sequence[_Side]) -> tuple[_Side | int, ...]:
    """(h, w) of a layer's maps, of the lengths of its axes."""
    grid = find_token_grid(bench.model.layers, layer)
    if grid is not None:
        return grid.height, grid.width
    return tuple(lengths[1:3] if layer.channels_last else lengths[2:4])


def _to_rows_and_columns(bench: Workbench, flat: str, activation: str, sides: Sequence[int | str]) -> str:
    """(N, 1, P) -> (N, h, w)."""
    write = bench.write
    if all(isinstance(side, int) for side in sides):
        return write.reshape(flat, -1, *(int(side) for side in sides))
    lengths = write.emit("Gather", write.emit("Shape", activation), write.ints(2, 3), axis=0)
    return write.emit("Reshape", flat, write.emit("Concat", write.ints(-1), lengths, axis=0))
