"""Derivatives of the operators that heads are made of, in numpy: gradients without torch.

A rule takes the gradient with respect to a node's output and returns one gradient per input of the node (None
where the input does not depend on the layer). Each rule is the exact derivative wherever the operator has one; at a
kink (ReLU at 0, ties in a maximum) it takes the value that torch takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from inspector.graph import attributes, is_standard
from inspector.records import record

if TYPE_CHECKING:
    from onnx import NodeProto

Array = NDArray[Any]
Gradients = Sequence[Array | None]
Linearity = Literal["always", "product", "numerator", "never"]


@record
class HeadNode:
    """One node between the layer and the scores.

    Attributes:
        node: The node.
        moving: For each input whether it depends on the layer.
        lookup: Gives the value of a tensor by name, as float32 where it holds floats.
        opset: Version of the default operator set, where a rule depends on it.
        settings: The node's attributes.
        outputs: The gradient of each output, None where there is none; a rule is given the first.
    """

    node: NodeProto
    moving: tuple[bool, ...]
    lookup: Callable[[str], Array]
    opset: int = 18
    settings: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Array | None, ...] = ()

    @property
    def x(self) -> Array:
        """The first input."""
        return self.value(0)

    def value(self, position: int) -> Array:
        """The input at `position`."""
        return self.lookup(self.node.input[position])

    def has(self, position: int) -> bool:
        """Whether the optional input at `position` is there."""
        return position < len(self.node.input) and bool(self.node.input[position])

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute `name`."""
        return self.settings.get(name, default)


Derivative = Callable[[HeadNode, Array], Gradients]


@record
class GradientRule:
    """How to go backwards through one operator.

    Attributes:
        derivative: The gradients of the inputs, given a step and the gradient of its first output.
        linear: When the operator is linear: ``always``, ``never``; ``product``: where one input alone depends on the
            layer; ``numerator``: where that is the first one.
        inputs: Whether the values of the inputs that depend on the layer are needed, if only for their shape.
        shapes: Whether of these inputs nothing but the shape is read.
        operands: Positions of the other inputs whose values are needed; None for all of them.
        accepts: Whether a node is of the form that the rule covers.
        straight: The operator rounds; its derivative is taken as if it did not.
        contributed: The rule covers onnxruntime's own operator of that name as well.
    """

    derivative: Derivative
    linear: Linearity
    inputs: bool
    operands: tuple[int, ...] | None
    accepts: Callable[[HeadNode], bool]
    straight: bool = False
    contributed: bool = False
    shapes: bool = False


RULES: dict[str, GradientRule] = {}
"""Operator -> its rule."""


def find_rule(step: HeadNode) -> GradientRule | None:
    """The rule for a node, or None when there is none for it."""
    known = RULES.get(step.node.op_type)
    if known is None or not (known.contributed or is_standard(step.node)):
        return None
    return known if known.accepts(step) else None


def is_linear(rule: GradientRule, step: HeadNode) -> bool:
    """Whether the node is linear (or affine) in everything that depends on the layer."""
    if rule.linear in ("product", "numerator"):
        return sum(step.moving) == 1 and (step.moving[0] or rule.linear == "product")
    return rule.linear == "always"


def make_step(node: NodeProto, moving: Sequence[bool], lookup: Callable[[str], Array], opset: int) -> HeadNode:
    """The step of one node, its attributes decoded."""
    return HeadNode(node, tuple(moving), lookup, opset, attributes(node))


# Wide: the facts of a rule, all by name.
def gradient_rule(
    *names: str,
    linear: Linearity = "never",
    inputs: bool = True,
    operands: tuple[int, ...] | None = None,
    accepts: Callable[[HeadNode], bool] = lambda step: not any(step.moving[1:]),
    straight: bool = False,
    contributed: bool = False,
    shapes: bool = False,
) -> Callable[[Derivative], Derivative]:
    """Register a function as the derivative of these operators; the options are those of :class:`GradientRule`."""

    def register(derivative: Derivative) -> Derivative:
        for name in names:
            RULES[name] = GradientRule(derivative, linear, inputs, operands, accepts, straight, contributed, shapes)
        return derivative

    return register


def accept_any(step: HeadNode) -> bool:
    """For rules that cover every form of their operator."""
    return True


def unbroadcast(gradient: Array, shape: Sequence[int]) -> Array:
    """The gradient of an operand of this shape that was broadcast to the gradient's shape."""
    if gradient.ndim > len(shape):
        gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient
