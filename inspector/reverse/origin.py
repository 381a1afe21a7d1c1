"""Where one number comes from: an element of an output, followed back to the place of the network that made it.

Behind the last weights of a head, scores are only moved, joined, cut, gathered and squashed: an element of an output is
one element before each of these nodes, until a convolution or matrix product that computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from inspector.graph import Graph, node_inputs, operator_of
from inspector.records import record
from inspector.reverse.rule import HeadNode, make_step
from inspector.reverse.spot import SpotValues

CellIndex = tuple[int, ...]
_LONGEST = 200


@record
class Cross:
    """A concatenation on the way, whose other inputs may be the same answer of other places.

    Attributes:
        node: Its index in the graph.
        axis: Along which it joins.
        position: Which of its inputs the number comes through.
        place: The element of that input.
    """

    node: int
    axis: int
    position: int
    place: CellIndex


@record
class Origin:
    """The element that a number was made of.

    Attributes:
        tensor: Its tensor.
        place: Where in it, the batch axis included.
        sign: -1 where a larger element makes the number smaller, else 1.
        crossed: The concatenations between the two, the last of the graph first.
    """

    tensor: str
    place: CellIndex
    sign: int = 1
    crossed: tuple[Cross, ...] = ()


Hop = tuple[int, CellIndex, int]
"""(position of an input, the element of it, the sign)."""
Move = Callable[[HeadNode, int, CellIndex, SpotValues], "Hop | None"]
"""A node, which of its outputs, an element of that, values -> the element that it comes from; None ends the walk."""

_MOVES: dict[str, Move] = {}


def trace_origin(graph: Graph, tensor: str, place: Sequence[int], values: SpotValues) -> Origin:
    """Follow an element back to where it is computed.

    A sigmoid or softmax is stepped over, so that a score leads to the logit of its class; so is the objectness that a
    score was multiplied with.

    Args:
        graph: The graph.
        tensor: The tensor that holds the number.
        place: Its place, the batch axis included.
        values: What `find_tail` asks for, of one run.
    """
    at, sign = tuple(int(i) for i in place), 1
    crossed: list[Cross] = []
    for _ in range(_LONGEST):
        index = graph.producer_of.get(tensor)
        if index is None:
            break
        node = graph.nodes[index]
        moving = [name in graph.from_picture for name in node.input]
        step = make_step(node, moving, values.whole, graph.opset)
        output = list(node.output).index(tensor)
        found = _hop(graph, step, output, at, values)
        if found is None:
            break
        position, at, turn = found
        if step.node.op_type == "Concat":
            crossed.append(Cross(index, step.get("axis", 1) % len(at), position, at))
        tensor, sign = node.input[position], sign * turn
    return Origin(tensor, at, sign, tuple(crossed))


def trace_others(graph: Graph, origin: Origin, values: SpotValues) -> list[Origin]:
    """The origins of the same answer at other scales: what the other inputs of the joins on the way come from.

    Of two tensors with as many channels, and maps of different sizes, both hold the scores of the same classes.
    """
    own = values.shape(origin.tensor)
    found: dict[str, Origin] = {}
    for cross in origin.crossed:
        names = graph.nodes[cross.node].input
        for position, name in enumerate(names):
            if position == cross.position or name not in graph.from_picture:
                continue
            place = tuple(0 if i == cross.axis else p for i, p in enumerate(cross.place))
            other = trace_origin(graph, name, place, values)
            shape = values.shape(other.tensor)
            alike = len(shape) == len(own) == 4 and shape[1] == own[1] and other.place[1] == origin.place[1]
            alike = alike and shape[2:] != own[2:]
            if alike and other.tensor != origin.tensor:
                found.setdefault(other.tensor, other)
    return list(found.values())


def find_tail(graph: Graph, tensors: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What `trace_origin` may ask for on the way back from some tensors: (values, shapes)."""
    valued: dict[str, None] = {}
    shaped: dict[str, None] = {}
    waiting, seen = list(tensors), set(tensors)
    while waiting:
        tensor = waiting.pop()
        shaped[tensor] = None
        index = graph.producer_of.get(tensor)
        if index is None:
            continue
        node = graph.nodes[index]
        row = operator_of(node)
        if row.weighted or not (node.op_type in _MOVES or row.elementwise):
            shaped.update((name, None) for name in node.input if name)
            continue
        moving = [name for name in node.input if name in graph.from_picture]
        valued.update((name, None) for name in _read(graph, index))
        shaped.update((name, None) for name in (*node.input, *node.output) if name)
        for name in moving:
            if name not in seen and name not in valued:
                seen.add(name)
                waiting.append(name)
    return tuple(valued), tuple(name for name in shaped if name not in valued)


