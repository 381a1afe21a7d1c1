"""The one table of operators: what each of them is. Everything that asks about an operator asks here.

A row says facts about the operator, for every reader; what a reader makes of them is its own affair. An operator that
has no row is one of which nothing is known, and gets a row that promises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from inspector.graph.nodes import node_inputs
from inspector.graph.operators.contributed import BLOCKED, MICROSOFT, make_contributed_rows, make_learning_rows
from inspector.graph.operators.integers import add_scales
from inspector.graph.operators.row import Ending, Operator
from inspector.graph.operators.standard import make_standard_rows

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["KNOWN_DOMAINS", "OPERATORS", "Ending", "Operator", "find_operator", "operator_of", "value_inputs"]

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", MICROSOFT, BLOCKED})
"""Operator domains that onnxruntime's published packages implement."""

OPERATORS = {
    (row.domain, row.name): row
    for part in (make_standard_rows, make_contributed_rows, make_learning_rows)
    for row in add_scales(part())
}
"""(domain, name) -> row. The domain of ONNX's own operators is the empty string."""


def operator_of(node: NodeProto) -> Operator:
    """The row of a node's operator; one that says nothing where it is not in the table."""
    return find_operator(node.op_type, node.domain)


@lru_cache(maxsize=4096)
def find_operator(name: str, domain: str = "") -> Operator:
    """The row of an operator; one that says nothing where it is not in the table.

    Example:
        >>> find_operator("Relu").kind
        'activation'
    """
    domain = "" if domain == "ai.onnx" else domain
    return OPERATORS.get((domain, name)) or Operator(domain, name, word=name.lower())


def value_inputs(node: NodeProto) -> Iterator[str]:
    """The tensors whose values a node reads, those in bodies included; not those of which it reads only the shape."""
    blind = operator_of(node).shape_inputs
    if not blind:
        yield from node_inputs(node)
        return
    yield from (name for k, name in enumerate(node.input) if name and k not in blind)
