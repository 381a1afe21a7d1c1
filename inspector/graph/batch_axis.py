"""Graphs whose picture has no batch axis, as torchvision's own detectors are exported: given one, and freed of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from inspector import onnx
from inspector.graph.graph import Graph
from inspector.graph.nodes import GRAPHS, attributes, is_standard, node_inputs
from inspector.graph.operators import operator_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

_BARE = "/bare"
_BATCHED = "/batched"
_AXES = "inspector/batch_axis"


def add_batch_axis(graph: Graph, name: str) -> Graph:
    """Give the picture of a graph a batch axis of one, and what is computed from it place by place.

    Where the file itself adds the axis (Unsqueeze, before a convolution) or takes it away (Squeeze, behind one),
    nothing is left to do; where anything else reads such a tensor, it reads it without the axis.

    Args:
        graph: The graph of a file; it stays as it is.
        name: Its input of shape (C, H, W) or (H, W, C).

    Returns:
        The same graph with the same names, whose input is (1, C, H, W) or (1, H, W, C).
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    lifting = _Lifting(graph, name)
    nodes = [made for node in proto.graph.node for made in lifting.take(node)]
    proto.graph.ClearField("node")
    proto.graph.node.extend(nodes)
    for constant, values in lifting.constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), constant))
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name in lifting.lifted:
            _set_sizes(value, [onnx.TensorShapeProto.Dimension(dim_value=1), *value.type.tensor_type.shape.dim])
    kept = [value for value in proto.graph.value_info if value.name not in lifting.lifted]
    proto.graph.ClearField("value_info")
    proto.graph.value_info.extend(kept)
    inputs = tuple(replace(i, shape=(1, *(i.shape or ()))) if i.name == name else i for i in graph.inputs)
    return replace(graph, proto=proto, inputs=inputs, origin=graph.origin or graph)


def restore_interface(proto: ModelProto, graph: Graph) -> None:
    """Give what was made from a graph the inputs and outputs that its file has, in place.

    Args:
        proto: Made from `graph`, with its names.
        graph: What :func:`add_batch_axis` and :func:`inspector.graph.fill.fill_inputs` made of a file; of any other
            graph nothing has to be restored.
    """
    if graph.origin is None:
        return
    now = {i.name: i for i in graph.inputs}
    before = {value.name: value for value in graph.origin.proto.graph.input}
    names = [i.name for i in graph.origin.inputs]
    filled = {name for name in names if name not in now}
    nodes = [*proto.graph.node]
    # A file that was made so before has names of ours already.
    taken = {name for node in nodes for name in (*node.input, *node.output)} | {t.name for t in proto.graph.initializer}
    axes = _free(_AXES, taken)

    def batched(name: str) -> str:
        return _free(name + _BATCHED, taken)

    for tensor in [tensor for tensor in proto.graph.initializer if tensor.name in filled]:
        proto.graph.initializer.remove(tensor)
        if tensor.data_type != before[tensor.name].type.tensor_type.elem_type:  # a constant in half precision
            inner = batched(tensor.name)
            _rename(nodes, {tensor.name: inner})
            cast = onnx.helper.make_node("Cast", [tensor.name], [inner], to=tensor.data_type)
            nodes.insert(0, cast)
    proto.graph.input.extend(before[name] for name in names if name in filled)
    for value in proto.graph.input:
        if value.name in now and len(now[value.name].shape or ()) > _rank(before[value.name]):
            _set_sizes(value, list(value.type.tensor_type.shape.dim)[1:])
            inner = batched(value.name)
            _rename(nodes, {value.name: inner})
            nodes.insert(0, _axis_node("Unsqueeze", value.name, inner, axes, graph))
    lifted = {value.name: _rank(value) for value in graph.proto.graph.output}
    ranks = {value.name: _rank(value) for value in graph.origin.proto.graph.output}
    for value in proto.graph.output:
        if lifted.get(value.name, 0) > ranks.get(value.name, 99):
            _set_sizes(value, list(value.type.tensor_type.shape.dim)[1:])
            inner = batched(value.name)
            for node in nodes:
                for k, name in enumerate(node.output):
                    node.output[k] = inner if name == value.name else name
            _rename(nodes, {value.name: inner})
            nodes.append(_axis_node("Squeeze", inner, value.name, axes, graph))
    if any(axes in node.input for node in nodes):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.int64), axes))
    read = {name for node in nodes for name in node_inputs(node)}
    ours = [t for t in proto.graph.initializer if _AXES in t.name or _BATCHED in t.name]
    for tensor in [tensor for tensor in ours if tensor.name not in read]:
        proto.graph.initializer.remove(tensor)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    proto.graph.ClearField("node")
    proto.graph.node.extend(copies)


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


