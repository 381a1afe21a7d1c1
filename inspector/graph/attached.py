"""Nodes that `inspector attach` wrote behind a network: told apart by their names, and left out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from inspector import onnx
from inspector.graph.graph import Graph

ATTACHED_PREFIX = "attached/"
"""What the names of attached nodes, and of the tensors between them, begin with."""


def detach(graph: Graph, outputs: Collection[str]) -> Graph:
    """Leave out what was attached to a network: the network as it was before.

    Args:
        graph: The graph of a file; it stays as it is.
        outputs: The names of its attached outputs, as far as its metadata says them; those that a node with an
            attached name makes are left out in any case.

    Returns:
        The same graph without these outputs, and without the nodes and weights that only they need; the very same
        object where none of them is there.
    """
    makers = {name: graph.nodes[graph.producer_of[name]].name for name in graph.outputs if name in graph.producer_of}
    gone = {name for name in graph.outputs if name in outputs or makers.get(name, "").startswith(ATTACHED_PREFIX)}
    if not gone:
        return graph
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    source = graph.proto.graph
    nodes = [n for n in source.node if not n.name.startswith(ATTACHED_PREFIX)]
    for name, kept in (
        ("node", nodes),
        ("initializer", [t for t in source.initializer if not t.name.startswith(ATTACHED_PREFIX)]),
        ("output", [v for v in source.output if v.name not in gone]),
        ("value_info", [v for v in source.value_info if not v.name.startswith(ATTACHED_PREFIX)]),
    ):
        proto.graph.ClearField(name)
        getattr(proto.graph, name).extend(kept)
    return replace(graph, proto=proto, outputs=tuple(name for name in graph.outputs if name not in gone))
