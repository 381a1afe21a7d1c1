"""Shapes of tensors and the axis that holds their channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from inspector.graph import Graph, infer_types, read_shape
from inspector.layers.layer import Size


def layout_of(shape: Sequence[Size] | None) -> str:
    """NCHW or NHWC by where a size of 1, 3 or 4 stands; NCHW when both or neither would fit."""
    if shape is None or len(shape) != 4:
        return "NCHW"
    first, last = shape[1] in (1, 3, 4), shape[3] in (1, 3, 4)
    return "NHWC" if last and not first else "NCHW"


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


def move_channels_first(value: NDArray[Any], channels_last: bool) -> NDArray[np.float32]:
    """Put the channels of a layer's tensor on axis 1.

    Args:
        value: The tensor as the graph makes it, (N, C, ...) or (N, ..., C).
        channels_last: Whether its channels stand on the last axis.

    Returns:
        float32 (N, C, ...), contiguous; the same memory where nothing has to change.
    """
    if channels_last and value.ndim >= 3:
        value = np.moveaxis(value, -1, 1)
    return np.ascontiguousarray(value, np.float32)