class _Lifting:
    """The walk through the nodes of a graph, in topological order.

    Attributes:
        lifted: Tensors that have got the axis, which they do not have in the file.
        constants: Whole numbers that the new nodes read, by name.
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self.lifted = {name}
        self._taken = {*graph.producer_of, *graph.initializers, *(i.name for i in graph.inputs)}
        self._axes = _free(f"{name}{_BATCHED}/axes", self._taken)
        self.constants: dict[str, Sequence[int]] = {self._axes: [0]}
        self._graph = graph
        self._bare: set[str] = set()
        self._single: set[str] = set()
        """Tensors of one picture, whose axis the file itself has added."""

    def take(self, node: NodeProto) -> list[NodeProto]:
        """The nodes that stand for one."""
        read = [name for name in dict.fromkeys(node_inputs(node)) if name in self.lifted]
        first = node.input[0] if node.input else ""
        if not read:
            if node.op_type == "Squeeze" and first in self._single and self._numbers(node, "axes", 1) == [0]:
                self.lifted.update(node.output)
                return [_identity(node)]
            if first in self._single and is_standard(node) and self._keeps_one(node):
                self._single.update(name for name in node.output if name)
            return [node]
        if node.op_type == "Unsqueeze" and self._numbers(node, "axes", 1) == [0]:
            self._single.update(node.output)
            return [_identity(node)]
        if is_standard(node) and self._lift(node, read):
            self.lifted.update(name for name in node.output if name)
            return [node]
        new = [name for name in read if name not in self._bare]
        bare = {name: _free(name + _BARE, self._taken) for name in read}
        before = [_axis_node("Squeeze", name, bare[name], self._axes, self._graph) for name in new]
        self._bare.update(read)
        _rename([node], bare)
        return [*before, node]

    def _keeps_one(self, node: NodeProto) -> bool:
        """Whether the first axis of what a node gives is that of its first input, which has one picture."""
        operator, known = operator_of(node), attributes(node)
        if operator.reduction:
            axes = self._numbers(node, "axes", 1)
            return bool(axes) and min(axes or ()) > 0
        if node.op_type == "Flatten":
            return bool(known.get("axis", 1) == 1)
        if node.op_type == "Reshape":
            return (self._numbers(node, "shape", 1) or [])[:1] in ([0], [1])
        linear = operator.weight == 1 and node.input[1] in self._graph.initializers and not known.get("transA", 0)
        return operator.window or operator.keeps_layout or operator.kind == "pool" or linear or bool(operator.ending)

    def _lift(self, node: NodeProto, read: Sequence[str]) -> bool:
        """Let a node compute the same of tensors with the axis, where that can be; whether it can."""
        if any(attribute.type in GRAPHS for attribute in node.attribute) or node.input[0] not in read:
            return operator_of(node).elementwise and self._broadcasts(node)
        operator, shape = operator_of(node), self._numbers(node, "shape", 1)
        if operator.elementwise:
            return self._broadcasts(node)
        if operator.reduction:
            return self._shift(node, "axes", 1)
        if node.op_type == "MatMul":
            weight = self._graph.initializers.get(node.input[1])
            return weight is not None and len(weight.dims) == 2
        if node.op_type == "Reshape" and shape is not None and 0 not in shape:
            self._replace(node, 1, [1, *shape])
            return True
        joins = node.op_type == "Concat" and all(name in self.lifted for name in node.input)
        return (joins or bool(operator.ending)) and self._shift(node, "axis", None)

    def _broadcasts(self, node: NodeProto) -> bool:
        """Whether all that it reads beside tensors with the axis are constants without one, or inputs of few axes."""
        if any(attribute.type in GRAPHS for attribute in node.attribute):
            return False
        axes = {given.name: len(given.shape) for given in self._graph.inputs if given.shape is not None}
        axes |= {name: len(tensor.dims) for name, tensor in self._graph.initializers.items()}
        return all(axes.get(name, 4) <= 3 for name in node.input if name and name not in self.lifted)

    def _shift(self, node: NodeProto, name: str, position: int | None) -> bool:
        """Count axes from the end, or one further from the beginning; False where they are not known."""
        axes = self._numbers(node, name, position)
        if not axes:
            return False
        moved = [axis + 1 if axis >= 0 else axis for axis in axes]
        for attribute in node.attribute:
            if attribute.name == name:
                attribute.CopyFrom(onnx.helper.make_attribute(name, moved if name == "axes" else moved[0]))
                return True
        assert position is not None
        self._replace(node, position, moved)
        return True

    def _replace(self, node: NodeProto, position: int, numbers: Sequence[int]) -> None:
        name = _free(f"{node.output[0]}{_BATCHED}/{position}", self._taken)
        self.constants[name] = numbers
        node.input[position] = name

    def _numbers(self, node: NodeProto, name: str, position: int | None) -> list[int] | None:
        """Whole numbers of an attribute or of a constant input."""
        given: Any = attributes(node).get(name)
        if given is not None:
            return given if isinstance(given, list) else [given]
        if position is None or len(node.input) <= position:
            return None
        tensor = self._graph.initializers.get(node.input[position])
        return None if tensor is None else [int(x) for x in self._graph.tensor_array(tensor).reshape(-1)]


def _axis_node(kind: str, source: str, made: str, axes: str, graph: Graph) -> NodeProto:
    """A node that adds or takes away the first axis."""
    # No two nodes may have one name, and a file that was made so before has nodes of ours.
    name = _free(made, {node.name for node in graph.nodes})
    if graph.opset < 13:
        return onnx.helper.make_node(kind, [source], [made], name=name, axes=[0])
    return onnx.helper.make_node(kind, [source, axes], [made], name=name)


def _identity(node: NodeProto) -> NodeProto:
    made = onnx.helper.make_node("Identity", node.input[:1], list(node.output), name=node.name)
    made.metadata_props.extend(node.metadata_props)
    return made


def _rank(value: ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


def _set_sizes(value: ValueInfoProto, sizes: Sequence[onnx.TensorShapeProto.Dimension]) -> None:
    if value.type.tensor_type.HasField("shape"):
        copies = [onnx.TensorShapeProto.Dimension.FromString(size.SerializeToString()) for size in sizes]
        value.type.tensor_type.ClearField("shape")
        value.type.tensor_type.shape.dim.extend(copies)


def _rename(nodes: Sequence[NodeProto], names: Mapping[str, str]) -> None:
    """Let nodes read other tensors, in their bodies too."""
    for node in nodes:
        for k, name in enumerate(node.input):
            node.input[k] = names.get(name, name)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                inner = {v.name for v in body.input} | {t.name for t in body.initializer}
                inner |= {name for child in body.node for name in child.output}
                free = {old: new for old, new in names.items() if old not in inner}
                _rename(body.node, free)
                for value in body.output:
                    value.name = free.get(value.name, value.name)
