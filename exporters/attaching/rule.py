"""Derivatives as ONNX nodes: the rules of :mod:`inspector.reverse.rules`, written into a graph instead of computed.

A rule writes the nodes that lead from the gradient of a node's output to the gradient of each of its inputs, and gives
their names. Each follows the numpy rule of the same operator, and covers a node only where that does. What a value can
be read off is taken from the output where there is a choice (a ReLU passes where its output is positive): a runtime
can then still join the activation with what stands before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from exporters.attaching.sizes import Lengths, TensorSizes
from exporters.attaching.writer import GraphWriter
from inspector.reverse.rule import find_rule, make_step

if TYPE_CHECKING:
    from onnx import NodeProto

Array = NDArray[Any]
Names = Sequence[str | None]


@dataclass(frozen=True)
class BackStep:
    """One node of the way back.

    Attributes:
        node: The node of the network.
        moving: For each input whether it depends on the tensor that the gradient is with respect to.
        write: Where the derivative is written to.
        sizes: The shapes of the network's tensors.
        settings: The node's attributes.
        gradients: The gradient of each output, None where there is none.
    """

    node: NodeProto
    moving: tuple[bool, ...]
    write: GraphWriter
    sizes: TensorSizes
    settings: Mapping[str, Any] = field(default_factory=dict)
    gradients: tuple[str | None, ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute `name`."""
        return self.settings.get(name, default)

    def has(self, position: int) -> bool:
        """Whether the optional input at `position` is there."""
        return position < len(self.node.input) and bool(self.node.input[position])

    def value(self, position: int = 0) -> str:
        """The input at `position`, in single precision."""
        return self._single(self.node.input[position])

    @property
    def result(self) -> str:
        """The first output, in single precision."""
        return self._single(self.node.output[0])

    def _single(self, name: str) -> str:
        return self.write.to_float(name) if self.sizes.is_half(name) else name

    def known(self, position: int) -> Array | None:
        """The input at `position`, where it is a constant of the file."""
        if not self.has(position) or self.node.input[position] not in self.write.graph.initializers:
            return None
        return self.write.graph.weight(self.node.input[position])

    def shape(self, position: int = 0) -> Lengths:
        """The shape of an input for one picture."""
        return self.sizes.sample(self.node.input[position])

    @property
    def result_shape(self) -> Lengths:
        """The shape of the first output for one picture."""
        return self.sizes.sample(self.node.output[0])

    def fixed(self, position: int = 0) -> tuple[int | None, ...]:
        """The lengths of an input that do not depend on what is fed; None for the others."""
        return self.sizes.fixed(self.node.input[position])

    def like(self, g: str, position: int = 0) -> str:
        """A gradient in the shape of an input, which has as many elements."""
        lengths = self.fixed(position)
        open_axes = [axis for axis, size in enumerate(lengths) if size is None]
        if len(open_axes) <= 1 and 0 not in lengths:
            return self.write.reshape(g, *(-1 if size is None else size for size in lengths))
        return self.write.reshape_like(g, self.node.input[position])

    def spread(self, g: str, position: int = 0) -> str:
        """A gradient broadcast to the shape of an input."""
        lengths = self.fixed(position)
        wide = all(size is not None for size in lengths[1:])
        if wide and 0 not in lengths:  # a length of 1 leaves the axis as it is
            return self.write.emit("Expand", g, self.write.ints(1, *(int(size or 1) for size in lengths[1:])))
        return self.write.emit("Expand", g, self.write.emit("Shape", self.node.input[position]))

    def unbroadcast(self, g: str, position: int) -> str:
        """The gradient of an operand that was broadcast to the shape of the output."""
        own, whole = self.shape(position), self.result_shape
        lead = len(whole) - len(own)
        if lead:
            g = self.write.reduce("ReduceSum", g, range(lead), keep=False)
        axes = [i for i, size in enumerate(own) if size == 1 and whole[i + lead] != 1]
        return self.write.reduce("ReduceSum", g, axes) if axes else g


Emitter = Callable[[BackStep, str], Names]
"""A step, and the gradient of its first output that has one -> the gradient of each input."""


@dataclass(frozen=True)
class EmitRule:
    """How the way back through one operator is written.

    Attributes:
        emit: What writes it.
        accepts: Whether a node is of the form that it covers, besides what the numpy rule asks for.
    """

    emit: Emitter
    accepts: Callable[[BackStep], bool]


EMIT_RULES: dict[str, EmitRule] = {}
"""Operator -> its rule."""


def emit_rule(*names: str, accepts: Callable[[BackStep], bool] = lambda step: True) -> Callable[[Emitter], Emitter]:
    """Register a function as the rule of these operators."""

    def register(emit: Emitter) -> Emitter:
        for name in names:
            EMIT_RULES[name] = EmitRule(emit, accepts)
        return emit

    return register


def find_emit_rule(step: BackStep) -> EmitRule | None:
    """The rule for a node, or None where there is none for it here or among the numpy gradients."""

    def nothing(name: str) -> Array:
        raise AssertionError("a step without values")

    rule = EMIT_RULES.get(step.node.op_type)
    if rule is None or find_rule(make_step(step.node, step.moving, nothing, step.write.opset)) is None:
        return None
    return rule if rule.accepts(step) else None
