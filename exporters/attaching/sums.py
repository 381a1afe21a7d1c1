"""Grad-CAM through a mean or a large linear layer: the sums over all places at once.

Of the gradient of each channel Grad-CAM needs only the sum over the places. Behind a mean over the places it is the
gradient of that mean. A max pool hands each number on to one
place, and a flattened map is read by a linear layer with weights of its own for each place: the sum of the gradient
is then the gradient behind that layer times the sum of the weights, which are fewer by as many times as there are
places (49 in VGG). The device reads 8 MB where it would read the 400 MB of the layer a second time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from exporters.attaching.derivative import emit_gradient
from exporters.attaching.seeds import TopSeed, averages_places
from exporters.attaching.sizes import Lengths, TensorSizes
from exporters.attaching.workbench import Workbench
from inspector.graph import attributes, operator_of
from inspector.layers import Layer
from inspector.reverse import Head, find_head

LARGE = 2**20
"""Weights from which on it is worth a second, smaller matrix in the file."""


@dataclass(frozen=True)
class _Reader:
    """A linear layer that reads all places of a layer's maps.

    Attributes:
        output: What it computes.
        weight: The name of its weights.
        turned: They are stored as (inputs, outputs).
        shape: Of the maps that it reads, for one picture.
        axis: The axis of the channels in it.
    """

    output: str
    weight: str
    turned: bool
    shape: Lengths
    axis: int


def emit_channel_sums(bench: Workbench, layer: Layer, head: Head, seed: TopSeed, sizes: TensorSizes) -> str | None:
    """Write the gradient of each channel, added up over its places.

    Args:
        bench: The network that is added to.
        layer: The layer.
        head: What comes behind it.
        seed: Where the way back begins.
        sizes: The shapes of all tensors on it.

    Returns:
        The name of the sums, float32 (N, 1, C); None where neither a mean over all places nor a large linear layer is
        known to read it.
    """
    graph, write = bench.graph, bench.write
    if mean := _find_mean(bench, layer, head, sizes):
        return _emit_behind_mean(bench, mean, layer, seed, sizes)
    found = _find_reader(bench, layer, head, sizes)
    if found is None or found.output not in head.moving:
        return None
    rest = find_head(graph, found.output, seed.tensor)
    if not rest.connected:
        return None  # the layer is the last one, of which one row is read
    behind = emit_gradient(write, sizes, {seed.tensor: seed.gradient}, rest)
    if behind is None:
        return None
    summed = _sum_places(graph.weight(found.weight), found)
    return write.reshape(write.emit("MatMul", behind, write.constant(summed)), -1, 1, summed.shape[1])


def _find_mean(bench: Workbench, layer: Layer, head: Head, sizes: TensorSizes) -> str:
    """The mean over all places of a layer, where nothing else reads the layer; else empty."""
    readers = [bench.graph.nodes[k] for k in head.path if head.layer in bench.graph.nodes[k].input]
    if len(readers) != 1:
        return ""
    [node] = readers
    channel = sizes.rank(head.layer) - 1 if layer.channels_last else 1
    means = node.input[0] == head.layer and averages_places(bench.graph, node, sizes, channel)
    return str(node.output[0]) if means else ""


def _emit_behind_mean(bench: Workbench, mean: str, layer: Layer, seed: TopSeed, sizes: TensorSizes) -> str | None:
    """Each place gives its share to the mean, so that the sum over the places is the gradient of the mean itself."""
    rest = find_head(bench.graph, mean, seed.tensor)
    behind = emit_gradient(bench.write, sizes, {seed.tensor: seed.gradient}, rest) if rest.connected else None
    shape = sizes.sample(layer.tensor)
    return None if behind is None else bench.write.reshape(behind, -1, 1, shape[-1 if layer.channels_last else 1])


def _find_reader(bench: Workbench, layer: Layer, head: Head, sizes: TensorSizes) -> _Reader | None:
    graph, at = bench.graph, head.layer
    shape = sizes.sample(at)
    axis = len(shape) - 1 if layer.channels_last else 1
    for number in head.path:
        node = graph.nodes[number]
        if list(node.input).count(at) != 1 or sum(at in graph.nodes[k].input for k in head.path) != 1:
            return None
        if operator_of(node).kind == "linear":
            return _read_linear(bench, node, at, shape, axis, sizes)
        found = _follow_places(node, shape, axis, sizes.sample(node.output[0]))
        if found is None:
            return None
        shape, axis = found
        at = node.output[0]
    return None


def _follow_places(node: NodeProto, shape: Lengths, axis: int, made: Lengths) -> tuple[Lengths, int] | None:
    """(shape, axis of the channels) of the maps behind a node that keeps the sums of the gradient; else None."""
    if node.op_type == "Transpose" and len(made) == len(shape):
        order = list(attributes(node).get("perm", range(len(shape))[::-1]))
        return (made, order.index(axis)) if order[0] == 0 else None
    if node.op_type == "MaxPool":  # each of its numbers is that of one place
        return made, axis
    if node.op_type == "AveragePool":
        single = all(side == 1 for side in attributes(node).get("kernel_shape", [0]))
        return (shape, axis) if single and made == shape else None
    operator, flat = operator_of(node), (shape[0], int(np.prod(shape[1:])))
    return (shape, axis) if operator.passes and operator.moves and made in (shape, flat) else None


def _read_linear(
    bench: Workbench, node: NodeProto, at: str, shape: Lengths, axis: int, sizes: TensorSizes
) -> _Reader | None:
    graph, settings = bench.graph, attributes(node)
    weight = node.input[1]
    plain = settings.get("alpha", 1.0) == 1 and not settings.get("transA", 0)
    tensor = graph.initializers.get(weight)
    if node.input[0] != at or tensor is None or tensor.data_type != 1 or not plain:
        return None
    rows = operator_of(node).rows_axis(node)
    inputs = int(np.prod(shape[1:]))
    size = int(np.prod(tensor.dims))
    fits = len(tensor.dims) == 2 and len(sizes.sample(at)) == 2 and tensor.dims[1 if rows == 0 else 0] == inputs
    if not fits or size < LARGE or inputs == shape[axis]:
        return None
    return _Reader(node.output[0], weight, rows != 0, shape, axis)


def _sum_places(weights: NDArray[np.float32], reader: _Reader) -> NDArray[np.float32]:
    """(outputs, channels), added up in double precision."""
    rows = weights.T if reader.turned else weights
    places = tuple(k for k in range(1, len(reader.shape)) if k != reader.axis)
    whole = rows.reshape(len(rows), *reader.shape[1:])
    return np.asarray(whole.sum(axis=places, dtype=np.float64), np.float32)
