"""Where the way back begins: the derivative of what is explained with respect to an output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from exporters.attaching.sizes import TensorSizes
from exporters.attaching.workbench import Workbench
from inspector.cam.saliency import find_half
from inspector.graph import Graph, attributes, operator_of


@dataclass(frozen=True)
class TopSeed:
    """The derivative of the top score.

    Attributes:
        tensor: The tensor that it is with respect to: the scores, or what the last weights read.
        gradient: Its name, in the shape of that tensor.
        top: The index of the top class, int64 (N, 1); empty where there is one score.
    """

    tensor: str
    gradient: str
    top: str


def emit_top(bench: Workbench, scores: str, layer: str, sizes: TensorSizes) -> TopSeed:
    """Write the derivative of the top score of each picture, from as far back as one row of the last weights gives it.

    Args:
        bench: The network that is added to.
        scores: The tensor with the scores.
        layer: The tensor that the way back ends at.
        sizes: The shapes of the tensors between them are among them.
    """
    write, graph = bench.write, bench.graph
    seed, top = emit_top_seed(bench, scores, sizes)
    at = scores
    while top and (number := graph.producer_of.get(at)) is not None:
        node = graph.nodes[number]
        constant = [name in graph.initializers for name in node.input]
        if node.op_type == "Add" and constant in ([True, False], [False, True]):
            at = node.input[constant.index(False)]
            continue
        plain = not any(a.name in ("transA", "alpha") for a in node.attribute if a.f != 1.0 or a.i)
        if operator_of(node).kind != "linear" or len(constant) < 2 or not constant[1] or constant[0] or not plain:
            break
        weight, shape = node.input[1], graph.initializers[node.input[1]].dims
        if len(shape) != 2 or len(sizes.sample(node.input[0])) != 2 or sizes.is_half(weight):
            break
        axis = operator_of(node).rows_axis(node)
        best = write.emit("ArgMax", _emit_rows(bench, scores, sizes), axis=1, keepdims=0)
        row = write.emit("Gather", weight, best, axis=0 if axis == 0 else 1)
        return TopSeed(node.input[0], row if axis == 0 else write.emit("Transpose", row, perm=[1, 0]), top)
    found = _find_pooled_maps(graph, scores, layer, sizes) if top else None
    return TopSeed(scores, seed, top) if found is None else _emit_before_maps(bench, scores, top, found, sizes)


def _find_pooled_maps(graph: Graph, scores: str, layer: str, sizes: TensorSizes) -> NodeProto | None:
    """The convolution of one place whose maps, cut at 0, have the scores as their means, as in SqueezeNet; or None."""
    at, pooled, cut = scores, False, False
    while at != layer and (number := graph.producer_of.get(at)) is not None:
        node = graph.nodes[number]
        if pooled and cut:
            return node if _weighs_places_alone(graph, node, sizes) else None
        if pooled and node.op_type == "Relu":
            cut = True
        elif not pooled and operator_of(node).passes and operator_of(node).moves:  # (N, K, 1, 1) becomes (N, K)
            shape = sizes.sample(node.input[0])
            if math.prod(shape) != math.prod(shape[:2]):
                return None
        elif not pooled and averages_places(graph, node, sizes, 1):
            pooled = True
        else:
            return None
        at = node.input[0]
    return None


def _weighs_places_alone(graph: Graph, node: NodeProto, sizes: TensorSizes) -> bool:
    """Whether a node is a convolution of one place with constant float32 weights, whose maps have a fixed size."""
    weight = graph.initializers.get(node.input[1]) if node.op_type == "Conv" else None
    if weight is None or weight.data_type != TensorProto.FLOAT:
        return False
    settings = attributes(node)
    plain = settings.get("group", 1) == 1 and set(settings.get("strides", (1,))) == {1}
    plain = plain and not any(settings.get("pads", ())) and tuple(weight.dims[2:]) == (1, 1)
    return plain and all(side is not None for side in sizes.fixed(node.output[0])[2:])


def _emit_before_maps(bench: Workbench, scores: str, top: str, node: NodeProto, sizes: TensorSizes) -> TopSeed:
    """Write the derivative with respect to what a convolution of one place reads: of its maps only one has a say."""
    write = bench.write
    height, width = sizes.sample(node.output[0])[2:]
    shows = write.emit("Greater", write.emit("GatherND", node.output[0], top, batch_dims=1), write.number(0))
    share = write.keep_where(shows, write.number(1 / (height * width)))
    best = write.emit("ArgMax", _emit_rows(bench, scores, sizes), axis=1, keepdims=0)
    row = write.emit("Gather", node.input[1], best, axis=0)
    return TopSeed(node.input[0], write.emit("Mul", row, write.emit("Unsqueeze", share, write.ints(1))), top)


def averages_places(graph: Graph, node: NodeProto, sizes: TensorSizes, channel: int) -> bool:
    """Whether a node makes the mean over all places of maps, of which `channel` is the axis of the channels."""
    if node.op_type == "GlobalAveragePool":
        return channel == 1
    if node.op_type != "ReduceMean":
        return False
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in graph.initializers:
        axes = graph.weight(node.input[1]).tolist()
    rank = sizes.rank(node.input[0])
    return {axis % rank for axis in axes or ()} == set(range(1, rank)) - {channel}


def emit_top_seed(bench: Workbench, scores: str, sizes: TensorSizes) -> tuple[str, str]:
    """Write 1 at the top class of each picture and 0 elsewhere, in the shape of the scores.

    Of one score that stands for two classes it is 1 or -1: the sign of the likelier one.

    Args:
        bench: The network that is added to.
        scores: The tensor with the scores.
        sizes: Its shape is among them.

    Returns:
        The name of the seed, float32; and that of the index of the top class, int64 (N, 1), empty for one score.
    """
    write, model = bench.write, bench.model
    shape = sizes.sample(scores)
    top = ""
    count = math.prod(shape) // (model.input.batch or 1)
    rows = _emit_rows(bench, scores, sizes)
    if count == 1:
        ones = write.emit("Add", write.emit("Mul", rows, write.number(0)), write.number(1))
        half = find_half(model)
        if half is None:
            seed = ones
        else:
            likely = write.emit("Less", rows, write.number(half))
            seed = write.emit("Where", likely, write.emit("Neg", ones), ones)
    else:
        top = write.emit("ArgMax", rows, axis=1, keepdims=1)
        places = write.constant(np.arange(count)[None])
        seed = write.to_float(write.emit("Equal", top, places))
    return (write.reshape_like(seed, scores) if len(shape) != 2 else seed), top


def _emit_rows(bench: Workbench, scores: str, sizes: TensorSizes) -> str:
    """The scores as float32 (N, K)."""
    write, batch, shape = bench.write, bench.model.input.batch, sizes.sample(scores)
    name = write.to_float(scores) if sizes.is_half(scores) else scores
    count = math.prod(shape) // (batch or 1)
    return name if len(shape) == 2 and shape[1] == count else write.reshape(name, batch or -1, count)
