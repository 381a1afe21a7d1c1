"""Shapes of tensors and the axis that holds their channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from inspector import onnx
from inspector.graph import Graph, attributes, infer_types, is_standard, operator_of, read_shape
from inspector.layers.layer import Size

if TYPE_CHECKING:
    from onnx import NodeProto

_LONGEST = 16
"""Nodes that are followed from the input; the arithmetic of a preprocess has fewer."""


def layout_of(shape: Sequence[Size] | None) -> str:
    """NCHW or NHWC by where a size of 1, 3 or 4 stands; NCHW when both or neither would fit."""
    if shape is None or len(shape) != 4:
        return "NCHW"
    first, last = shape[1] in (1, 3, 4), shape[3] in (1, 3, 4)
    return "NHWC" if last and not first else "NCHW"


def find_first_nodes(graph: Graph) -> Iterator[NodeProto]:
    """The nodes that the picture goes through one by one, from the input to where it branches."""
    tensor = graph.inputs[0].name
    for _ in range(_LONGEST):
        readers = graph.consumers_of.get(tensor, [])
        if len(readers) != 1:
            return
        node = graph.nodes[readers[0]]
        if not is_standard(node):
            return
        yield node
        tensor = node.output[0]


def find_channel_axis(graph: Graph) -> tuple[int, int] | None:
    """Where the first convolution takes its channels from: (axis of the input, number of channels).

    Returns:
        None where the picture does not come to a convolution in its own layout.
    """
    axes = [0, 1, 2, 3]  # for each axis of the tensor at hand the one of the input that it is
    for node in find_first_nodes(graph):
        operator = operator_of(node)
        if node.op_type == "Transpose":
            perm = attributes(node).get("perm")
            if perm is None or sorted(perm) != [0, 1, 2, 3]:
                return None
            axes = [axes[p] for p in perm]
        elif operator.window and operator.weight is not None and not operator.transposed:
            weight = graph.initializers.get(node.input[operator.weight])
            if weight is None or len(weight.dims) != 4:
                return None
            return axes[3 if operator.channels_last else 1], int(weight.dims[1]) * int(attributes(node).get("group", 1))
        elif not (operator.elementwise or node.op_type == "Pad"):
            return None
    return None


def find_picture_axis(graph: Graph) -> int:
    """The axis of the input (N, C, H, W) or (N, H, W, C) that holds the channels: 1 or 3.

    What the first convolution reads is known; where there is none, the shape tells what is likely.
    """
    shape = graph.inputs[0].shape or (None,) * 4
    found = find_channel_axis(graph) if len(graph.inputs) == 1 and len(shape) == 4 else None
    if found is not None and found[0] in (1, 3) and shape[found[0]] in (found[1], None, *_symbols(shape)):
        return found[0]
    return 3 if layout_of(shape) == "NHWC" else 1


def _symbols(shape: Sequence[Size]) -> list[str]:
    return [size for size in shape if isinstance(size, str)]


def infer_shapes(graph: Graph) -> dict[str, tuple[Size, ...] | None]:
    """Shapes of all tensors by onnx's shape inference on the structure alone; where it fails, as declared."""
    return {name: read_known_shape(value) for name, value in infer_values(graph).items()}


def infer_values(graph: Graph) -> dict[str, onnx.ValueInfoProto]:
    """Types and shapes of all tensors, inferred in the same way."""
    found = infer_types(graph.proto)
    if not found:
        declared = graph.proto.graph
        found = [*declared.value_info, *declared.output, *declared.input]
    return {value.name: value for value in found}


def read_known_shape(value: onnx.ValueInfoProto) -> tuple[Size, ...] | None:
    """The shape of an inferred tensor, without the symbols that inference makes up: they say no more than None."""
    shape = read_shape(value)
    return shape and tuple(None if isinstance(s, str) and s.startswith("unk__") else s for s in shape)
