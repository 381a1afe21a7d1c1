"""Class activation maps as outputs: of the top class, and of all classes where that is a product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exporters.attaching.derivative import check_covered, emit_gradient
from exporters.attaching.formulas import FORMULAS, emit_map, find_channel_weights, scale_maps
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
from inspector.model import make_picture_shape
from inspector.reverse import Head, find_head

_Floats = NDArray[np.float32]
_AT_ONCE = 64
"""Classes whose weights are computed together."""
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


def attach_maps(bench: Workbench, name: str, layer: str | None = None) -> None:
    """Add the map of the top class, and that of all classes where it is a product.

    Args:
        bench: The network that is added to.
        name: A method that is made of the gradient.
        layer: The layer looked at; None chooses as `inspector cam` does.

    Raises:
        NotComputable: The network is no classifier, or the method cannot be written as nodes there.
    """
    model, write, method = bench.model, bench.write, find_formula(name)
    if model.classifier is None:
        does = f": its task is {model.task}" if model.task else ", and what it does is not known (inspector annotate)"
        raise NotComputable(
            f"{model.path} finds neither classes nor boxes{does}", "--cam attaches maps of classes and of boxes"
        )
    explained = find_output(model, None)
    [chosen], [head], _ = choose_cam_layers(model, explained.tensor, None if layer is None else [layer])
    head = find_head(bench.graph, chosen.tensor, explained.tensor)
    sizes = bench.measure(head)
    check_plain(bench, chosen, sizes)
    weights = _class_weights(bench, method, head, chosen, sizes)
    if method.linear_head and weights is None:
        raise NotComputable(
            f"{method.name} needs a head that weighs every place of a channel alike (average pooling, then linear); "
            f"after {chosen.name!r} comes {listing(list(dict.fromkeys(head.operators)), 6)}",
            "gradcam and hirescam work with any head",
        )
    if weights is not None and len(weights) < 2:  # one score says two classes, whose maps are no product of theirs
        weights = None
    activation = emit_channels_first(bench, chosen, chosen.tensor, sizes)
    flat = write.reshape(activation, 0, 0, -1)
    seed = emit_top(bench, explained.tensor, sizes)
    stored = None
    if weights is not None:
        stored = _find_stored(bench, weights)
        raw = write.emit("MatMul", _pick_row(bench, seed.top, stored), flat)
    else:
        raw = _emit_by_gradient(bench, method, chosen, head, seed, sizes, flat)
    shape = _map_shape(bench, chosen, sizes)
    heat = scale_maps(write, raw, [-1])
    settings = {"method": method.name, "layer": chosen.name}
    bench.add_output(
        _to_rows_and_columns(bench, heat, activation, shape[1:], None),
        "cam",
        f"{method.title} of the top class at layer {chosen.name}: 0 no evidence, 1 the most",
        shape,
        settings,
    )
    if weights is not None and stored is not None:
        every = scale_maps(write, write.emit("MatMul", stored, flat), [-1], many=True)
        bench.add_output(
            _to_rows_and_columns(bench, every, activation, shape[1:], len(weights)),
            "cam_classes",
            f"{method.title} of every class at layer {chosen.name}, each scaled by itself",
            (shape[0], len(weights), *shape[1:]),
            settings,
        )


def _pick_row(bench: Workbench, top: str, weights: str) -> str:
    """The weights of the top class of each picture, (N, 1, C), of weights (K, C)."""
    return bench.write.emit("Gather", weights, top, axis=0)


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
    grid = find_token_grid(bench.model.layers, layer)
    if grid is not None:
        return (bench.batch, grid.height, grid.width)
    lengths = sizes.fixed(layer.tensor)
    sides = lengths[1:3] if layer.channels_last else lengths[2:4]
    return (bench.batch, *(size or word for size, word in zip(sides, ("map_height", "map_width"), strict=True)))


def _to_rows_and_columns(
    bench: Workbench, flat: str, activation: str, sides: Sequence[int | str], classes: int | None
) -> str:
    """(N, 1, P) or (N, K, P) -> (N, h, w) or (N, K, h, w)."""
    write = bench.write
    middle = [] if classes is None else [classes]
    if all(isinstance(side, int) for side in sides):
        return write.reshape(flat, -1, *middle, *(int(side) for side in sides))
    lengths = write.emit("Gather", write.emit("Shape", activation), write.ints(2, 3), axis=0)
    return write.emit("Reshape", flat, write.emit("Concat", write.ints(-1, *middle), lengths, axis=0))


def _class_weights(bench: Workbench, method: Method, head: Head, layer: Layer, sizes: TensorSizes) -> _Floats | None:
    """What each class gives to the mean of each channel, float32 (K, C); None where the picture has a say in it."""
    classes = bench.model.classes
    if not head.linear or not head.bottleneck or not classes:
        return None
    model = bench.model
    picture = np.zeros(make_picture_shape(model), model.input.dtype)
    source = find_head(model.graph, head.layer, head.output)
    values = model.run(picture, [*source.needed, source.layer, source.output])
    values.update({name: _read_constant(bench, name) for name in source.weights})
    batch, output = len(picture), values[source.output].shape
    many = batch if model.input.batch else _AT_ONCE
    moved = {
        name: np.broadcast_to(value[:1], (many, *value.shape[1:]))
        if name in head.moving or name == head.layer
        else value
        for name, value in values.items()
    }
    rows, grid = [], find_token_grid(model.layers, layer)
    for start in range(0, classes, many):
        seed = np.zeros((many, int(np.prod(output[1:]))), np.float32)
        numbers = np.arange(start, min(start + many, classes))
        seed[np.arange(len(numbers)), numbers] = 1
        gradient = source.gradient(seed.reshape(many, *output[1:]), moved)[: len(numbers)]
        ordered = np.moveaxis(gradient, -1, 1) if layer.channels_last else gradient
        ordered = ordered if grid is None else grid.to_maps(ordered)
        sized = all(size is not None for size in sizes.fixed(layer.tensor)[1:])
        found = find_channel_weights(method.name, ordered, sized or grid is not None)
        if found is None:
            return None
        rows.append(found)
    return np.concatenate(rows)


def _read_constant(bench: Workbench, name: str) -> NDArray[np.float32]:
    graph = bench.model.graph
    if name in graph.initializers:
        return np.asarray(graph.weight(name), np.float32)
    picture = np.zeros(make_picture_shape(bench.model), bench.model.input.dtype)
    return np.asarray(bench.model.run(picture, [name])[name], np.float32)


def _find_stored(bench: Workbench, weights: _Floats) -> str:
    """The name of weights (K, C): those of the file's own last layer where they are the same but for a factor."""
    write, graph = bench.write, bench.graph
    for name, tensor in graph.initializers.items():
        dims = tuple(tensor.dims)
        same, turned = dims == weights.shape, dims == weights.shape[::-1]
        if tensor.data_type != 1 or not (same or turned):
            continue
        stored = graph.weight(name)
        stored = stored if same else stored.T
        top = np.abs(stored).max()
        factor = float(
            (weights * stored).sum(dtype=np.float64) / max(float(np.square(stored, dtype=np.float64).sum()), 1e-30)
        )
        if factor > 0 and np.abs(weights / factor - stored).max() <= 1e-6 * top:
            return name if same else write.emit("Transpose", name, perm=[1, 0])
    return write.constant(weights)
