"""Where the picture's elements lie when the network begins to compute: a graph may move them before that.

The part of the graph that only moves elements, or changes each by itself, is run on three pictures whose elements are
the numbers of their rows, columns and channels. What arrives where elements begin to be mixed says where each of them
comes from, whatever operators brought it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from inspector import onnx
from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject
from inspector.errors import InspectorError
from inspector.graph import Graph, is_standard, operator_of
from inspector.graph.nodes import node_inputs
from inspector.graph.operators import value_inputs
from inspector.runtime import Sessions

PictureAxis = Literal["rows", "columns", "channels"]
Order = Literal["kept", "reversed", "mixed"]

PICTURE_AXES: tuple[PictureAxis, ...] = ("rows", "columns", "channels")

_SHOWN = 6
"""Numbers that are shown of a line."""

_LARGEST_CHOICE = 2**24
"""Weights that are looked at for whether they only choose elements."""


@dataclass(frozen=True)
class Moved:
    """What became of the rows, columns or channels of the picture.

    Attributes:
        kind: Which of them.
        order: ``reversed`` or ``mixed``; ``kept`` where rows and columns have changed places.
        node: The first node that gives them so.
        shown: Where they come from, the first ones of a line in order.
    """

    kind: PictureAxis
    order: Order
    node: NodeProto
    shown: str = ""

    @property
    def key(self) -> str:
        """The node's name, or that of what it makes."""
        return self.node.name or self.node.output[0]

    @property
    def name(self) -> str:
        """The node, for people."""
        return f"{self.node.op_type} {self.key!r}"


def find_moved(subject: Subject) -> list[Moved]:
    """Find what is not in its place any more where the network begins to compute.

    Rows that lie in order on any way to the network are kept, as where a flipped copy stands beside the picture.

    Args:
        subject: What is audited.

    Raises:
        NotChecked: The part that moves elements cannot be run by itself.
    """
    stem = _Stem(subject)
    if not stem.moving:
        return []
    codes = stem.run(stem.ends)
    found = []
    for kind in PICTURE_AXES:
        orders = {order for code in codes.values() for order in find_orders(code, kind)}
        if "mixed" in orders:
            found.append(stem.explain(kind, "mixed"))
        elif "reversed" in orders and "kept" not in orders:
            found.append(stem.explain(kind, "reversed"))
    if codes and all(map(_has_changed_sides, codes.values())):
        found.append(stem.explain("rows", "kept"))
    return found


