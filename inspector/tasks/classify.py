"""Which output of a graph says what class a picture shows, and what stands between it and the raw scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any

from inspector.graph import Graph, is_standard, operator_of
from inspector.graph.operators import Ending
from inspector.layers import infer_shapes
from inspector.metadata import Activation, Metadata
from inspector.onnx import NodeProto
from inspector.records import record
from inspector.tasks.own import RoundedScores, find_own, find_rounding
from inspector.tasks.scaled import ScaledEnd, find_scaled
from inspector.tasks.values import Shapes, find_values, sums_over_all_classes

_ACTIVATION: dict[Ending, Activation] = {"softmax": "softmax", "log-softmax": "softmax", "sigmoid": "sigmoid"}
_LONGEST_TAIL = 16


@record
class Classifier:
    """Where a model says which class it sees.

    Args:
        scores: Tensor with the scores, (N, K), (N, K, 1, 1) or (N, 1, K). A softmax or sigmoid at the graph's end is
            stepped over; where more stands behind it, the scores are the probabilities that the graph gives.
        activation: What turns scores into probabilities; "none" where they are probabilities already.
        classes: K; None where the graph does not fix it.
        in_graph: The graph itself ends in the activation, or in values that are provably probabilities.
        guessed: Neither the graph nor the metadata says the activation: it is the likeliest.
        probabilities: Tensor with the softmax or sigmoid of the scores as the graph itself gives it, perhaps rounded;
            None where it gives none beside the scores.
        rounding: How the graph rounds the scores to integers, where it rounds its probabilities so as well.
    """

    scores: str
    activation: Activation
    classes: int | None
    in_graph: bool
    guessed: bool = field(default=False, compare=False)
    probabilities: str | None = None
    rounding: RoundedScores | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that an answer is read off: the scores, and the graph's own probabilities where it has some."""
        return (self.scores,) if self.probabilities is None else (self.scores, self.probabilities)

    @property
    def fetched(self) -> tuple[str, ...]:
        """The same, as a run asks the graph for them: what is rounded in the place of rounded scores."""
        return self.tensors if self.rounding is None else (self.rounding.tensor, *self.tensors[1:])


def find_classifier(graph: Graph, document: Metadata, assumed: list[str]) -> Classifier | None:
    """The classification output, or None when no output has the shape of one.

    The output that the metadata names; else, of several, one with as many classes as there are labels, one that ends in
    probabilities, the last.

    Args:
        graph: The graph.
        document: The metadata of the file.
        assumed: Gets a line where there was a choice, and where the activation is guessed.

    Returns:
        None also for a vector of unit length, which is an embedding, unless the metadata says that it is scores.
    """
    if document.output is not None and document.output in graph.producer_of:
        outputs = [document.output]
    else:
        outputs = [name for name in graph.outputs if name in graph.producer_of]
    shapes: Shapes = infer_shapes(graph) if outputs else {}
    feature_maps = {entry.tensor for entry in document.layers}
    found: dict[str, tuple[tuple[bool, bool, int], str, Classifier]] = {}
    places = _find_places(outputs, shapes)
    for name in outputs:
        if name in feature_maps and document.output is not None and name != document.output:
            continue
        one = _judge(graph, name, shapes, document)
        if one is None:
            continue
        labelled = bool(document.labels) and one.classes == len(document.labels or ())
        if places and not labelled and (name in places or one.activation != "softmax" or not one.in_graph):
            continue  # the outputs of a detector: a number for each of its places, no classes
        rank = (labelled, one.in_graph, graph.producer_of[name])
        if one.scores not in found or rank > found[one.scores][0]:
            found[one.scores] = (rank, name, one)
    if not found:
        return None
    _, name, best = max(found.values(), key=lambda one: one[0])
    others = [other for _, other, _ in found.values() if other != name]
    others += [other for other in outputs if other not in others and _has_rows(shapes.get(other))]
    if others:
        assumed.append(f"the classes are output {name!r} (not {', '.join(others[:4])})")
    if not best.in_graph:
        best = _find_beside(graph, best, shapes)
    _, _, scaled = _before_all(graph, _before_ranks(graph, name, shapes), shapes)
    if scaled is not None and scaled.apart:
        what = "a log-softmax" if best.probabilities is None else "probabilities"
        assumed.append(f"the output {name!r} holds {what} {scaled.describe()}: probabilities are told as shares of 1")
    if best.guessed:
        many = f"softmax over the {best.classes or ''} scores".replace("  ", " ")
        what = "the sigmoid of its one score" if best.activation == "sigmoid" else many
        assumed.append(f"probabilities by {what} (the graph ends without one; annotate --activation says otherwise)")
    return best


