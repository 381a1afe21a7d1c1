"""The sizes of all tensors for one size of the picture, so that axes can be told apart by their lengths."""

from __future__ import annotations

import onnx

from inspector.graph import Graph, Operator, infer_types, operator_of
from inspector.graph.operators.contributed import MICROSOFT

_OPEN = (160, 224, 96)
"""What lengths that the file leaves open are taken to be, besides the batch: unlike each other, and often halved."""


def choose_sizes(graph: Graph, picture: tuple[int, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Infer the sizes of tensors for one picture size, and for two pictures at a time where the graph takes them.

    Args:
        graph: The graph.
        picture: (height, width) that lengths left open get; None for any.

    Returns:
        Name -> sizes, of the tensors whose sizes are all known.
    """
    found = [_infer(graph, batch, picture) for batch in (2, 1)]
    return found[0] if len(found[0]) >= len(found[1]) else found[1]


def _infer(graph: Graph, batch: int, picture: tuple[int, int] | None) -> dict[str, tuple[int, ...]]:
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    for node in proto.graph.node:
        if node.domain == MICROSOFT and (row := operator_of(node)).integer:
            _stand_in(node, row, graph.opset)
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in proto.graph.input:
        open_sizes = iter(picture or _OPEN)
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") or dim.dim_value < 1:
                dim.Clear()
                dim.dim_value = batch if axis == 0 else next(open_sizes, _OPEN[-1])
    known = {}
    for value in infer_types(proto):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            known[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
    return known


def _stand_in(node: onnx.NodeProto, row: Operator, opset: int) -> None:
    """Make an operator on integers, whose sizes onnx does not infer, one of ONNX's own with the same sizes."""
    first = node.input[0]
    settings = [a for a in node.attribute if a.name in ("kernel_shape", "strides", "pads", "auto_pad", "ceil_mode")]
    if row.kind == "concat":
        data = list(node.input[2::3])
        _become(node, "Concat", data, [a for a in node.attribute if a.name == "axis"])
    elif row.elementwise:
        _become(node, "Identity", [first], [])
    elif row.kind == "pool" and row.window:
        _become(node, "MaxPool", [first], settings)
    elif row.kind == "pool" and opset < 18:
        _become(node, "ReduceMax", [first], [onnx.helper.make_attribute("axes", [2, 3])])


def _become(node: onnx.NodeProto, op: str, inputs: list[str], settings: list[onnx.AttributeProto]) -> None:
    kept = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in settings]
    node.op_type, node.domain = op, ""
    del node.input[:], node.attribute[:]
    node.input.extend(inputs)
    node.attribute.extend(kept)