def _read(graph: Graph, index: int) -> list[str]:
    """The tensors whose values decide where an element of a node comes from."""
    node = graph.nodes[index]
    row = operator_of(node)
    if row.ranks:
        return [node.output[1]] if len(node.output) > 1 and node.output[1] else [node.input[0]]
    if row.reduction:
        return list(node_inputs(node))
    if node.op_type == "Where":
        return [node.input[0]]
    given = [name for name in list(node.input)[1:] if name]
    if row.picks or not row.elementwise:
        return [] if node.op_type == "Concat" else given
    return [name for name in node.input if name and name not in graph.from_picture] if row.arithmetic else []


def _hop(graph: Graph, step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop | None:
    """One node back."""
    row = operator_of(step.node)
    move = _MOVES.get(step.node.op_type)
    if move is not None:
        return move(step, output, at, values)
    if row.ending:
        return 0, at, 1
    if row.elementwise:
        return _hop_elementwise(graph, step, at, values)
    return None


def _hop_elementwise(graph: Graph, step: HeadNode, at: CellIndex, values: SpotValues) -> Hop | None:
    """The operand that holds the score: the one that comes from the picture, or the one of most elements."""
    row, names = operator_of(step.node), step.node.input
    moving = [i for i, moves in enumerate(step.moving) if moves and not _is_answer(graph, names[i])]
    if len(moving) == 2 and row.product and not row.ordered:
        if _is_gate(graph, *(names[i] for i in moving)):
            return None
        moving = [max(moving, key=lambda i: math.prod(values.shape(names[i])))]
    if len(moving) != 1 or row.compares or row.logical:
        return None
    [position] = moving
    shape = values.shape(names[position])
    place = tuple(0 if n == 1 else p for n, p in zip(shape, at[len(at) - len(shape) :], strict=True))
    return position, place, _turns(graph, step, position, values)


def _turns(graph: Graph, step: HeadNode, position: int, values: SpotValues) -> int:
    """-1 where a larger operand makes a smaller result."""
    row = operator_of(step.node)
    if step.node.op_type == "Neg" or (row.arithmetic and row.ordered and not row.product and position == 1):
        return -1
    if row.product and len(step.node.input) == 2:
        other = step.node.input[1 - position]
        if other not in graph.from_picture:
            return -1 if float(np.ravel(values.whole(other))[0]) < 0 else 1
    return 1


def _is_answer(graph: Graph, name: str) -> bool:
    """Whether a tensor says yes or no, as a comparison does, in whatever type."""
    for _ in range(8):
        index = graph.producer_of.get(name)
        if index is None:
            return False
        row = operator_of(graph.nodes[index])
        if row.compares or row.logical:
            return True
        if not row.transparent:
            return False
        name = graph.nodes[index].input[0]
    return False


def _is_gate(graph: Graph, one: str, other: str) -> bool:
    """Whether a product is an activation x * f(x), which no score is moved through."""

    def source(name: str) -> str:
        for _ in range(4):
            index = graph.producer_of.get(name)
            if index is None or not operator_of(graph.nodes[index]).unary:
                break
            name = graph.nodes[index].input[0]
        return name

    return one in (other, source(other)) or other == source(one)


def _move(*names: str) -> Callable[[Move], Move]:
    def register(move: Move) -> Move:
        for name in names:
            _MOVES[name] = move
        return move

    return register


@_move("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    new, old = values.shape(step.node.output[0]), values.shape(step.node.input[0])
    flat = int(np.ravel_multi_index(at, new)) if new else 0
    return 0, tuple(int(i) for i in np.unravel_index(flat, old)), 1


@_move("Transpose")
def _transpose(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    order = step.get("perm") or list(reversed(range(len(at))))
    place = [0] * len(at)
    for i, axis in enumerate(order):
        place[axis] = at[i]
    return 0, tuple(place), 1


@_move("Concat")
def _concat(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop | None:
    axis = step.get("axis", 1) % len(at)
    left = at[axis]
    for position, name in enumerate(step.node.input):
        size = values.shape(name)[axis]
        if left < size:
            return position, _put(at, axis, left), 1
        left -= size
    return None


@_move("Split")
def _split(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    axis = step.get("axis", 0) % len(at)
    before = sum(values.shape(name)[axis] for name in list(step.node.output)[:output])
    return 0, _put(at, axis, at[axis] + before), 1


@_move("Slice")
def _slice(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    shape = values.shape(step.node.input[0])
    starts = step.value(1).ravel().tolist() if step.has(1) else step.get("starts")
    axes = step.value(3).ravel().tolist() if step.has(3) else step.get("axes") or list(range(len(starts)))
    strides = step.value(4).ravel().tolist() if step.has(4) else [1] * len(starts)
    place = list(at)
    for axis, start, stride in zip(axes, starts, strides, strict=True):
        size = shape[axis]
        first = min(max(start + size if start < 0 else start, 0), size if stride > 0 else size - 1)
        place[axis % len(shape)] = first + at[axis % len(shape)] * stride
    return 0, tuple(place), 1


@_move("Gather")
def _gather(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    shape, indices = values.shape(step.node.input[0]), step.value(1)
    axis = step.get("axis", 0) % len(shape)
    chosen = int(indices[at[axis : axis + indices.ndim]]) % shape[axis]
    return 0, (*at[:axis], chosen, *at[axis + indices.ndim :]), 1


@_move("GatherElements")
def _gather_elements(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    axis = step.get("axis", 0) % len(at)
    return 0, _put(at, axis, int(step.value(1)[at]) % values.shape(step.node.input[0])[axis]), 1


@_move("GatherND")
def _gather_nd(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    indices, batch = step.value(1), step.get("batch_dims", 0)
    shape = values.shape(step.node.input[0])
    rows = indices.ndim - 1
    chosen = tuple(int(i) % shape[batch + k] for k, i in enumerate(indices[at[:rows]]))
    return 0, (*at[:batch], *chosen, *at[rows:]), 1


@_move("TopK")
def _top(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop | None:
    if output != 0 or len(step.node.output) < 2 or not step.node.output[1]:
        return None
    axis = step.get("axis", -1) % len(at)
    return 0, _put(at, axis, int(values.whole(step.node.output[1])[at])), 1


@_move("ReduceMax")
def _largest(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    x = step.x
    given = step.value(1).ravel().tolist() if step.has(1) else step.get("axes")
    axes = [int(a) % x.ndim for a in given] if given else list(range(x.ndim))
    kept = iter(at)
    place = [0 if i in axes and not step.get("keepdims", 1) else next(kept) for i in range(x.ndim)]
    line = x[tuple(slice(None) if i in axes else p for i, p in enumerate(place))]
    for axis, i in zip(sorted(axes), np.unravel_index(int(line.argmax()), line.shape), strict=True):
        place[axis] = int(i)
    return 0, tuple(place), 1


@_move("Where")
def _where(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    condition = step.value(0)
    place = tuple(0 if n == 1 else p for n, p in zip(condition.shape, at[len(at) - condition.ndim :], strict=True))
    position = 1 if bool(condition[place]) else 2
    shape = values.shape(step.node.input[position])
    return position, tuple(0 if n == 1 else p for n, p in zip(shape, at[len(at) - len(shape) :], strict=True)), 1


@_move("Expand", "Tile")
def _repeat(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    shape = values.shape(step.node.input[0])
    return 0, tuple(p % n for p, n in zip(at[len(at) - len(shape) :], shape, strict=True)), 1


@_move("ScatterND")
def _scatter(step: HeadNode, output: int, at: CellIndex, values: SpotValues) -> Hop:
    indices = step.value(1).astype(np.int64)
    depth, rows = indices.shape[-1], indices.ndim - 1
    shape = values.shape(step.node.input[0])
    hits = np.argwhere((indices % np.array(shape[:depth]) == np.array(at[:depth])).all(axis=-1))
    if not len(hits):
        return 0, at, 1
    return 2, (*(int(i) for i in hits[-1][:rows]), *at[depth:]), 1


def _put(at: CellIndex, axis: int, value: int) -> CellIndex:
    return (*at[:axis], value, *at[axis + 1 :])
