"""Class activation maps of all classes, where they are one product of weights and maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.attaching.formulas import find_channel_weights, scale_maps
from exporters.attaching.sizes import TensorSizes
from exporters.attaching.workbench import Workbench
from exporters.attaching.writer import GraphWriter
from inspector.cam.method import Method
from inspector.errors import NotComputable
from inspector.layers import Layer, find_token_grid
from inspector.model import Model, make_picture_shape
from inspector.model.multiply_adds import count_multiply_adds
from inspector.reverse import Head, find_head

_Floats = NDArray[np.float32]
_AT_ONCE = 64
"""Classes whose weights are computed together."""
_SHARE = 1 / 9
"""How much longer the maps of all classes may make a run unasked."""
_PER_GIVEN = 21
"""Multiply-adds that take as long as handing out one number of an output, which also stands in the way of joined nodes:
onnxruntime on one core takes 0.025 ns for the one and 0.53 ns for the other on EfficientNet-Lite0."""
_PER_SCALED = 60
"""The same for scaling one number of the maps and handing it out: 1.5 ns."""
_FEW = 400_000
"""Multiply-adds that are not worth a thought: ten microseconds, as two or three nodes take."""


def weigh_class_maps(model: Model, channels: int, numbers: int) -> tuple[bool, list[str]]:
    """Tell whether the maps of all classes cost little.

    Args:
        model: The network.
        channels: How many products make one number of a map.
        numbers: Of all maps of one picture.

    Returns:
        Whether they make a run at most about a tenth longer; and what is noteworthy about it.
    """
    added = numbers * (channels + _PER_SCALED)
    if added <= _FEW:
        return True, []
    picture = np.zeros(make_picture_shape(model), model.input.dtype)
    given = sum(value.size for value in model.run(picture, model.graph.outputs).values()) // len(picture)
    try:
        share = added / (count_multiply_adds(model) + _PER_GIVEN * given)
    except NotComputable:
        return True, []
    if share <= _SHARE:
        return True, []
    return False, [
        f"the maps of all classes are left out, because they would make a run about {100 * share:.0f} % longer "
        "(--all-classes adds them)"
    ]


def emit_class_maps(write: GraphWriter, weights: str, activation: str) -> str:
    """Write the maps of all classes, float32 (N, K, h, w), of weights (K, C) and maps (N, C, h, w)."""
    # A convolution with a kernel of one place is that product, and the fastest that onnxruntime has for it.
    kernel = write.emit("Unsqueeze", weights, write.ints(2, 3))
    return scale_maps(write, write.emit("Conv", activation, kernel), [2, 3], many=True)


def find_class_weights(
    bench: Workbench, method: Method, head: Head, layer: Layer, sizes: TensorSizes
) -> _Floats | None:
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


def _read_constant(bench: Workbench, name: str) -> NDArray[Any]:
    """A constant, as float32 where it is no whole number."""
    model, graph = bench.model, bench.model.graph
    if name in graph.initializers:
        value = graph.weight(name)
    else:
        value = model.run(np.zeros(make_picture_shape(model), model.input.dtype), [name])[name]
    return value if value.dtype.kind in "iub" else np.asarray(value, np.float32)


def find_stored(bench: Workbench, weights: _Floats) -> str:
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
