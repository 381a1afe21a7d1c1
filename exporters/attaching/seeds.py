"""Where the way back begins: the derivative of what is explained with respect to an output."""

from __future__ import annotations

import math

import numpy as np

from exporters.attaching.sizes import TensorSizes
from exporters.attaching.workbench import Workbench


def emit_top_seed(bench: Workbench, scores: str, sizes: TensorSizes) -> str:
    """Write 1 at the top class of each picture and 0 elsewhere, in the shape of the scores.

    Of one score that stands for two classes it is 1 or -1: the sign of the likelier one.

    Args:
        bench: The network that is added to.
        scores: The tensor with the scores.
        sizes: Its shape is among them.

    Returns:
        The name of the seed, float32.
    """
    write, model = bench.write, bench.model
    name = write.to_float(scores) if sizes.is_half(scores) else scores
    shape = sizes.sample(scores)
    count = math.prod(shape) // (model.input.batch or 1)
    rows = write.reshape(name, model.input.batch or -1, count)
    if count == 1:
        ones = write.emit("Add", write.emit("Mul", rows, write.number(0)), write.number(1))
        if model.labels and len(model.labels) == 1:
            seed = ones
        else:
            classifier = model.classifier
            half = 0.5 if classifier is not None and classifier.activation == "none" else 0.0
            likely = write.emit("Less", rows, write.number(half))
            seed = write.emit("Where", likely, write.emit("Neg", ones), ones)
    else:
        top = write.emit("ArgMax", rows, axis=1, keepdims=1)
        places = write.constant(np.arange(count)[None])
        seed = write.to_float(write.emit("Equal", top, places))
    return write.reshape_like(seed, scores) if len(shape) != 2 else seed
