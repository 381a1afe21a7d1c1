"""Inputs that are constants in practice: the sizes and factors that some networks want beside the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.errors import UsageError, one_line
from inspector.graph.graph import Graph, Input


def fill_inputs(graph: Graph, values: Mapping[str, NDArray[Any]]) -> Graph:
    """Turn inputs into constants.

    Args:
        graph: The graph of a file; it stays as it is.
        values: Name of an input -> its value, as :func:`shape_value` makes it.

    Returns:
        The same graph without these inputs.
    """
    if not values:
        return graph
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    kept = [value for value in proto.graph.input if value.name not in values]
    proto.graph.ClearField("input")
    proto.graph.input.extend(kept)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(v, name) for name, v in values.items())
    inputs = tuple(i for i in graph.inputs if i.name not in values)
    return replace(graph, proto=proto, inputs=inputs, origin=graph.origin or graph)


def shape_value(declared: Input, given: Any) -> NDArray[Any]:
    """The value of an input, in the type and shape that the graph declares.

    Args:
        declared: The input.
        given: Numbers: one for every element, a row of them, or an array of the whole shape.

    Returns:
        The array. Sizes that the graph leaves open are 1, the last of them whatever the numbers need.

    Raises:
        UsageError: They are no numbers of its type, or do not fit its shape.

    Example:
        >>> shape_value(Input("im_shape", ("N", 2), "float32"), [320, 320]).shape
        (1, 2)
    """
    array = _to_type(declared, given)
    if declared.shape is None:
        return array
    sizes = [size if isinstance(size, int) else 1 for size in declared.shape]
    if array.size == 1:
        return np.full(sizes, array.reshape(-1)[0])
    free = [axis for axis, size in enumerate(declared.shape) if not isinstance(size, int)]
    if free and array.size % math.prod(sizes) == 0:
        sizes[free[-1]] = array.size // math.prod(sizes)
    if math.prod(sizes) != array.size:
        shape = ", ".join("?" if size is None else str(size) for size in declared.shape)
        raise UsageError(f"input {declared.name!r} of shape ({shape}) does not take {array.size} numbers")
    return array.reshape(sizes)


def _to_type(declared: Input, given: Any) -> NDArray[Any]:
    wanted = np.dtype(declared.dtype)
    try:
        numbers = np.asarray(given)
        if numbers.dtype.kind in "biuf" and numbers.size:
            array = numbers.astype(wanted)
            if wanted.kind == "f" or np.array_equal(array, numbers):
                return array
    except (TypeError, ValueError, OverflowError):  # no numbers, or rows of several lengths
        pass
    raise UsageError(f"input {declared.name!r} takes {wanted.name}, not {one_line(str(given), 60)}")
