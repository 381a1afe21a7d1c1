"""Shapes as a file declares them and as onnx infers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector import onnx
from inspector.graph.nodes import iterate_with_bodies

if TYPE_CHECKING:
    from onnx import ModelProto


def read_shape(value: onnx.ValueInfoProto) -> tuple[int | str | None, ...] | None:
    """The declared shape: int, symbol or None per dimension; None when not even the rank is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else (d.dim_param or None) for d in tensor.shape.dim
    )


def infer_types(proto: ModelProto) -> list[onnx.ValueInfoProto]:
    """Types and shapes of the tensors of a structure by onnx's shape inference; empty where it fails."""
    # onnx counts a Range out number by number, and 10^11 of them take a hundred bytes to ask for. A Unique stands for
    # it: one axis of unknown length, of the type of its first input.
    if any(node.op_type == "Range" for node in iterate_with_bodies(proto.graph.node)):
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        for node in iterate_with_bodies(copy.graph.node):
            if node.op_type == "Range" and node.input:
                start = node.input[0]
                node.op_type = "Unique"
                del node.input[:], node.attribute[:]
                node.input.append(start)
        proto = copy
    try:
        inferred = onnx.run_shape_inference(proto)
    except Exception:  # a C++ error type of the onnx package; a run will tell the shapes
        return []
    return [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]
