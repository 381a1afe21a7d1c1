"""How many multiplications a prediction takes, by the shapes of a graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from inspector import onnx
from inspector.errors import ModelError, NotComputable
from inspector.graph import infer_types, operator_of, read_shape
from inspector.model.model import Model


def count_multiply_adds(model: Model) -> int:
    """Multiply-adds of convolutions and matrix products for one picture, from the shapes in the graph.

    Args:
        model: Any model, of which one picture of its own size is counted.

    Returns:
        How many there are; 0 for a network without weights.

    Raises:
        NotComputable: A shape is known neither to the graph nor by a run.

    Example:
        >>> round(count_multiply_adds(model) / 1e6)
        385
    """
    graph = model.graph
    size = model.preprocess.size or (224, 224)
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    # A graph that was traced with several pictures has their number in its constants.
    batch = model.input.batch or 1
    channels = model.input.channels
    shape = (batch, *size, channels) if model.input.layout == "NHWC" else (batch, channels, *size)
    for value in proto.graph.input:
        if value.name == model.input.name:
            value.type.tensor_type.shape.Clear()
            for length in shape:
                value.type.tensor_type.shape.dim.add().dim_value = length
    # Declared shapes may be symbolic or wrong; without them everything is inferred from the input.
    del proto.graph.output[:], proto.graph.value_info[:]
    shapes = {value.name: read_shape(value) for value in infer_types(proto)}
    shapes.update({name: tuple(tensor.dims) for name, tensor in graph.initializers.items()})
    needed, _ = graph.needed(graph.outputs)
    nodes = [graph.nodes[i] for i in sorted(needed) if operator_of(graph.nodes[i]).weighted]
    shapes.update(_measure_shapes(model, size, [n for node in nodes for n in (*node.input, *node.output) if n], shapes))
    total = 0
    for node in nodes:
        operator = operator_of(node)
        if operator.kind == "linear":
            # Every output element is a sum over the inner length, the last axis of the first operand.
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            inner = _read_shape(shapes, node.input[0])[-2 if turned else -1]
            total += math.prod(_read_shape(shapes, node.output[0])) * inner
        else:
            # Every weight is used once for each place of the output, or of the input where that is the smaller one.
            assert operator.weight is not None
            weight = node.input[operator.weight]
            places = node.input[0] if operator.transposed else node.output[0]
            total += math.prod(_read_shape(shapes, places)) * math.prod(_read_shape(shapes, weight)[1:])
    return total // batch


def _measure_shapes(
    model: Model, size: tuple[int, int], names: Sequence[str], shapes: Mapping[str, Sequence[int | str | None] | None]
) -> dict[str, tuple[int, ...]]:
    """The shapes that a run has where the graph computes them, as in a Reshape by what Shape said."""
    unknown = [
        name
        for name in dict.fromkeys(names)
        if (shape := shapes.get(name)) is None or not all(isinstance(length, int) for length in shape)
    ]
    if not unknown:
        return {}
    try:
        values = model.run(model.tensor(np.zeros((*size, 3), np.uint8)), unknown)
    except ModelError as error:
        raise NotComputable(f"the shape of {unknown[0]!r} cannot be worked out: {error.message}") from None
    return {name: value.shape for name, value in values.items()}


def _read_shape(shapes: dict[str, tuple[int | str | None, ...] | None], name: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None or not all(isinstance(size, int) for size in shape):
        raise NotComputable(f"the shape of {name!r} cannot be worked out")
    return tuple(int(size or 0) for size in shape)
