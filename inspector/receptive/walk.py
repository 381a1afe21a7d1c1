"""The walk through the nodes that some tensors depend on, and the rules by which it passes each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import onnx

from inspector.graph import Graph, attributes, read_shape, value_inputs
from inspector.layers import infer_shapes
from inspector.receptive.reach import NEITHER, Pair, lose_places, start, unite_pairs

if TYPE_CHECKING:
    from onnx import NodeProto

PassRule = Callable[["FieldWalk", "NodeProto"], Pair]
RULES: dict[str, PassRule] = {}
"""Operator -> how it is passed, where the table of operators does not say all: filled by :func:`field_rule`."""


def field_rule(*names: str) -> Callable[[PassRule], PassRule]:
    """Register a function as the way through these operators, of whichever domain."""

    def register(function: PassRule) -> PassRule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class FieldWalk:
    """Follows both axes of the picture through the nodes that `tensors` depend on.

    Args:
        graph: The graph.
        tensors: Names of the tensors that are asked for.
        layout: Of the graph's input, NCHW or NHWC.
        pass_node: What a node's outputs see, given the walk so far and the node.
    """

    def __init__(self, graph: Graph, tensors: Sequence[str], layout: str, pass_node: PassRule) -> None:
        self.graph = graph
        given = start(1 if layout == "NHWC" else 2)
        self.reach: dict[str, Pair] = {i.name: given for i in graph.inputs}
        needed, _ = graph.needed(tensors)
        for index in sorted(needed):
            node = graph.nodes[index]
            names = [name for name in node.output if name in graph.from_picture]
            if names:
                self.reach.update(dict.fromkeys(names, pass_node(self, node)))

    def reach_of(self, name: str) -> Pair:
        """What a tensor sees; nothing where it does not depend on the picture."""
        return self.reach.get(name, NEITHER)

    # --- what is known of a tensor ----------------------------------------------------------------------------------

    @cached_property
    def _shapes(self) -> dict[str, tuple[int | str | None, ...] | None]:
        return infer_shapes(self.graph)

    def shape(self, name: str) -> tuple[int | str | None, ...] | None:
        """The shape of a tensor; None where nothing is known of it."""
        tensor = self.graph.initializers.get(name)
        if tensor is not None:
            return tuple(tensor.dims)
        declared = self.graph.value_infos.get(name)
        shape = read_shape(declared) if declared is not None else None
        return shape if shape is not None else self._shapes.get(name)

    def rank(self, name: str) -> int | None:
        """The number of axes of a tensor."""
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def size(self, name: str, axis: int) -> int | None:
        """The length of one axis of a tensor."""
        shape = self.shape(name)
        size = shape[axis] if shape is not None and axis < len(shape) else None
        return size if isinstance(size, int) else None

    def integers(self, node: NodeProto, attribute: str, position: int) -> list[int] | None:
        """A list of integers that newer opsets give as a constant input and older ones as an attribute."""
        value = attributes(node).get(attribute)
        if value is not None:
            return [int(v) for v in value] if isinstance(value, list) else [int(value)]
        return self.constants(node, position, int)

    def constants(self, node: NodeProto, position: int, kind: Callable[[Any], Any]) -> list[Any] | None:
        """The values of a constant input, each turned into `kind`; None where it is not there or not constant."""
        if position >= len(node.input) or not node.input[position]:
            return None
        tensor = self.graph.initializers.get(node.input[position])
        if tensor is None:
            return None
        values = self.graph.tensor_array(tensor) if tensor.external_data else onnx.numpy_helper.to_array(tensor)
        return [kind(v) for v in values.ravel().tolist()]


def mix_places(walk: FieldWalk, node: NodeProto) -> Pair:
    """An operator that nothing is known about: everything that its inputs see, everywhere."""
    made = NEITHER
    for name in value_inputs(node):
        pair = walk.reach_of(name)
        made = unite_pairs(made, (lose_places(pair[0]), lose_places(pair[1])))
    return made
