"""The head: the part of a graph between a layer and what is explained, and its gradient without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inspector.reverse.rules  # noqa: F401  the derivatives are registered by the import
from inspector.errors import ModelError, NotComputable
from inspector.graph import Graph, node_inputs, operator_of, value_inputs
from inspector.records import record
from inspector.reverse.local import go_back
from inspector.reverse.rule import GradientRule, HeadNode, find_rule, is_linear, make_step
from inspector.reverse.spot import Spot, SpotValues

Array = NDArray[Any]


@record
class Head:
    """What lies between a layer's tensor and an output tensor.

    Attributes:
        graph: The graph.
        layer: The tensor where it begins.
        output: The tensor where it ends.
        path: Indices of the nodes that the layer's values pass through, in topological order.
        moving: The tensors on the path, the layer's included; their values depend on the layer's.
        siblings: Tensors from elsewhere in the network, as a shortcut or another branch, that the path reads as well.
        constants: Tensors that the path reads and that no picture changes.
        reads_shape: The path asks for the picture's size.
    """

    graph: Graph
    layer: str
    output: str
    path: tuple[int, ...]
    moving: frozenset[str] = field(repr=False)
    siblings: tuple[str, ...]
    constants: tuple[str, ...]
    reads_shape: bool

    @property
    def connected(self) -> bool:
        """Whether the layer leads to the output at all."""
        return self.layer == self.output or bool(self.path)

    @property
    def bottleneck(self) -> bool:
        """Whether everything that reaches the output comes through the layer."""
        return self.connected and not self.siblings

    @cached_property
    def operators(self) -> tuple[str, ...]:
        """The operators on the path, in order."""
        return tuple(self.graph.nodes[i].op_type for i in self.path)

    @property
    def weighted(self) -> bool:
        """Whether there is a convolution or linear operation between the layer and the output."""
        return any(operator_of(self.graph.nodes[i]).weighted for i in self.path)

    @cached_property
    def _rules(self) -> tuple[tuple[HeadNode, GradientRule | None], ...]:
        """For each node of the path how to go back through it; the steps have no values yet."""

        def nothing(name: str) -> Array:
            raise AssertionError("a step without values")

        steps = [
            make_step(node, [name in self.moving for name in node.input], nothing, self.graph.opset)
            for node in (self.graph.nodes[i] for i in self.path)
        ]
        return tuple((step, find_rule(step)) for step in steps)

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Operators on the path that there is no derivative for; empty when the gradient can be had without torch."""
        return tuple(dict.fromkeys(step.node.op_type for step, rule in self._rules if rule is None))

    @property
    def differentiable(self) -> bool:
        """Whether :meth:`gradient` works."""
        return not self.unknown

    @cached_property
    def linear(self) -> bool:
        """Whether the output is an affine function of the layer, all that comes from beside it being held."""
        return all(rule is not None and is_linear(rule, step) for step, rule in self._rules)

    @cached_property
    def straight(self) -> bool:
        """Whether the gradient passes straight through a rounding to integers."""
        return any(rule is not None and rule.straight for _, rule in self._rules)

    @cached_property
    def _operands(self) -> tuple[str, ...]:
        """Tensors from beside the path whose values the derivatives need."""
        names: dict[str, None] = {}
        for step, rule in self._rules:
            for position, name in enumerate(step.node.input):
                wanted = rule is not None and (rule.operands is None or position in rule.operands)
                if name and wanted and not step.moving[position]:
                    names[name] = None
        return tuple(names)

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """Constants that the derivatives need: initializers, and what is computed from nothing but initializers."""
        return tuple(name for name in self._operands if name in self.constants)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Tensors of a run that :meth:`gradient` needs, besides the layer's."""
        names: dict[str, None] = {}
        for step, rule in self._rules:
            if rule is not None and rule.inputs:
                names.update((name, None) for name, moves in zip(step.node.input, step.moving, strict=True) if moves)
        names.update((name, None) for name in self._operands if name not in self.constants)
        names.pop(self.layer, None)
        return tuple(names)

    @cached_property
    def read(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Tensors of a run that :meth:`follow` needs: those whose values are read, and those of which the shape is."""
        valued: dict[str, None] = {}
        shaped: dict[str, None] = {self.layer: None, self.output: None}
        for step, rule in self._rules:
            shaped.update((name, None) for name, moves in zip(step.node.input, step.moving, strict=True) if moves)
            if rule is not None and rule.inputs and not rule.shapes:
                valued.update((name, None) for name, moves in zip(step.node.input, step.moving, strict=True) if moves)
        valued.update((name, None) for name in self._operands if name not in self.constants)
        return tuple(valued), tuple(name for name in shaped if name not in valued)

    def follow(self, seed: Spot, values: SpotValues) -> Spot | None:
        """The gradient with respect to the layer of one place of the output, by way of the cells that feed it.

        Args:
            seed: The derivative of what is explained with respect to the output.
            values: The tensors of `read`, and those in `weights`.

        Returns:
            The gradient, cut to a window that holds all of it; None where it is zero.

        Raises:
            NotComputable: The way leads through an operator that there is no derivative for.
        """
        gradients: dict[str, Spot | None] = {self.output: seed}
        for step, rule in reversed(self._rules):
            outputs = [gradients.pop(name, None) for name in step.node.output]
            if rule is None:
                if any(part is not None for part in outputs):
                    raise NotComputable(f"the way back holds {step.node.op_type}, without a derivative here")
                continue
            for name, part in zip(step.node.input, go_back(step, rule, outputs, values), strict=True):
                if part is not None and name in self.moving:
                    known = gradients.get(name)
                    gradients[name] = part if known is None else known + part
        return gradients.get(self.layer)

    def gradient(
        self, seed: Array, values: Mapping[str, Array], change: Callable[[Array], Array] | None = None
    ) -> Array:
        """The gradient of sum(seed * output) with respect to the layer.

        Args:
            seed: float32 in the output's shape.
            values: The tensors in `needed` and `weights`, and the layer's own.
            change: What is done to the gradient behind each node, to see what comes of another rounding.

        Returns:
            float32 in the shape of the layer's tensor; it may be a read-only view that repeats one number over all
            places.
        """

        def lookup(name: str) -> Array:
            value = values[name]
            return np.asarray(value, np.float32) if value.dtype == np.float16 else value

        gradients: dict[str, Array] = {self.output: seed}
        for step, rule in reversed(self._rules):
            outputs = tuple(gradients.pop(name, None) for name in step.node.output)
            first = next((part for part in outputs if part is not None), None)
            if first is None or rule is None:
                continue
            here = HeadNode(step.node, step.moving, lookup, step.opset, step.settings, outputs)
            parts = _fill_up(rule.derivative(here, first), len(step.moving))
            for name, moves, part in zip(step.node.input, step.moving, parts, strict=True):
                if moves and part is not None:
                    part = part if change is None else change(part)
                    gradients[name] = gradients[name] + part if name in gradients else part
        found = gradients.get(self.layer)
        if found is None:
            return np.zeros(values[self.layer].shape, np.float32)
        return found if found.dtype == np.float32 else found.astype(np.float32)


def _fill_up(parts: Sequence[Array | None], length: int) -> list[Array | None]:
    """One gradient for each input of a node, where its rule gave fewer."""
    return [*parts, *[None] * (length - len(parts))]


def _leading_to(graph: Graph, output: str, path: Sequence[int]) -> list[int]:
    """The nodes of `path` whose values, and not only their shapes, reach the output."""
    wanted, kept = {output}, []
    for i in reversed(path):
        if wanted.intersection(graph.nodes[i].output):
            wanted.update(value_inputs(graph.nodes[i]))
            kept.append(i)
    return kept[::-1]


def find_bottlenecks(graph: Graph, output: str) -> frozenset[str]:
    """The tensors that everything passes through on its way from the picture to an output, found in one go.

    Of no other tensor :attr:`Head.bottleneck` is true; it tells for good whether it is of one of these.

    Args:
        graph: The graph.
        output: The tensor where the ways end.
    """
    open_ends, found = {output}, set[str]()
    for node in reversed(graph.nodes):
        if open_ends.isdisjoint(node.output):
            continue
        if len(open_ends) == 1:
            found |= open_ends
        open_ends.difference_update(node.output)
        open_ends.update(graph.from_picture.intersection(value_inputs(node)))
    return frozenset(found | open_ends) if len(open_ends) == 1 else frozenset(found)


def find_head(graph: Graph, layer: str, output: str, held: Sequence[str] = ()) -> Head:
    """The head between two tensors.

    Args:
        graph: The graph.
        layer: The tensor where it begins.
        output: The tensor where it ends.
        held: Tensors that are taken as they are, though they may depend on the layer: no way leads through them.

    Raises:
        ModelError: The graph has no tensor named `output`.
    """
    inputs = [i.name for i in graph.inputs]
    from_picture = graph.from_picture
    if output not in graph.producer_of and output not in inputs:
        raise ModelError(f"the graph has no tensor named {output!r}")
    beyond = [name for name in held if name != layer]
    nodes, _ = graph.needed([output], [layer, *beyond])
    moving = {layer}
    path: list[int] = []
    for i in sorted(nodes):
        node, row = graph.nodes[i], operator_of(graph.nodes[i])
        if any(name in moving for name in value_inputs(node)) and not row.positions:
            # Where the largest lie changes by jumps, if at all.
            moving.update(name for name in list(node.output)[: 1 if row.ranks else None] if name)
            path.append(i)
    path = _leading_to(graph, output, path) if output in moving else []
    beside = dict.fromkeys(n for i in path for n in node_inputs(graph.nodes[i]) if n not in moving)
    siblings = tuple(name for name in beside if name in from_picture)
    # What is worked out from the shape of the picture, or of the layer, is no constant.
    constants = tuple(name for name in beside if name in graph.initializers or name not in graph.from_inputs)
    # Shapes may also be asked for of the layer itself; only what reads the picture's own matters for a cut.
    _, outside = graph.needed([output], [layer, *beyond, *siblings]) if path else (set(), set())
    return Head(
        graph=graph,
        layer=layer,
        output=output,
        path=tuple(path),
        moving=frozenset(moving),
        siblings=siblings,
        constants=constants,
        reads_shape=bool(outside & {*inputs}),
    )
