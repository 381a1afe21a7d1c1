"""What the table covers: the list of operators, and for a graph the nodes it does not cover and what they block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import inspector.twin.operators  # noqa: F401  (fills the table)
from inspector.errors import NotComputable, listing
from inspector.graph import node_inputs
from inspector.twin.records import Compiler, Constants, Record, decode, walk_records
from inspector.twin.table import TABLE, NotSupported

if TYPE_CHECKING:
    from inspector.graph import Graph


@dataclass(frozen=True)
class Unsupported:
    """A node that the twin cannot run.

    Attributes:
        node: Its name in the file, may be empty.
        op: Type of the operator.
        domain: Of the operator.
        opset: Of that domain in the file.
        reason: What is missing.
        outputs: The tensors it makes.
        blocks: Every tensor that depends on it, its own first, in topological order.
    """

    node: str
    op: str
    domain: str
    opset: int
    reason: str
    outputs: tuple[str, ...]
    blocks: tuple[str, ...]


class TwinUnsupported(NotComputable):
    """The asked tensors depend on operators that the twin does not have. `nodes` lists all of them."""

    kind = "twin-unsupported"

    def __init__(self, nodes: Iterable[Unsupported], wanted: Iterable[str]) -> None:
        self.nodes = tuple(nodes)
        each = [
            f"{u.domain + ':' if u.domain else ''}{u.op} (opset {u.opset}, node {u.node or u.outputs[0]!r}): {u.reason}"
            for u in self.nodes
        ]
        blocked = {name for u in self.nodes for name in u.blocks}
        asked = [name for name in wanted if name in blocked]
        super().__init__(
            f"the twin cannot compute {listing([repr(a) for a in asked])}: {listing(each)}",
            "ask for tensors that do not depend on these nodes, or use the onnxruntime side, which needs no gradients",
        )


def list_supported_operators() -> tuple[str, ...]:
    """Names of the operators in the table, sorted; those of other domains as ``domain:Name``."""
    return tuple(sorted(f"{domain}:{op}" if domain else op for domain, op in TABLE if domain != "inspector"))


def find_unsupported(graph: Graph) -> list[Unsupported]:
    """The nodes of `graph` that the twin cannot run, in topological order; empty when it can run everything.

    Attributes and constant settings are looked at; weights are not read.
    """
    constants = Constants(graph)
    compiler = Compiler(graph, constants, exact=False, batch=None)
    found = []
    for index, node in enumerate(graph.nodes):
        record = decode(node, graph.tensor_array)
        reason = explain_refusal(record, compiler)
        if reason is not None:
            found.append(describe_unsupported(graph, index, compiler.opsets.get(record.domain, 1), reason))
    return found


def explain_refusal(record: Record, compiler: Compiler) -> str | None:
    """Why the twin cannot run this node, or None."""
    for each in walk_records([record]):
        if each.inputs and not each.inputs[0] and each.op != "Loop":  # whose first input may be left out
            return "its first input is missing"
        try:
            compiler.kernel(each, host=False)
        except NotSupported as error:
            return str(error) if each is record else f"{each.label} inside it: {error}"
    return None


def describe_unsupported(graph: Graph, index: int, opset: int, reason: str) -> Unsupported:
    """The node at `index` as an Unsupported, with everything that depends on it."""
    node = graph.nodes[index]
    blocked = dict.fromkeys(name for name in node.output if name)
    for later in list(graph.nodes)[index + 1 :]:
        if any(name in blocked for name in node_inputs(later)):
            blocked.update(dict.fromkeys(name for name in later.output if name))
    outputs = tuple(name for name in node.output if name)
    return Unsupported(node.name, node.op_type, node.domain, opset, reason, outputs, tuple(blocked))