def _find_beside(graph: Graph, best: Classifier, shapes: Shapes) -> Classifier:
    """The classifier of raw scores, with the output that is their softmax or sigmoid, where there is one."""
    beside: dict[Activation, str] = {}
    for name in graph.outputs:
        scores, activation, _ = _before_all(graph, _before_ranks(graph, name, shapes), shapes)
        if scores == best.scores and activation is not None and activation != "none":
            beside.setdefault(activation, name)
    if best.activation in beside or (best.guessed and beside):
        found = best.activation if best.activation in beside else next(iter(beside))
        return replace(_add_own(graph, beside[found], replace(best, activation=found), shapes), guessed=False)
    return best


def _judge(graph: Graph, name: str, shapes: Shapes, document: Metadata) -> Classifier | None:
    """The classifier that ends in the output `name`; None where it has not the shape of scores, or is an embedding."""
    if name in graph.counted:
        return None
    end = _before_ranks(graph, name, shapes)
    shape = shapes.get(end)
    if _is_one_each(graph, shape):
        end = _before_squeeze(graph, end, shapes)
        shape = (*(shape or ()), 1)
    count = count_classes(shape)
    if (count is None and not (shape is None or len(shape) == 2)) or _begins_with_steps(graph, shape):
        return None
    scores, activation, _ = _before_all(graph, end, shapes)
    if activation is not None:  # the graph itself knows better than any metadata
        return _add_own(graph, name, Classifier(_with_batch(graph, scores, shapes), activation, count, True), shapes)
    values = find_values(graph, end, shapes)
    if values.unit and document.activation is None and not (document.labels and len(document.labels) == count):
        return None
    if values.are_shares:
        return Classifier(_with_batch(graph, end, shapes), "none", count, True)
    if shape is None and end == name:
        return None  # nothing is known of this output: it may as well be a stack of maps
    guess: Activation = "sigmoid" if count == 1 else "softmax"
    scores = _with_batch(graph, end, shapes)
    return Classifier(scores, document.activation or guess, count, False, document.activation is None)


def _add_own(graph: Graph, name: str, found: Classifier, shapes: Shapes) -> Classifier:
    """The classifier with what the output `name` gives of its probabilities."""
    if found.activation == "none":
        return found
    _, _, scaled = _before_all(graph, _before_ranks(graph, name, shapes), shapes)
    own = find_own(graph, name if scaled is None else scaled.tensor)
    if own is None:
        return found
    if scaled is not None and scaled.floats != scaled.tensor:
        return replace(found, probabilities=scaled.floats)
    rounds = operator_of(graph.nodes[graph.producer_of[own]]).requantizes
    return replace(found, probabilities=own, rounding=find_rounding(graph, found.scores) if rounds else None)


def _has_rows(shape: Sequence[Any] | None) -> bool:
    """Whether an output is (N, A, M), several rows of numbers, as boxes are."""
    return shape is not None and len(shape) == 3 and all(size != 1 for size in shape[1:])


def _find_places(outputs: Sequence[str], shapes: Shapes) -> set[str]:
    """The outputs (N, A, 1) or (N, A) that hold a number for each of the A rows of another: boxes (N, A, 4) or points.

    What has the shape of scores of A classes is the objectness of A anchors then.
    """
    known = {name: tuple(shape) for name in outputs if (shape := shapes.get(name)) is not None}
    rows = {(shape[1], shape[2]) for shape in known.values() if len(shape) == 3 and isinstance(shape[2], int)}
    many = {a for a, numbers in rows if a != 1 and numbers > 1}
    boxes = {a for a, numbers in rows if a != 1 and numbers == 4}
    found = set()
    for name, shape in known.items():
        column = len(shape) == 3 and shape[2] == 1 and shape[1] in many
        if column or (len(shape) == 2 and shape[1] in boxes):
            found.add(name)
    return found


def find_ends(graph: Graph, scores: str) -> tuple[str, ...]:
    """The graph outputs that are the tensor `scores`, a softmax or sigmoid of it, or its ranks."""
    shapes = infer_shapes(graph)
    ends = {name: _before_ranks(graph, name, shapes) for name in graph.outputs}
    return tuple(name for name, end in ends.items() if scores in (end, _before_all(graph, end, shapes)[0]))


def _is_one_each(graph: Graph, shape: Sequence[Any] | None) -> bool:
    """Whether an output (N,) is one score for each of the N pictures of a fixed batch, and no N scores of one."""
    given = graph.inputs[0].shape if graph.inputs else None
    if shape is None or len(shape) != 1 or given is None or len(given) != 4:
        return False
    return isinstance(given[0], int) and given[0] > 1 and shape[0] == given[0]


def _before_squeeze(graph: Graph, name: str, shapes: Shapes) -> str:
    """The column (N, 1) that an output (N,) is made of, where it is only moved; else the output itself."""
    tensor = name
    while (index := graph.producer_of.get(tensor)) is not None and operator_of(graph.nodes[index]).moves:
        tensor = str(graph.nodes[index].input[0])
        known = shapes.get(tensor)
        if known is not None and len(known) > 1 and count_classes(known) == 1:
            return tensor
    return name


