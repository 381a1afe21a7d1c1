"""Where batch norms can stand between the layers that are trained."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from inspector.graph import Graph, attributes, is_standard, node_inputs


@dataclass(frozen=True)
class NormPlace:
    """Where a norm stands: behind the node that makes `tensor` by its initializers weight (C, ...) and bias (C,)."""

    tensor: str
    weight: str
    bias: str

    def key(self, part: str) -> str:
        """The name of ``gain``, ``offset``, ``mean`` or ``variance`` in a state; no initializer is named so."""
        return json.dumps(["norm", self.weight, self.bias, part])


def place_norms(graph: Graph, start: int, stop: int) -> list[NormPlace]:
    """Where norms belong among the nodes from `start` to before `stop`.

    Behind each convolution with a bias and behind each BatchNormalization, where a gain and an offset can be folded
    into their initializers and into nothing else: those that other nodes read too stay without.
    """
    readers = Counter(name for node in graph.nodes for name in node_inputs(node))
    consumers: dict[str, list[str]] = {}
    for node in graph.nodes:
        for name in node_inputs(node):
            consumers.setdefault(name, []).append(node.op_type)
    places = []
    for node in graph.nodes[start:stop]:
        is_convolution, is_norm = node.op_type == "Conv", node.op_type == "BatchNormalization"
        if not is_standard(node) or not (is_convolution or is_norm):
            continue
        if len([n for n in node.output if n]) > 1 or attributes(node).get("training_mode"):
            continue  # a norm in training mode gives its statistics too
        if len(node.input) < 3 or any(n not in graph.initializers or readers[n] != 1 for n in node.input[1:3]):
            continue
        if is_convolution and consumers.get(node.output[0]) == ["BatchNormalization"]:
            continue
        places.append(NormPlace(node.output[0], node.input[1], node.input[2]))
    return places
