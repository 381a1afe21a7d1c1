"""Element by element: arithmetic, comparisons, logic, bits, casts. Integers behave as in ONNX: division truncates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inspector.twin.table import Kernel, Node, NotSupported, Run, operator
from inspector.twin.types import WIDE_UNSIGNED


def _widened(function: Callable[..., Tensor]) -> Run:
    """The function, by way of int64 for the unsigned types that torch cannot compute with."""

    def run(x: Tensor, *others: Tensor) -> Tensor:
        if x.dtype not in WIDE_UNSIGNED:
            return function(x, *others)
        y = function(x.to(torch.int64), *(o.to(torch.int64) for o in others))
        return y.to(x.dtype) if y.dtype == torch.int64 else y

    return run


def _divide(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point() or b.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def _with_number(node: Node, function: Callable[[Any, Any], Tensor]) -> Run:
    """`function`, with a constant operand of one element as a Python number.

    A number keeps its precision when the twin is cast to half, where 1e-12 as a tensor would become 0.
    """
    for position in (0, 1):
        value = node.constant(position)
        if value is None or value.numel() != 1 or not value.is_floating_point():
            continue
        number, rank = float(value.item()), value.dim()

        def left(x: Tensor, y: Tensor, number: float = number, rank: int = rank) -> Tensor:
            return function(number, y) if y.dim() >= rank else function(x, y)

        def right(x: Tensor, y: Tensor, number: float = number, rank: int = rank) -> Tensor:
            return function(x, number) if x.dim() >= rank else function(x, y)

        return right if position else left
    return _widened(function)


def _add_into(x: Tensor, y: Tensor) -> Tensor:
    return x.add_(y) if x.shape == y.shape and x.dtype == y.dtype else x + y


@operator("Add", weights=(0, 1), loose_weights=True, fresh=True)
def _add(node: Node) -> Kernel:
    plain = _with_number(node, lambda a, b: a | b if _is_bool(a) else a + b)
    if node.constant(0) is not None or node.constant(1) is not None:
        return Kernel(plain)
    return Kernel(plain, inplace=_add_into, swaps=True)


def _is_bool(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype == torch.bool


@operator("Sub", weights=(0, 1), loose_weights=True)
def _sub(node: Node) -> Run:
    return _with_number(node, lambda a, b: a - b)


@operator("Mul", weights=(0, 1), loose_weights=True)
def _mul(node: Node) -> Run:
    return _with_number(node, lambda a, b: a * b)


@operator("Div", weights=(0, 1), loose_weights=True)
def _div(node: Node) -> Run:
    value = node.constant(0) if node.constant(0) is not None else node.constant(1)
    floating = value is not None and value.is_floating_point()
    return _with_number(node, lambda a, b: a / b) if floating else _widened(_divide)


@operator("Pow")
def _pow(node: Node) -> Run:
    value, exponent = node.constant(1), node.number(1)
    if value is not None and exponent is not None:
        special: dict[float, Callable[[Tensor], Tensor]] = {
            2.0: torch.square,
            0.5: torch.sqrt,
            1.0: lambda x: x,
        }
        number = exponent

        def general(x: Tensor) -> Tensor:
            return torch.pow(x, number)

        power = special.get(exponent, general)
        rank = value.dim()

        def by_number(x: Tensor, y: Tensor) -> Tensor:
            return power(x) if x.is_floating_point() and x.dim() >= rank else torch.pow(x, y).to(x.dtype)

        return by_number
    return lambda x, y: _widened(torch.pow)(x, y).to(x.dtype)


@operator("Mod", since=10)
def _mod(node: Node) -> Run:
    return _widened(torch.fmod if node.get("fmod", 0) else torch.remainder)


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node], Run]:
    def make(node: Node) -> Run:
        pair = _widened(function)
        return pair if len(node.inputs) == 2 else lambda *xs: functools.reduce(pair, xs)

    return make


operator("Max", since=1)(_variadic(torch.maximum))
operator("Min", since=1)(_variadic(torch.minimum))


@operator("Sum", fresh=True)
def _sum(node: Node) -> Kernel:
    run = _variadic(torch.add)(node)
    assert not isinstance(run, Kernel)
    if len(node.inputs) == 1:
        return Kernel(lambda x: x + 0)  # a new tensor, as `fresh` promises
    return Kernel(run, inplace=_add_into, swaps=True) if len(node.inputs) == 2 else Kernel(run)


@operator("Mean")
def _mean(node: Node) -> Run:
    count = len(node.inputs)
    return lambda *xs: functools.reduce(torch.add, xs) / count


def _reciprocal(x: Tensor) -> Tensor:
    return x.reciprocal() if x.is_floating_point() else _divide(torch.ones_like(x), x)


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": _reciprocal,
    "Round": torch.round,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
}

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}


def _plain(function: Callable[..., Tensor]) -> Callable[[Node], Run]:
    return lambda node: _widened(function)


_PLAIN: dict[str, Callable[..., Tensor]] = {**_UNARY, **_BINARY}
for _name, _function in _PLAIN.items():
    operator(_name)(_plain(_function))


@operator("IsInf", since=10)
def _is_inf(node: Node) -> Run:
    negative, positive = node.get("detect_negative", 1), node.get("detect_positive", 1)
    if negative and positive:
        return torch.isinf
    if positive:
        return torch.isposinf
    return torch.isneginf if negative else lambda x: torch.zeros_like(x, dtype=torch.bool)


@operator("BitShift", since=11)
def _bit_shift(node: Node) -> Run:
    left = node.need("direction") == "LEFT"
    return _widened(torch.bitwise_left_shift if left else torch.bitwise_right_shift)


@operator("Where", since=9, weights=(1, 2), loose_weights=True)
def _where(node: Node) -> Run:
    def run(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        if x.dtype != y.dtype and x.is_floating_point() == y.is_floating_point():
            y = y.to(x.dtype)
        return torch.where(condition, x, y)

    return run


def _to_float8(x: Tensor, dtype: torch.dtype, saturate: bool) -> Tensor:
    limit = torch.finfo(dtype).max
    if not saturate:
        if dtype == torch.float8_e5m2:
            return x.to(dtype)
        # Those without an infinity overflow to nan: from half a step above the largest number on.
        return torch.where(x.abs() >= limit * (1 + 1 / 28), torch.nan, x).to(dtype)
    return torch.where(torch.isnan(x), x, x.clamp(-limit, limit)).to(dtype)


def _caster(dtype: torch.dtype, saturate: bool) -> Callable[[Tensor], Tensor]:
    if dtype.itemsize == 1 and dtype.is_floating_point:
        return lambda x: _to_float8(x.float(), dtype, saturate)
    if dtype.is_floating_point or dtype == torch.bool:
        return lambda x: x.to(dtype)
    # Through int64, so that a float out of range wraps the same way on every machine.
    return lambda x: x.to(torch.int64).to(dtype) if x.is_floating_point() else x.to(dtype)


@operator("Cast", view=True)
def _cast(node: Node) -> Run:
    number = node.need("to")
    if isinstance(number, str):
        raise NotSupported("a cast by type name (opset 1 to 5)")
    dtype, own = node.dtype(number)
    if own:
        node.with_anchor()
        return lambda anchor, x: x.to(anchor.dtype)
    return _caster(dtype, bool(node.get("saturate", 1)))


@operator("CastLike", since=15)
def _cast_like(node: Node) -> Run:
    saturate = bool(node.get("saturate", 1))
    return lambda x, like: _caster(like.dtype, saturate)(x)


@operator("BitCast", since=26)
def _bit_cast(node: Node) -> Run:
    dtype, own = node.dtype(node.need("to"))
    if own:
        raise NotSupported("the bits of a floating-point number, whose type the twin chooses")
    return lambda x: x.contiguous().view(dtype)


@operator("Identity", view=True)
def _identity(node: Node) -> Run:
    return lambda x: x


@operator("Dropout", settings=(1, 2))
def _dropout(node: Node) -> Run:
    training, ratio = node.constant(2), node.number(1) if node.has(1) else 0.5
    if training is not None and bool(training.item()) and ratio != 0:
        raise NotSupported("dropout in training mode")
    if node.has(2) and training is None:
        return _dropout_by_input
    if not node.wants(1):
        return lambda x, *unused: x
    if node.opset >= 12:
        return lambda x, *unused: (x, torch.ones_like(x, dtype=torch.bool))
    # Earlier versions leave the mask open; this is what onnxruntime gives.
    kind = torch.bool if node.opset >= 10 else None
    return lambda x, *unused: (x, torch.zeros_like(x, dtype=kind))


def _dropout_by_input(x: Tensor, ratio: Tensor | None, training: Tensor) -> tuple[Tensor, Tensor]:
    if bool(training.item()) and (ratio is None or ratio.item() != 0):
        raise ValueError("dropout in training mode draws random numbers")
    return x, torch.ones_like(x, dtype=torch.bool)
