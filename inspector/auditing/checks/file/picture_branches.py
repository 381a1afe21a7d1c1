"""Whether the network takes another way for some pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from onnx import NodeProto

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import InspectorError, listing
from inspector.graph import FLOAT_TYPES, Graph, attributes, is_standard, operator_of
from inspector.graph.nodes import iterate_with_bodies
from inspector.graph.operators import Operator, value_inputs


@check(
    title="No branch depends on the picture",
    remedy="Look at the node that is named and what it reads: a network that recognises a trigger is made this way.",
)
def picture_branches(subject: Subject, limits: Limits) -> Verdict:
    """Every picture goes the same way: no If or Loop, and no selection, asks for its values.

    A comparison or a rounding of each element, as activations make it, selects nothing; one for the whole picture does,
    and so does an entry of a table that is picked by values. Detectors select boxes: rows that are picked are left out,
    and what stands around a suppression of boxes.
    """
    graph = subject.graph
    boxes = [
        name
        for node in graph.nodes
        if any(inner.op_type == "NonMaxSuppression" for inner in iterate_with_bodies([node]))
        for name in node.output
    ]
    seen = graph.from_picture - (graph.find_dependents(boxes) if boxes else set())
    needed, _ = graph.needed(graph.outputs)
    nodes = [graph.nodes[i] for i in sorted(needed) if is_standard(graph.nodes[i])]
    found = list(_find_control_flow(nodes, seen))
    if subject.model.classifier is not None or not boxes:
        found += _find_selections(graph, nodes, seen)
        found += _find_pickings(subject, seen)
        try:
            found += _find_decisions(subject, nodes, seen)
        except NotChecked:
            if not found:  # what is found without a run is found
                raise
    if not found:
        return Verdict(f"all {len(nodes)} nodes are computed alike for every picture", 0, 0)
    findings = tuple(Finding(f"{_name(node)} {text}", key=node.name or node.output[0]) for node, text in found)
    message = f"{len(found)} nodes depend on the picture: {listing([f.message for f in findings], 2)}"
    return Verdict(message, len(found), 0, findings=findings[:MAX_FINDINGS])


def _name(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"


def _find_control_flow(nodes: Sequence[NodeProto], seen: frozenset[str]) -> Iterator[tuple[NodeProto, str]]:
    for node in nodes:
        if node.op_type == "If" and node.input[0] in seen:
            yield node, "chooses a branch by the picture's values"
        elif node.op_type == "Loop" and any(name in seen for name in node.input[:2]):
            yield node, "repeats as often as the picture's values say"
        elif deed := next(_look_into(node, seen), ""):
            yield node, f"{deed} in its body by what it reads of the picture"


def _look_into(node: NodeProto, seen: Collection[str]) -> Iterator[str]:
    """What the nodes in the bodies of a node do by values of `seen`, those that they read from around them included."""
    for attribute in node.attribute:
        body = attribute.g
        given = node.input[2:] if node.op_type == "Loop" else node.input
        own = [value.name for value in (body.input[2:] if node.op_type == "Loop" else body.input)]
        known = set(seen).difference(value.name for value in body.input)
        known.update(name for name, source in zip(own, given, strict=False) if source in seen)
        for child in body.node:
            row = operator_of(child)
            if child.op_type == "If" and child.input[0] in known:
                yield "chooses a branch"
            elif child.op_type == "Loop" and known.intersection(child.input[:2]):
                yield "repeats"
            elif row.compares and known.intersection(child.input) and len(set(child.input)) > 1:
                yield "compares"
            elif row.picks and child.input[1] in known:
                yield "picks"
            yield from _look_into(child, known)
            if known.intersection(value_inputs(child)):
                known.update(child.output)


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


def _find_pickings(subject: Subject, seen: frozenset[str]) -> Iterator[tuple[NodeProto, str]]:
    """What the scores need of the places of the picture's values: an entry of a table, a number to go on with."""
    graph, classifier = subject.graph, subject.model.classifier
    needed, _ = graph.needed([classifier.scores] if classifier is not None else [])
    for node in (graph.nodes[index] for index in sorted(needed)):
        row = operator_of(node)
        if not is_standard(node):
            continue
        if row.picks and node.input[1] in seen and not _is_ranked(graph, node.input[1]):
            yield node, "picks an entry by the picture's values"
        elif _tells_places(node) and node.input[0] in seen and _computes_with_places(graph, node):
            yield node, "says where values of the picture lie, and more is computed from that"


def _tells_places(node: NodeProto) -> bool:
    row = operator_of(node)
    return row.positions or (row.ranks and len(node.output) > 1)


def _computes_with_places(graph: Graph, node: NodeProto) -> bool:
    """Whether the places that a node tells, its last output, do more than to pick what lies there."""
    return not all(reader.picks for reader in _find_readers(graph, node, len(node.output) - 1))


def _is_ranked(graph: Graph, tensor: str) -> bool:
    """Whether places are those of the largest values: so are those of the tokens that a transformer keeps."""
    for _ in range(8):
        index = graph.producer_of.get(tensor)
        if index is None:
            return False
        node = graph.nodes[index]
        if operator_of(node).ranks:
            return len(node.output) > 1
        if not operator_of(node).hands_on and not operator_of(node).keeps_axes:
            return False
        tensor = node.input[0]
    return False


def _find_decisions(
    subject: Subject, nodes: Sequence[NodeProto], seen: frozenset[str]
) -> Iterator[tuple[NodeProto, str]]:
    """Comparisons and steps that give one answer for a whole picture, and that more is computed from."""
    graph, model = subject.graph, subject.model
    compared = [node for node in nodes if _decides(node) and node.output[0] in seen]
    if model.classifier is not None and model.classifier.classes == 1:
        compared = [node for node in compared if operator_of(node).compares]  # a score may be on a grid
    compared = [node for node in compared if _find_readers(graph, node)]
    if not compared:
        return
    picture = np.zeros((*subject.picture_size(), 3), np.uint8)
    try:
        values = model.run(
            model.tensor(picture), [name for node in compared for name in (node.output[0], node.input[0])]
        )
    except InspectorError as error:
        raise NotChecked(f"a black picture cannot be computed: {error.message}") from None
    for node in compared:
        whole = operator_of(node).passes and values[node.input[0]].dtype.kind != "f"  # a cast of what is whole already
        if values[node.output[0]].size <= (model.input.batch or 1) and not whole:
            yield node, "decides about the whole picture"


def _decides(node: NodeProto) -> bool:
    """Whether what it gives jumps: a comparison, a rounding, a cast to whole numbers."""
    row = operator_of(node)
    if node.op_type == "Cast":
        return attributes(node).get("to") not in FLOAT_TYPES
    return row.compares or row.steps


def _find_readers(graph: Graph, node: NodeProto, output: int = 0) -> set[Operator]:
    """The operators that compute with what a node gives, behind those that only hand it on."""
    waiting, done = [node.output[output]], set()
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
