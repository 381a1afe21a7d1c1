"""Inputs whose declared size is a leftover of the export."""

from __future__ import annotations

from dataclasses import replace

from inspector import onnx
from inspector.graph.graph import Graph


def free_picture(graph: Graph, axes: tuple[int, ...]) -> Graph:
    """Leave lengths of the first input open.

    Args:
        graph: The graph of a file; it stays as it is. Its operators must not depend on these lengths.
        axes: The axes of the input to leave open.

    Returns:
        The same graph, without the shapes that it declares of what it computes.
    """
    first = graph.inputs[0]
    if first.shape is None:
        return graph
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    for value in proto.graph.input:
        if value.name == first.name:
            for axis in axes:
                value.type.tensor_type.shape.dim[axis].Clear()
    proto.graph.ClearField("value_info")
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    shape = tuple(None if axis in axes else size for axis, size in enumerate(first.shape))
    inputs = (replace(first, shape=shape), *graph.inputs[1:])
    return replace(graph, proto=proto, inputs=inputs, origin=graph.origin or graph)
