"""What one operator makes of a few numbers, by onnx's own reference in float64 and not by a runtime."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from inspector.graph import Graph

if TYPE_CHECKING:
    from onnx import NodeProto


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