class _Stem:
    """The part of a graph that moves the picture's elements, and mixes none.

    Attributes:
        ends: The tensors with which the network begins to compute.
        moving: The nodes that move elements, in order.
    """

    def __init__(self, subject: Subject) -> None:
        model, self._graph = subject.model, subject.graph
        self.ends: list[str] = []
        self.moving: list[NodeProto] = []
        self._picture, self._layout = model.input.name, model.preprocess.layout
        shape = model.tensor(np.zeros((*subject.picture_size(), 3), np.uint8)).shape
        self._shape = (model.input.batch or 1, *shape[1:])
        self._coded = {self._picture}
        self._known = {self._picture, *self._graph.initializers}
        scores = [model.classifier.scores] if model.classifier is not None else self._graph.outputs
        needed, _ = self._graph.needed(scores)
        nodes = [made for index in sorted(needed) for made in self._take(self._graph.nodes[index])]
        self._sessions = Sessions(self._replace_nodes(nodes), "cpu", model.threads)

    def run(self, tensors: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Numbers from 1 of the row, column and channel that each element comes from, int64 (3, ...); 0 for none."""
        if not tensors:
            return {}
        names = list(dict.fromkeys(tensors))
        axes = {"NCHW": (2, 3, 1), "NHWC": (1, 2, 3)}[self._layout]
        values: list[dict[str, NDArray[Any]]] = []
        for axis in axes:
            numbers = np.arange(1, self._shape[axis] + 1, dtype=np.float32)
            code = np.broadcast_to(numbers.reshape([-1 if k == axis else 1 for k in range(4)]), self._shape)
            try:
                values.append(self._sessions.run({self._picture: np.ascontiguousarray(code)}, names))
            except InspectorError as error:
                raise NotChecked(f"what moves the picture's elements cannot be run: {error.message}") from None
        return {name: np.stack([np.rint(value[name]).astype(np.int64) for value in values]) for name in names}

    def explain(self, kind: PictureAxis, order: Order) -> Moved:
        """The first node that gives elements in an order that the network gets."""
        made = [name for node in self.moving for name in node.output if name]
        for name, code in self.run(made).items():
            same = _has_changed_sides(code) if order == "kept" else order in find_orders(code, kind)
            if same:
                shown = "" if order == "kept" else _show(code, kind, order)
                return Moved(kind, order, self._graph.nodes[self._graph.producer_of[name]], shown)
        return Moved(kind, order, self.moving[-1])

    def _take(self, node: NodeProto) -> Iterator[NodeProto]:
        """The nodes that stand for one where places are run instead of the picture."""
        coded = [name for name in value_inputs(node) if name in self._coded]
        if not self._known.issuperset(node_inputs(node)):
            self.ends += coded
            return
        stands = [node]  # a constant, or what is computed from shapes
        if any(name in self._graph.from_picture for name in node.output):
            stands = list(self._stand_in(node)) if is_standard(node) else []
            self._coded.update(name for made in stands[-1:] for name in made.output if name)
            if not stands:
                self.ends += coded
            elif not operator_of(node).elementwise or len(coded) > 1:
                self.moving.append(node)
        self._known.update(name for made in stands for name in made.output if name)
        yield from stands

    def _stand_in(self, node: NodeProto) -> Iterator[NodeProto]:
        """What moves places as a node moves values; nothing where it does more than that."""
        row, first = operator_of(node), node.input[0] if node.input else ""
        coded = [name for name in node.input if name in self._coded]
        if row.elementwise:
            if len(coded) == 1:
                yield helper.make_node("Identity", coded, node.output[:1])
            elif row.moves and row.operands == 3 and first not in self._coded:
                yield node  # a choice by constants
        elif row.kind == "resize" and first in coded:
            yield _copy(node, ("axes", "coordinate_transformation_mode", "keep_aspect_ratio_policy"), mode="nearest")
        elif row.fills or (row.moves and not (row.counts or row.ranks or row.reduction or row.kind == "pool")):
            yield from self._blank(node)
        elif row.weighted and not row.integer and [first] == coded and row.weight == 1:
            choice = _read_choice(self._graph, node)
            if choice is not None:
                name = f"{node.output[0]}/choice"
                made = _copy(node)
                del made.input[1:]
                made.input.append(name)
                yield helper.make_node("Constant", [], [name], value=numpy_helper.from_array(choice))
                yield made

    def _blank(self, node: NodeProto) -> Iterator[NodeProto]:
        """A node that moves elements, with zeros for the constants that it puts beside them."""
        row = operator_of(node)
        if node.op_type == "Pad":
            made = _copy(node, ("pads", "paddings"))
            if len(node.input) > 2:
                made.input[2] = ""
            yield made
            return
        made = _copy(node)
        places = range(len(node.input)) if row.joins else (0, 2) if row.fills else (0,)
        if not any(node.input[at] in self._coded for at in places if at < len(node.input)):
            return  # the picture's values say what is moved
        for at in places:
            if at < len(node.input) and node.input[at] not in self._coded:
                zero, number, blank = (f"{node.output[0]}/{at}/{word}" for word in ("zero", "number", "blank"))
                yield helper.make_node("Constant", [], [zero], value_float=0.0)
                yield helper.make_node("Cast", [node.input[at]], [number], to=onnx.TensorProto.FLOAT)
                yield helper.make_node("Mul", [number, zero], [blank])
                made.input[at] = blank
        yield made

    def _replace_nodes(self, nodes: Sequence[NodeProto]) -> Graph:
        proto = onnx.ModelProto()
        proto.CopyFrom(self._graph.proto)
        for field in ("node", "input", "output", "value_info"):
            proto.graph.ClearField(field)
        proto.graph.node.extend(nodes)
        proto.graph.input.append(helper.make_tensor_value_info(self._picture, onnx.TensorProto.FLOAT, self._shape))
        inputs = tuple(replace(i, dtype="float32") for i in self._graph.inputs if i.name == self._picture)
        return replace(self._graph, proto=proto, inputs=inputs, outputs=())


def _copy(node: NodeProto, kept: Sequence[str] | None = None, **settings: str) -> NodeProto:
    """A copy of a node, with those of its attributes that are named, and others."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    if kept is not None:
        del made.attribute[:]
        made.attribute.extend(a for a in node.attribute if a.name in kept)
    made.attribute.extend(helper.make_attribute(name, value) for name, value in settings.items())
    return made


def _read_choice(graph: Graph, node: NodeProto) -> NDArray[np.float32] | None:
    """The weights of a node as ones and zeros where each output is one element of the input; None where it is not."""
    tensor = graph.initializers.get(node.input[1])
    axis = operator_of(node).rows_axis(node)
    if tensor is None or axis is None or np.prod(tensor.dims, dtype=np.int64) > _LARGEST_CHOICE:
        return None
    weights = graph.tensor_array(tensor)
    if weights.ndim < 2:
        return None
    chosen = np.moveaxis(np.not_equal(weights, 0), axis, 0)
    # The other axes of a matrix product's stack of weights are those of the pictures.
    counts = chosen.reshape(len(chosen), -1).sum(axis=1) if weights.ndim == 2 or operator_of(node).window else None
    return None if counts is None or (counts != 1).any() else (weights != 0).astype(np.float32)


def find_orders(code: NDArray[np.int64], kind: PictureAxis) -> set[Order]:
    """How the rows, columns or channels of the picture lie along the axes that hold most of them.

    Args:
        code: int64 (3, ...), row, column and channel that each element comes from, from 1; 0 for none.
        kind: Which of the three.

    Returns:
        The orders of all lines along these axes, each of elements that differ in nothing else.
    """
    return {order for order, _ in _iterate_orders(code, kind)}


def _iterate_orders(code: NDArray[np.int64], kind: PictureAxis) -> Iterator[tuple[Order, NDArray[np.int64]]]:
    """(order, numbers in their order) of the lines that are not all alike."""
    at = PICTURE_AXES.index(kind)
    numbers, others = code[at], [code[k] for k in range(3) if k != at]
    keys = others[0] * (others[1].max(initial=0) + 1) + others[1]
    for axis in _find_axes(numbers):
        lines, groups = (np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]) for x in (numbers, keys))
        if (groups == groups[:, :1]).all():
            lines = np.unique(lines, axis=0)
            groups = np.zeros_like(lines)
        order = np.argsort(groups, axis=1, kind="stable")
        lines, groups = np.take_along_axis(lines, order, 1), np.take_along_axis(groups, order, 1)
        together = (groups[:, 1:] == groups[:, :-1]) & (lines[:, 1:] > 0) & (lines[:, :-1] > 0)
        steps = np.where(together, np.diff(lines), 0)
        up, down = (np.asarray(found.any(axis=1)) for found in (steps > 0, steps < 0))
        for row in [*np.flatnonzero(up & ~down)[:1], *np.flatnonzero(down & ~up)[:1]]:
            yield ("kept" if up[row] else "reversed"), lines[row][lines[row] > 0]
        for row in np.flatnonzero(up & down):
            for part in np.split(lines[row], np.flatnonzero(np.diff(groups[row])) + 1):
                part = part[part > 0]
                if len(part) > 1:
                    yield _judge(part), part


