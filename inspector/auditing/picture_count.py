"""Nodes whose values depend on how many pictures are run together, for any number of them.

Shapes say how many there are, and most networks need that number to reshape and to repeat. What is computed from shapes
alone is looked at for two pictures and for three; what differs in more than its rows, or is computed from that, and
then meets the picture's values, makes an answer depend on the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject
from inspector.errors import InspectorError
from inspector.graph import Graph, is_standard, operator_of
from inspector.graph.operators import value_inputs


def find_counting(subject: Subject) -> list[NodeProto]:
    """The nodes at which the number of pictures has a say in values of the picture, those that the scores need.

    Args:
        subject: What is audited; its graph takes any number of pictures.

    Raises:
        NotChecked: Two or three pictures cannot be run together.
    """
    graph, model = subject.graph, subject.model
    needed, _ = graph.needed([model.classifier.scores] if model.classifier is not None else graph.outputs)
    nodes = [graph.nodes[index] for index in sorted(needed) if is_standard(graph.nodes[index])]
    made = [name for node in _find_shape_nodes(graph, nodes) for name in node.output if name]
    if not made:
        return []
    values = []
    tensor = model.tensor(subject.fixed_pictures()["grey"])
    for count in (2, 3):
        try:
            values.append(model.run(np.repeat(tensor, count, axis=0), made))
        except InspectorError as error:
            raise NotChecked(f"{count} pictures cannot be run together: {error.message}") from None
    differing = {name for name in made if not _is_alike(*(np.asarray(value[name]) for value in values))}
    return list(_follow(graph, nodes, differing, set(made)))


def _find_shape_nodes(graph: Graph, nodes: list[NodeProto]) -> Iterator[NodeProto]:
    """The nodes that compute from shapes of what the picture becomes, and from no values of it."""
    found: set[str] = set()
    for node in nodes:
        if not graph.from_picture.isdisjoint(node.output):
            continue
        if any(name in found or name in graph.from_picture for name in node.input):
            found.update(node.output)
            yield node


def _is_alike(two: NDArray[Any], three: NDArray[Any]) -> bool:
    """Whether what is computed for two pictures is what the first two of three have."""
    if two.ndim != three.ndim:
        return False
    for axis, (before, now) in enumerate(zip(two.shape, three.shape, strict=True)):
        if before != now and 3 * before == 2 * now:
            three = three.take(range(before), axis)
    return np.array_equal(two, three, equal_nan=two.dtype.kind == "f")


def _follow(graph: Graph, nodes: list[NodeProto], differing: set[str], shaped: set[str]) -> Iterator[NodeProto]:
    """The nodes that read what depends on the number, by its values, and compute with the picture."""
    hidden: set[str] = set()  # it is the same for two and three, and may not be for four
    for node in nodes:
        row = operator_of(node)
        sizes = {name for at, name in enumerate(node.input) if at in row.size_inputs}
        given = node.input[:2] if node.op_type == "Loop" else node.input[:1] if node.op_type == "If" else None
        read = set(value_inputs(node) if given is None else given) - sizes
        if not read & (differing | hidden):
            continue
        if not graph.from_picture.isdisjoint(node.output):
            yield node
        elif row.passes or (row.moves and not row.elementwise):
            hidden.update(node.output if read & hidden else ())
        else:
            hidden.update(name for name in node.output if name in shaped and name not in differing)