def _with_batch(graph: Graph, name: str, shapes: Shapes) -> str:
    """The row (1, K) that scores (K,) of one picture are in another shape; else the scores themselves."""
    shape, tensor = shapes.get(name), name
    while shape is not None and len(shape) == 1 and (index := graph.producer_of.get(tensor)) is not None:
        operator = operator_of(graph.nodes[index])
        if not (operator.passes and operator.moves):
            break
        tensor = str(graph.nodes[index].input[0])
        known = shapes.get(tensor)
        if known is not None and len(known) > 1 and known[0] == 1 and count_classes(known) == shape[0]:
            return tensor
    return name


def _begins_with_steps(graph: Graph, shape: Sequence[Any] | None) -> bool:
    """Whether the first axis of (T, 1, K) is no batch: of unknown size where the pictures are a fixed number."""
    if shape is None or len(shape) < 3 or isinstance(shape[0], int):
        return False
    sizes = [entry.shape[0] for entry in graph.inputs if entry.shape]
    return bool(sizes) and all(isinstance(size, int) and size > 0 for size in sizes)


def count_classes(shape: Sequence[Any] | None) -> int | None:
    """K of shapes (N, K), (N, K, 1, 1), (N, 1, K) and, without a batch axis, (K,); None for anything else."""
    if shape is None or not shape:
        return None
    sizes = shape[1:] if len(shape) > 1 else shape
    wide = [size for size in sizes if size != 1]
    if not wide:
        return 1 if len(shape) > 1 else None
    return wide[0] if len(wide) == 1 and isinstance(wide[0], int) else None


def _before_ranks(graph: Graph, name: str, shapes: Shapes) -> str:
    """The scores that an output ranks, as a TopK, an ArgMax or a list of classes does; else the output itself.

    An output that has lost its batch axis is stepped over as well.
    """
    tensor, shaped = name, ""
    given = shapes.get(name)
    if given is not None and sum(isinstance(size, int) and size > 1 for size in given[1:]) > 1:
        return name  # rows of something, as boxes (N, 2, 4) are: the vector before the Reshape is no answer
    for _ in range(_LONGEST_TAIL):
        if not shaped and count_classes(shapes.get(tensor)) is not None:
            shaped = tensor
        index = graph.producer_of.get(tensor)
        if index is None:
            break
        node = graph.nodes[index]
        row = operator_of(node)
        if row.ranks:
            # Where the scores are maps, a class is ranked at every place: a segmenter's answer, no picture's.
            return node.input[0] if count_classes(shapes.get(node.input[0])) is not None else name
        if not row.passes:
            break
        tensor = node.input[0]
    return shaped or name


def _before_all(graph: Graph, name: str, shapes: Shapes) -> tuple[str, Activation | None, ScaledEnd | None]:
    """The same as :func:`_before_activation`, behind constants and roundings too, and what those do.

    Percent are no scores, and neither are whole numbers from 0 to 255 that a softmax is made into. A sigmoid times a
    number may be anything, the place of a box or an age: it adds up to nothing.
    """
    scores, activation = _before_activation(graph, name, shapes)
    shape = shapes.get(name)
    # Maps of a layer that is an output are no scores, and need not be followed.
    row = shape is None or len(shape) < 2 or count_classes(shape) is not None
    scaled = find_scaled(graph, name, shapes) if activation is None and row else None
    if scaled is None:
        return scores, activation, None
    scores, activation = _before_activation(graph, scaled.tensor, shapes)
    known = activation == "softmax" or (activation == "sigmoid" and not scaled.apart)
    if not known or (scaled.factor < 0 and find_own(graph, scaled.tensor) is not None):
        return name, None, None
    return scores, activation, scaled


def _before_activation(graph: Graph, name: str, shapes: Shapes) -> tuple[str, Activation | None]:
    """(tensor to take scores from, the activation that the graph itself ends in, or None without one).

    A softmax or sigmoid is stepped over where its input is the scores of one picture; where it is not (a softmax over
    groups, a quantized one), the graph's own output is taken, and there is nothing left to do: "none".
    """
    tensor = name
    for _ in range(_LONGEST_TAIL):
        index = graph.producer_of.get(tensor)
        if index is None:
            return name, None
        node = graph.nodes[index]
        row = operator_of(node)
        if row.ending:
            if row.integer:
                return name, "none"  # nothing before it can be asked for as scores
            if row.ending == "sigmoid" or sums_over_all_classes(graph, node, shapes):
                return node.input[0], _ACTIVATION[row.ending]
            return name, "none"
        written = _written_softmax(graph, node) if row.standard else None
        if written is not None:
            return written, "softmax"
        if not row.passes:
            return name, None
        tensor = node.input[0]
    return name, None


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
