"""Which output of a graph says what class a picture shows, and what stands between it and the raw scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto

from inspector.graph import Graph, attributes, is_standard, operator_of
from inspector.graph.operators import Ending
from inspector.layers import infer_shapes
from inspector.metadata import Activation, Metadata

Shapes = Mapping[str, Sequence[Any] | None]

_ACTIVATION: dict[Ending, Activation] = {"softmax": "softmax", "log-softmax": "softmax", "sigmoid": "sigmoid"}
_LONGEST_TAIL = 16


@dataclass(frozen=True)
class Classifier:
    """Where a model says which class it sees.

    scores: tensor with the raw scores, (N, K) or (N, K, 1, 1); a softmax or sigmoid at the graph's end is stepped over.
    activation: what turns scores into probabilities. classes: K. in_graph: the graph itself ends in the activation.
    """

    scores: str
    activation: Activation
    classes: int | None
    in_graph: bool


def find_classifier(graph: Graph, document: Metadata, assumed: list[str]) -> Classifier | None:
    """The classification output, or None when no output has the shape of one.

    The output that the metadata names; else, of several, one with as many classes as there are labels, one that ends in
    a softmax or sigmoid, the last. `assumed` gets a line when there was a choice.
    """
    if document.output is not None and document.output in graph.producer_of:
        outputs = [document.output]
    else:
        outputs = [name for name in graph.outputs if name in graph.producer_of]
    shapes: Shapes = infer_shapes(graph) if outputs else {}
    feature_maps = {entry.tensor for entry in document.layers}
    found: list[tuple[tuple[bool, bool, int], str, Classifier]] = []
    for name in outputs:
        if name in feature_maps and document.output is not None and name != document.output:
            continue
        shape = shapes.get(name)
        count = class_count(shape)
        if count is None and not (shape is None or len(shape) == 2):
            continue
        scores, end = _before_activation(graph, name, shapes)
        if shape is None and end is None:
            continue  # nothing is known of this output: it may as well be a stack of maps
        if end is None:
            activation = document.activation or ("sigmoid" if count == 1 else "softmax")
        else:
            activation = end  # the graph itself knows better than any metadata
        labelled = bool(document.labels) and count == len(document.labels or ())
        rank = (labelled, end is not None, graph.producer_of[name])
        found.append((rank, name, Classifier(scores, activation, count, end is not None)))
    if not found:
        return None
    _, name, best = max(found, key=lambda one: one[0])
    if len(found) > 1:
        others = [other for _, other, _ in found if other != name]
        assumed.append(f"the classes are output {name!r} (not {', '.join(others[:4])})")
    return best


def ends_of(graph: Graph, scores: str) -> tuple[str, ...]:
    """The graph outputs that are the tensor `scores`, or a softmax or sigmoid of it."""
    shapes = infer_shapes(graph)
    return tuple(name for name in graph.outputs if _before_activation(graph, name, shapes)[0] == scores)


def class_count(shape: Sequence[Any] | None) -> int | None:
    """K of (N, K) and (N, K, 1, 1) shapes; None for anything else."""
    if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        return None
    return shape[1] if all(s == 1 for s in shape[2:]) else None


def _before_activation(graph: Graph, name: str, shapes: Shapes) -> tuple[str, Activation | None]:
    """(tensor to take scores from, the activation that the graph itself ends in, or None without one).

    A softmax or sigmoid is stepped over where its input is the scores of one picture; where it is not (a softmax over
    groups, a quantised one), the graph's own output is taken, and there is nothing left to do: "none".
    """
    tensor = name
    for _ in range(_LONGEST_TAIL):
        index = graph.producer_of.get(tensor)
        if index is None:
            return name, None
        node = graph.nodes[index]
        operator = operator_of(node)
        if operator.ending:
            if operator.integer:
                return name, "none"  # nothing before it can be asked for as scores
            if operator.ending == "sigmoid" or _over_all_classes(graph, node, shapes):
                return node.input[0], _ACTIVATION[operator.ending]
            return name, "none"
        written = _written_softmax(graph, node) if operator.standard else None
        if written is not None:
            return written, "softmax"
        if not operator.passes:
            return name, None
        tensor = node.input[0]
    return name, None


def _over_all_classes(graph: Graph, node: NodeProto, shapes: Shapes) -> bool:
    """Whether a softmax sums to one over everything that a picture gives it."""
    shape = shapes.get(node.input[0])
    old = graph.opset < 13  # then all axes from the given one on were taken together
    axis = int(attributes(node).get("axis", 1 if old else -1))
    if shape is None:
        return axis in (1, -1)
    axis = axis + len(shape) if axis < 0 else axis
    wide = [at for at, size in enumerate(shape) if at > 0 and size != 1]
    return all(at >= axis for at in wide) if old else wide in ([], [axis])


def _written_softmax(graph: Graph, node: NodeProto) -> str | None:
    """The scores x under exp(x) / sum(exp(x)) written out, with or without the maximum taken off; or None.

    Also under exp(log_softmax(x)).
    """

    def maker(tensor: str, *kinds: str) -> NodeProto | None:
        made = graph.nodes[graph.producer_of[tensor]] if tensor in graph.producer_of else None
        return made if made is not None and is_standard(made) and made.op_type in kinds else None

    if node.op_type == "Exp":
        log = maker(node.input[0], "LogSoftmax")
        return str(log.input[0]) if log is not None else None
    if node.op_type != "Div":
        return None
    exponents, total = maker(node.input[0], "Exp"), maker(node.input[1], "ReduceSum")
    if exponents is None or total is None or total.input[0] != node.input[0]:
        return None
    shifted = maker(exponents.input[0], "Sub")
    if shifted is not None and (most := maker(shifted.input[1], "ReduceMax")) and most.input[0] == shifted.input[0]:
        return str(shifted.input[0])
    return str(exponents.input[0])
