"""Walks through a graph once, node by node, and notes what is known of every channel and which go together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from inspector.graph import Graph, infer_types, node_inputs, operator_of
from inspector.graph.nodes import GRAPHS
from inspector.slimming.channels import ChannelFacts, ChannelReader, CutConstant, CutNumber, Doubles, Findings, Units
from inspector.slimming.evaluate import NodeEvaluator, requantize
from inspector.slimming.numbers import ValueNumbers

if TYPE_CHECKING:
    from onnx import NodeProto

Rule = Callable[["ChannelWalk", int, "NodeProto"], bool]
"""A rule notes what it knows of a node and says True; False where it knows nothing of this one."""

_RULES: dict[str, Rule] = {}

_SMALL = 4096
"""Bytes of a constant that is stored wherever it comes from."""


def slim_rule(*names: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register how channels pass through operators.

    Args:
        names: The operators.
        domain: Their operator set.
    """

    def register(rule: Rule) -> Rule:
        for name in names:
            _RULES[f"{domain}:{name}"] = rule
        return rule

    return register


class ChannelWalk:
    """One walk.

    Args:
        graph: The graph.
        sizes: Sizes of its tensors; see :func:`inspector.slimming.sizes.choose_sizes`.
        inputs: Between which values inputs lie, by name.
        seen: Values of channels that are taken as given, by tensor: float64 (C,), NaN where nothing is.
    """

    def __init__(
        self,
        graph: Graph,
        sizes: Mapping[str, tuple[int, ...]],
        inputs: Mapping[str, tuple[float, float]],
        seen: Mapping[str, Doubles],
    ) -> None:
        self.graph = graph
        self.sizes = sizes
        self.inputs = inputs
        self.seen = seen
        self.found = Findings()
        self.numbers = ValueNumbers()
        self.evaluator = NodeEvaluator(graph)
        # Inputs of the file that were filled in: constants here, and others for other people.
        own = {each.name for each in graph.inputs}
        filled = {each.name for each in graph.origin.inputs} - own if graph.origin is not None else set[str]()
        self._constants: dict[str, NDArray[Any] | None] = dict.fromkeys(filled)

    def run(self, family: Callable[[NodeProto], Rule | None]) -> Findings:
        """Visit the nodes that outputs need.

        Args:
            family: The rule of operators that have none of their own, by what their row says.
        """
        self._take_inputs()
        for index in sorted(self.needed):
            node = self.graph.nodes[index]
            if len(node.output) == 1 and self.constant(node.output[0]) is not None:
                continue
            domain = "" if node.domain == "ai.onnx" else node.domain
            rule = _RULES.get(f"{domain}:{node.op_type}") or family(node)
            try:
                known = rule is not None and rule(self, index, node)
            except (ValueError, IndexError, TypeError, KeyError):  # a damaged node, or one of another shape than usual
                known = False
            if not known:
                self.block(node)
            for name in set(node_inputs(node)).difference(node.input):
                self.pin(name, f"read inside {node.op_type} {node.output[0]!r}")
        return self.found

    @cached_property
    def needed(self) -> set[int]:
        """Indices of the nodes that the outputs depend on."""
        return self.graph.needed(self.graph.outputs)[0]

    def _take_inputs(self) -> None:
        for given in self.graph.inputs:
            size = self.sizes.get(given.name)
            if size is None or len(size) != 4:
                continue
            axis = 3 if size[3] in (1, 3, 4) and size[1] not in (1, 3, 4) else 1
            low, high = self.inputs.get(given.name, (-np.inf, np.inf))
            self.give(given.name, axis, 4, np.full(size[axis], low), np.full(size[axis], high))
            self.pin(given.name, "the picture")

    def give(
        self,
        name: str,
        axis: int,
        rank: int,
        low: NDArray[Any],
        high: NDArray[Any],
        number: Units | None = None,
        factor: Doubles | None = None,
    ) -> ChannelFacts:
        """Note what is known of a tensor.

        Args:
            name: The tensor.
            axis: Where its channels lie.
            rank: How many axes it has.
            low: (C,): a lower bound of each channel; NaN counts as unknown.
            high: (C,): an upper bound.
            number: Value numbers; new ones unless given.
            factor: Factors; ones unless given.
        """
        low = np.array(low, np.float64)
        high = np.array(high, np.float64)
        low[np.isnan(low)], high[np.isnan(high)] = -np.inf, np.inf
        if (fixed := self.seen.get(name)) is not None and len(fixed) == len(low):
            given = np.isfinite(fixed)
            low[given] = high[given] = fixed[given]
        number = self.numbers.fresh(len(low)) if number is None else number
        factor = np.ones(len(low)) if factor is None else factor
        if (known := (low == high) & np.isfinite(low)).any():
            # x * 0 + 1 is no longer x: a constant has lost what it was computed from, whatever is made of it next.
            number, factor = number.copy(), np.where(known, 1.0, factor)
            number[known] = self.numbers.of_keys([("constant", name, float(x)) for x in low[known]])
        made = ChannelFacts(axis, rank, self.found.total, low, high, number, factor)
        self.found.total += len(low)
        self.found.channels[name] = made
        return made

    @cached_property
    def others(self) -> set[str]:
        """Tensors that hold something else than float32."""
        found = {value.name: value.type.tensor_type.elem_type for value in infer_types(self.graph.proto)}
        return {name for name, kind in found.items() if kind != TensorProto.FLOAT}

    def tie(self, one: Units, other: Units) -> None:
        """Units go together, pair by pair."""
        if len(one):
            self.found.ties.append((one, other))

    def pin(self, name: str, why: str) -> None:
        """All channels of a tensor stay."""
        if (channels := self.found.channels.get(name)) is not None:
            self.found.pins.append((channels.units, why))

    def block(self, node: NodeProto) -> None:
        """All channels that a node reads stay, and nothing is known of what it gives."""
        for name in node.input:
            self.pin(name, f"{node.op_type} {node.output[0]!r} is not one that channels are followed through")

    def of(self, name: str) -> ChannelFacts | None:
        """What is known of a tensor's channels."""
        return self.found.channels.get(name)

    def edit(self, edit: CutConstant | CutNumber) -> None:
        """Note what has to be cut with the channels."""
        self.found.edits.append(edit)

    def read(self, reader: ChannelReader) -> None:
        """Note a node that weighs channels."""
        self.found.readers.append(reader)

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a tensor that does not depend on any input: a weight, or what nodes make of weights."""
        if name not in self._constants:
            self._constants[name] = self._find_constant(name)
        return self._constants[name]

    def _find_constant(self, name: str) -> NDArray[Any] | None:
        if name in self.graph.initializers:
            return np.asarray(self.graph.weight(name))
        index = self.graph.producer_of.get(name)
        if index is None or name in self.found.channels:
            return None
        node = self.graph.nodes[index]
        row = operator_of(node)
        if row.random or not row.standard or any(a.type in GRAPHS for a in node.attribute) or len(node.output) != 1:
            return None
        values = [self.constant(x) if x else None for x in node.input]
        if not values or any(x is None for x, given in zip(values, node.input, strict=True) if given):
            return None
        held = sum(x.nbytes for x in values if x is not None)
        size = self.sizes.get(name)
        if size is not None and 4 * math.prod(size) > max(2 * held, _SMALL) and not row.requantizes:
            return None  # what repeats values is better computed than stored
        found = requantize(node, values) if row.requantizes else self.evaluator.run(node, values)
        kept = row.requantizes or name in self.graph.outputs
        if found is not None and not kept and found.nbytes <= max(2 * held, _SMALL):
            self.found.constants[name] = found
        return found

    def is_plain(self, name: str) -> bool:
        """Whether a tensor is a constant in floating point as it is, and not made of integers."""
        value = self.constant(name)
        plain = name in self.graph.initializers or name in self.found.constants
        return plain and value is not None and value.dtype.kind == "f"
