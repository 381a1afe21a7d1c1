"""What one operator makes of a few numbers, by onnx's own reference in float64 and not by a runtime."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from inspector.graph import Graph, attributes

if TYPE_CHECKING:
    from onnx import NodeProto


_INTEGERS = {onnx.TensorProto.UINT8, onnx.TensorProto.INT8, onnx.TensorProto.UINT16, onnx.TensorProto.INT16}


def choose_integers(node: NodeProto) -> np.dtype[Any] | None:
    """The type of the integers of a node that has no zero point: that of `output_dtype`, and uint8 where none is said.

    Args:
        node: The node; one that makes floats of integers has a zero point of 0 whatever their type.

    Returns:
        The type; None for one whose ends numpy does not know: 4 bits, and 8 bits in floating point.
    """
    said = int(attributes(node).get("output_dtype", 0)) if node.op_type == "QuantizeLinear" else 0
    if said and said not in _INTEGERS:
        return None
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(said or onnx.TensorProto.UINT8))


def requantize(node: NodeProto, values: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """What a node makes of a constant that turns floats into integers, or back; the reference knows late ones only.

    Args:
        node: The node.
        values: Its inputs: the tensor, the scale and maybe the zero point.

    Returns:
        The output; None for grids in blocks.
    """
    given = attributes(node)
    value, scale = values[0], values[1]
    if value is None or scale is None or given.get("block_size", 0):
        return None
    kind = choose_integers(node)
    if len(values) > 2 and values[2] is not None:
        zero = values[2]
    elif kind is not None:
        zero = np.zeros((), kind)
    else:
        return None
    shape = [1] * value.ndim
    if scale.size > 1:
        shape[int(given.get("axis", 1))] = scale.size
    steps, offset = scale.reshape(shape if scale.size > 1 else ()), zero.reshape(shape if zero.size > 1 else ())
    if value.dtype.kind in "iu":
        made = (value.astype(np.int64) - offset.astype(np.int64)).astype(scale.dtype) * steps
        return np.asarray(made, scale.dtype)
    if value.dtype.kind != "f" or zero.dtype.kind not in "iu":
        return None
    info = np.iinfo(zero.dtype)
    return np.asarray(np.clip(np.rint(value / steps) + offset, info.min, info.max)).astype(zero.dtype)


class NodeEvaluator:
    """Runs single nodes of a graph on arrays."""

    def __init__(self, graph: Graph) -> None:
        self.opsets = list(graph.proto.opset_import)
        self._known: dict[bytes, Any] = {}

    def run(self, node: NodeProto, values: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
        """Compute the first output of a node.

        Args:
            node: The node.
            values: Its inputs, in their order; None for one that is left out.

        Returns:
            The output; None where the reference does not know the operator, or not for these types.
        """
        names = [f"i{k}" if value is not None else "" for k, value in enumerate(values)]
        alone = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=names, output=["y"])
        alone.attribute.extend(node.attribute)
        key = alone.SerializeToString()
        if key not in self._known:
            self._known[key] = self._build(alone, names)
        evaluator = self._known[key]
        if evaluator is None:
            return None
        feeds = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = evaluator.run(None, feeds)[0]
        except Exception:  # the reference is plain Python, and fails with whatever its numpy calls fail with
            return None
        return np.asarray(found)

    def _build(self, node: NodeProto, names: Sequence[str]) -> Any:
        from onnx.reference import ReferenceEvaluator

        kind = onnx.TensorProto.DOUBLE
        inputs = [onnx.helper.make_tensor_value_info(name, kind, None) for name in names if name]
        output = onnx.helper.make_tensor_value_info("y", kind, None)
        graph = onnx.helper.make_graph([node], "one", inputs, [output])
        try:
            return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=self.opsets))
        except Exception:  # an operator that it does not know
            return None
