"""What a file was exported with in training mode, and the graph as it is meant for inference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from inspector.graph.graph import Graph
from inspector.graph.nodes import attributes, is_standard

if TYPE_CHECKING:
    from onnx import NodeProto


def normalises_by_batch(node: NodeProto, opset: int) -> bool:
    """Whether a node is a batch norm that takes the statistics of the batch it is given, not those of the file."""
    if node.op_type != "BatchNormalization" or not is_standard(node):
        return False
    given = attributes(node)
    return bool(given.get("training_mode", 0)) if opset >= 7 else not given.get("is_test", 0)


def drops_at_random(node: NodeProto, graph: Graph) -> bool:
    """Whether a node is a dropout at work, which gives another answer every time, as far as the file fixes it."""
    if node.op_type != "Dropout" or not is_standard(node) or len(node.input) < 3:
        return False
    switch = node.input[2]
    if switch not in graph.initializers or not graph.weight(switch).any():
        return False
    ratio = node.input[1]
    return ratio not in graph.initializers or bool(graph.weight(ratio).any())


def find_training_nodes(graph: Graph) -> list[NodeProto]:
    """Find the batch norms and dropouts in training mode, in topological order."""
    return [node for node in graph.nodes if normalises_by_batch(node, graph.opset) or drops_at_random(node, graph)]


def to_inference(graph: Graph) -> Graph:
    """The graph with every batch norm on the statistics of the file, so that pictures of one batch stay apart.

    Dropouts hand on what they are given.

    Args:
        graph: The graph of a file; it is not changed.

    Returns:
        A copy, or the graph itself where nothing is in training mode.
    """
    if not find_training_nodes(graph):
        return graph
    proto = type(graph.proto)()
    proto.CopyFrom(graph.proto)
    for node in proto.graph.node:
        if normalises_by_batch(node, graph.opset):
            kept = [a for a in node.attribute if a.name not in ("training_mode", "is_test")]
            del node.attribute[:]
            node.attribute.extend(kept)
            if graph.opset < 7:
                node.attribute.add(name="is_test", type=2, i=1)
            del node.output[1:]  # the statistics that training would have kept
        elif drops_at_random(node, graph):
            del node.input[1:]
    return replace(graph, proto=proto)
