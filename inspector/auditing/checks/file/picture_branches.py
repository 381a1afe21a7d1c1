"""Whether the network takes another way for some pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import NodeProto

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import InspectorError, listing
from inspector.graph import Graph, is_standard, operator_of
from inspector.graph.operators import Operator


@check(
    title="No branch depends on the picture",
    remedy="Look at the node that is named and what it reads: a network that recognises a trigger is made this way.",
)
def picture_branches(subject: Subject, limits: Limits) -> Verdict:
    """Every picture goes the same way: no If or Loop, and no selection, asks for its values.

    A comparison of each element, as activations make it, selects nothing; one for the whole picture does. Detectors
    select boxes: rows that are picked are left out, and what stands around a suppression of boxes.
    """
    graph = subject.graph
    boxes = [o for node in graph.nodes if node.op_type == "NonMaxSuppression" for o in node.output]
    seen = graph.from_picture - (graph.find_dependents(boxes) if boxes else set())
    needed, _ = graph.needed(graph.outputs)
    nodes = [graph.nodes[i] for i in sorted(needed) if is_standard(graph.nodes[i])]
    found = list(_find_control_flow(nodes, seen))
    if subject.model.classifier is not None or not boxes:
        found += _find_selections(graph, nodes, seen)
        found += _find_decisions(subject, nodes, seen)
    if not found:
        return Verdict(f"all {len(nodes)} nodes are computed alike for every picture", 0, 0)
    findings = tuple(Finding(f"{_name(node)} {text}", key=node.name or node.output[0]) for node, text in found)
    message = f"{len(found)} nodes depend on the picture: {listing([f.message for f in findings], 2)}"
    return Verdict(message, len(found), 0, findings=findings[:MAX_FINDINGS])


def _name(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"


def _find_control_flow(nodes: Sequence[NodeProto], seen: frozenset[str]) -> Iterator[tuple[NodeProto, str]]:
    for node in nodes:
        reads = [name for name in node.input if name in seen]
        if node.op_type == "If" and reads:
            yield node, "chooses a branch by the picture's values"
        elif node.op_type == "Loop" and any(name in seen for name in node.input[:2]):
            yield node, "repeats as often as the picture's values say"
        elif (node.op_type == "Loop" or node.op_type == "Scan") and reads:
            children = [child for a in node.attribute if a.name == "body" for child in a.g.node]
            made = {name for child in children if child.op_type != "Constant" for name in child.output}
            if any(child.op_type == "If" and made.intersection(child.input[:1]) for child in children):
                yield node, "chooses a branch in its body by what it reads of the picture"


def _find_selections(graph: Graph, nodes: Sequence[NodeProto], seen: frozenset[str]) -> Iterator[tuple[NodeProto, str]]:
    for node in nodes:
        # A detector picks the rows of its boxes, and computes nothing else from their places.
        if (
            node.op_type == "NonZero"
            and node.input[0] in seen
            and not all(row.picks for row in _find_readers(graph, node))
        ):
            yield node, "looks for the places where values of the picture are not zero"
        elif node.op_type == "Compress" and node.input[1] in seen:
            yield node, "selects by the picture's values"


def _find_decisions(
    subject: Subject, nodes: Sequence[NodeProto], seen: frozenset[str]
) -> Iterator[tuple[NodeProto, str]]:
    """Comparisons that give one answer for a whole picture, and that more is computed from."""
    graph = subject.graph
    compared = [node for node in nodes if operator_of(node).compares and node.output[0] in seen]
    compared = [node for node in compared if _find_readers(graph, node)]
    if not compared:
        return
    model = subject.model
    picture = np.zeros((*subject.picture_size(), 3), np.uint8)
    try:
        values = model.run(model.tensor(picture), [node.output[0] for node in compared])
    except InspectorError:  # such a graph fails other checks
        return
    for node in compared:
        if values[node.output[0]].size <= (model.input.batch or 1):
            yield node, "decides about the whole picture"


def _find_readers(graph: Graph, node: NodeProto) -> set[Operator]:
    """The operators that compute with what a node gives, behind those that only hand it on."""
    waiting, done = [node.output[0]], set()
    found: set[Operator] = set()
    while waiting:
        for index in graph.consumers_of.get(waiting.pop(), []):
            reader = graph.nodes[index]
            if not operator_of(reader).hands_on:
                found.add(operator_of(reader))
            elif index not in done:
                done.add(index)
                waiting.extend(reader.output)
    return found
