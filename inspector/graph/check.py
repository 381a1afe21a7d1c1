"""What a graph must be for everything that reads it afterwards: known operators, nothing read before it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from inspector import onnx
from inspector.errors import ModelError, listing
from inspector.graph.graph import Graph
from inspector.graph.nodes import is_standard, node_inputs
from inspector.graph.operators import KNOWN_DOMAINS, operator_of
from inspector.graph.wire import NOT_ONNX

if TYPE_CHECKING:
    from onnx import NodeProto


def check_graph(graph: Graph) -> None:
    """Check that a graph is one that everything else may rely on.

    Raises:
        ModelError: It has operators that nobody knows, a node that reads what nothing makes, or no output.
    """
    unknown: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.domain not in KNOWN_DOMAINS:
            unknown.setdefault(node.domain, []).append(node.op_type)
    if unknown:
        names = listing([f"{d}:{op}" for d, ops in unknown.items() for op in dict.fromkeys(ops)])
        raise ModelError(
            f"{graph.path} uses operators that onnxruntime does not have: {names}",
            "export the model with standard ONNX operators",
        )
    _check_nodes(graph)
    made: set[str] = {i.name for i in graph.inputs} | graph.initializers.keys()
    for node in graph.nodes:
        if missing := [name for name in node_inputs(node) if name not in made]:
            raise ModelError(
                f"{graph.path} is damaged: node {node.name or node.op_type!r} reads {missing[0]!r}, "
                "which nothing before it makes",
                NOT_ONNX,
            )
        if again := [name for name in node.output if name and name in made]:
            raise ModelError(f"{graph.path} is damaged: tensor {again[0]!r} is made twice", NOT_ONNX)
        made.update(name for name in node.output if name)
    if not graph.outputs:
        raise ModelError(f"{graph.path} has no output", NOT_ONNX)
    if missing := [name for name in graph.outputs if name not in made]:
        raise ModelError(f"{graph.path} is damaged: nothing makes its output {missing[0]!r}", NOT_ONNX)


def _check_nodes(graph: Graph) -> None:
    """Check that standard operators have the inputs they need and attributes of the right kind.

    What reads the graph afterwards may then rely on them. An operator or version that the onnx package does not know
    is left to onnxruntime.
    """
    known: dict[str, tuple[int, int, dict[str, int]]] = {}
    if not 1 <= graph.opset <= 1000:
        raise ModelError(f"{graph.path} is damaged: it says opset {graph.opset}", NOT_ONNX)
    for node in graph.nodes:
        if not any(node.output):
            raise ModelError(f"{graph.path} is damaged: node {node.name or node.op_type!r} makes nothing", NOT_ONNX)
        if not is_standard(node):
            continue
        if node.op_type not in known:
            known[node.op_type] = _signature(node.op_type, graph.opset)
        inputs, outputs, kinds = known[node.op_type]
        if len(node.input) < inputs or len(node.output) < outputs:
            raise ModelError(
                f"{graph.path} is damaged: node {node.name or node.op_type!r} has {len(node.input)} inputs and "
                f"{len(node.output)} outputs where {node.op_type} needs {inputs} and {outputs}",
                NOT_ONNX,
            )
        for attribute in node.attribute:
            if attribute.type != kinds.get(attribute.name, attribute.type):
                raise ModelError(
                    f"{graph.path} is damaged: attribute {attribute.name!r} of node {node.name or node.op_type!r} "
                    f"is of the wrong type",
                    NOT_ONNX,
                )
        _check_randomness(node, graph)


def _check_randomness(node: NodeProto, graph: Graph) -> None:
    """Refuse random numbers of no distribution: onnxruntime does not answer with an error, but ends the process."""
    if not operator_of(node).random:
        return
    found = {attribute.name: attribute.f for attribute in node.attribute}
    # Not one of them "is smaller", so that NaN is refused too.
    if not (found.get("scale", 1.0) > 0 and found.get("low", 0.0) <= found.get("high", 1.0)):
        said = ", ".join(f"{name} {found[name]:g}" for name in ("scale", "low", "high") if name in found)
        raise ModelError(
            f"{graph.path} draws random numbers that no distribution has: node {node.name or node.op_type!r}, {said}",
            "a scale is above 0, and low is not above high; take the node out of the model before its export",
        )


def _signature(op: str, opset: int) -> tuple[int, int, dict[str, int]]:
    """(least number of inputs, of outputs, attribute types) of a standard operator; no demands for an unknown one."""
    try:
        schema = onnx.get_schema(op, opset)
    except Exception:  # a C++ error type of the onnx package
        return 0, 1, {}
    return schema.min_input, schema.min_output, {k: int(cast(Any, a.type).value) for k, a in schema.attributes.items()}