def _find_axes(numbers: NDArray[np.int64]) -> list[int]:
    """The axes along which lines hold at least half as many numbers as the richest axis."""
    counts = [_count_most(np.moveaxis(numbers, axis, -1)) for axis in range(numbers.ndim)]
    most = max(counts, default=0)
    return [axis for axis, count in enumerate(counts) if count > 1 and 2 * count >= most]


def _count_most(lines: NDArray[np.int64]) -> int:
    """The largest number of different numbers, zeros left out, on a line of the last axis."""
    ordered = np.sort(lines.reshape(-1, lines.shape[-1]), axis=1)
    new = (np.diff(ordered, axis=1, prepend=0) != 0).sum(axis=1)
    return int(new.max(initial=0))


def _judge(line: NDArray[np.int64]) -> Order:
    """The order of one line: one stretch of it must hold all of its numbers, as beside a mirrored margin."""
    total = len(np.unique(line))
    for order, way in (("kept", line), ("reversed", line[::-1])):
        stretches = np.split(way, np.flatnonzero(np.diff(way) < 0) + 1)
        if any(len(np.unique(stretch)) == total for stretch in stretches):
            return "kept" if order == "kept" else "reversed"
    return "mixed"


def _has_changed_sides(code: NDArray[np.int64]) -> bool:
    """Whether rows lie on one axis and columns on one before it."""
    rows, columns = _find_axes(code[0]), _find_axes(code[1])
    return len(rows) == 1 and len(columns) == 1 and rows[0] > columns[0]


def _show(code: NDArray[np.int64], kind: PictureAxis, order: Order) -> str:
    """The first numbers of a line of that order, from 0, from where it is first out of order."""
    line = next(line for found, line in _iterate_orders(code, kind) if found == order) - 1
    first = int(np.argmax(np.diff(line) < 0)) if order == "mixed" else 0
    shown = line[max(0, first - 2) :][:_SHOWN]
    return ", ".join(map(str, shown)) + (", ..." if len(line) > len(shown) else "")
