"""Where the way back begins: the derivative of what is explained with respect to an output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from exporters.attaching.sizes import TensorSizes
from exporters.attaching.workbench import Workbench
from inspector.cam.saliency import find_half
from inspector.graph import operator_of


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


def emit_top(bench: Workbench, scores: str, sizes: TensorSizes) -> TopSeed:
    """Write the derivative of the top score of each picture, from as far back as one row of the last weights gives it.

    Args:
        bench: The network that is added to.
        scores: The tensor with the scores.
        sizes: The shapes of the tensors before it are among them.
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
    return TopSeed(scores, seed, top)


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
