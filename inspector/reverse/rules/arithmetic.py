"""Rules for sums, products and functions of single elements."""

from __future__ import annotations

import numpy as np

from inspector.reverse.rule import Array, Gradients, HeadNode, accept_any, gradient_rule, unbroadcast


@gradient_rule("Add", "Sum", shapes=True, linear="always", operands=(), accepts=accept_any)
def _add(step: HeadNode, g: Array) -> Gradients:
    return [unbroadcast(g, step.value(i).shape) if moves else None for i, moves in enumerate(step.moving)]


@gradient_rule("Sub", shapes=True, linear="always", operands=(), accepts=accept_any)
def _sub(step: HeadNode, g: Array) -> Gradients:
    return [
        unbroadcast(g if i == 0 else -g, step.value(i).shape) if moves else None for i, moves in enumerate(step.moving)
    ]


@gradient_rule("Mul", linear="product", accepts=accept_any)
def _mul(step: HeadNode, g: Array) -> Gradients:
    return [
        unbroadcast(g * step.value(1 - i), step.value(i).shape) if moves else None
        for i, moves in enumerate(step.moving)
    ]


@gradient_rule("Div", linear="numerator", accepts=accept_any)
def _div(step: HeadNode, g: Array) -> Gradients:
    a, b = step.value(0), step.value(1)
    to_a = unbroadcast(g / b, a.shape) if step.moving[0] else None
    to_b = unbroadcast(-g * a / (b * b), b.shape) if step.moving[1] else None
    return [to_a, to_b]


@gradient_rule("Neg", linear="always", inputs=False, operands=())
def _neg(step: HeadNode, g: Array) -> Gradients:
    return [-g]


@gradient_rule("Pow", operands=(1,))
def _pow(step: HeadNode, g: Array) -> Gradients:
    x, power = step.x, step.value(1)
    return [unbroadcast(g * power * np.power(x, power - 1), x.shape)]


@gradient_rule("Sqrt")
def _sqrt(step: HeadNode, g: Array) -> Gradients:
    return [g / (2 * np.sqrt(step.x))]


@gradient_rule("Exp")
def _exp(step: HeadNode, g: Array) -> Gradients:
    return [g * np.exp(step.x)]


@gradient_rule("Log")
def _log(step: HeadNode, g: Array) -> Gradients:
    return [g / step.x]


@gradient_rule("Reciprocal")
def _reciprocal(step: HeadNode, g: Array) -> Gradients:
    return [-g / (step.x * step.x)]


@gradient_rule("Abs")
def _abs(step: HeadNode, g: Array) -> Gradients:
    return [g * np.sign(step.x)]


@gradient_rule("Max", "Min", accepts=accept_any)
def _extreme(step: HeadNode, g: Array) -> Gradients:
    """To the operand that is taken; where several are equal, in equal parts (torch.maximum)."""
    values = np.broadcast_arrays(*[step.value(i) for i in range(len(step.moving))])
    best = np.maximum.reduce(values) if step.node.op_type == "Max" else np.minimum.reduce(values)
    hits = [value == best for value in values]
    share = g / np.sum(hits, axis=0)
    return [
        unbroadcast(np.asarray(np.where(hit, share, 0), g.dtype), step.value(i).shape) if step.moving[i] else None
        for i, hit in enumerate(hits)
    ]
