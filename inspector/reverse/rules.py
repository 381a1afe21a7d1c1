"""Derivatives of the operators that heads are made of, in numpy: gradients without torch.

A rule takes the gradient with respect to a node's output and returns one gradient per input of the node (None
where the input does not depend on the layer). Each rule is the exact derivative wherever the operator has one; at a
kink (ReLU at 0, ties in a maximum) it takes the value that torch takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.graph import attributes

if TYPE_CHECKING:
    from onnx import NodeProto

Array = NDArray[Any]
Gradients = Sequence[Array | None]
Linearity = Literal["always", "product", "numerator", "never"]


@dataclass(frozen=True)
class Step:
    """One node between the layer and the scores.

    moving: for each input whether it depends on the layer. lookup: the value of a tensor by name, as float32 where it
    holds floats. opset: version of the default operator set, where a rule depends on it. settings: the attributes.
    outputs: the gradient of each output, None where there is none; a rule is given the first.
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


Derivative = Callable[[Step, Array], Gradients]


@dataclass(frozen=True)
class Rule:
    """How to go backwards through one operator.

    linear: ``always``; ``product``: when one input alone depends on the layer; ``numerator``: when it is the first;
        ``never``.
    inputs: whether the values of the inputs that depend on the layer are needed (often only for their shape).
    operands: positions of the other inputs whose values are needed; None for all of them.
    accepts: whether a node is of the form that the rule covers.
    straight: the operator rounds; its derivative is taken as if it did not.
    """

    derivative: Derivative
    linear: Linearity
    inputs: bool
    operands: tuple[int, ...] | None
    accepts: Callable[[Step], bool]
    straight: bool = False


RULES: dict[str, Rule] = {}
"""Operator of the default domain -> its rule."""


def rule_for(step: Step) -> Rule | None:
    """The rule for a node, or None when there is none for it."""
    if step.node.domain not in ("", "ai.onnx") and step.node.op_type not in _CONTRIBUTED:
        return None
    rule = RULES.get(step.node.op_type)
    return rule if rule is not None and rule.accepts(step) else None


def is_linear(rule: Rule, step: Step) -> bool:
    """Whether the node is linear (or affine) in everything that depends on the layer."""
    if rule.linear in ("product", "numerator"):
        return sum(step.moving) == 1 and (step.moving[0] or rule.linear == "product")
    return rule.linear == "always"


def step_of(node: NodeProto, moving: Sequence[bool], lookup: Callable[[str], Array], opset: int) -> Step:
    """The step of one node, its attributes decoded."""
    return Step(node, tuple(moving), lookup, opset, attributes(node))


_CONTRIBUTED = frozenset({"Gelu", "QuickGelu"})


def _rule(
    *names: str,
    linear: Linearity = "never",
    inputs: bool = True,
    operands: tuple[int, ...] | None = None,
    accepts: Callable[[Step], bool] = lambda step: not any(step.moving[1:]),
    straight: bool = False,
) -> Callable[[Derivative], Derivative]:
    def register(derivative: Derivative) -> Derivative:
        for name in names:
            RULES[name] = Rule(derivative, linear, inputs, operands, accepts, straight)
        return derivative

    return register


def _any(step: Step) -> bool:
    return True


def unbroadcast(gradient: Array, shape: Sequence[int]) -> Array:
    """The gradient of an operand of this shape that was broadcast to the gradient's shape."""
    if gradient.ndim > len(shape):
        gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient


# --- form: nothing but the arrangement of the elements changes --------------------------------------------------------


@_rule("Identity", linear="always", inputs=False, operands=())
def _identity(step: Step, g: Array) -> Gradients:
    return [g]


@_rule(
    "Dropout",
    linear="always",
    inputs=False,
    operands=(),
    # With the third input a graph asks for training mode.
    accepts=lambda step: not step.has(2) and not any(step.moving[1:]),
)
def _dropout(step: Step, g: Array) -> Gradients:
    return [g]


@_rule("Cast", linear="always", inputs=False, operands=(), accepts=lambda step: step.get("to") in (1, 10, 11, 16))
def _cast(step: Step, g: Array) -> Gradients:
    return [g]


@_rule("QuantizeLinear", "DequantizeLinear", linear="never", inputs=False, operands=(), straight=True)
def _straight_through(step: Step, g: Array) -> Gradients:
    return [g]


@_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze", linear="always", operands=())
def _reshape(step: Step, g: Array) -> Gradients:
    return [g.reshape(step.x.shape)]


@_rule("Transpose", linear="always", inputs=False, operands=())
def _transpose(step: Step, g: Array) -> Gradients:
    order = step.get("perm") or list(reversed(range(g.ndim)))
    return [g.transpose(np.argsort(order))]


@_rule("Concat", linear="always", accepts=_any)
def _concat(step: Step, g: Array) -> Gradients:
    axis = step.get("axis", 1)
    sizes = [step.value(i).shape[axis] for i in range(len(step.node.input))]
    parts = np.split(g, np.cumsum(sizes)[:-1], axis=axis)
    return [part if moves else None for part, moves in zip(parts, step.moving, strict=True)]


@_rule("Split", linear="always")
def _split(step: Step, g: Array) -> Gradients:
    shape = step.x.shape
    axis = step.get("axis", 0) % len(shape)
    count = len(step.node.output)
    sizes = step.value(1).ravel().tolist() if step.has(1) else step.get("split")
    if not sizes:
        each = -(-shape[axis] // count)  # the last takes what is left
        sizes = [each] * (count - 1) + [shape[axis] - each * (count - 1)]
    parts = [
        np.zeros((*shape[:axis], size, *shape[axis + 1 :]), np.float32) if part is None else part
        for part, size in zip(step.outputs, sizes, strict=True)
    ]
    return [np.concatenate(parts, axis=axis)]


@_rule("Slice", linear="always", accepts=lambda step: step.has(2) and not any(step.moving[1:]))
def _slice(step: Step, g: Array) -> Gradients:
    out = np.zeros(step.x.shape, g.dtype)
    starts, ends = (step.value(i).ravel().tolist() for i in (1, 2))
    axes = step.value(3).ravel().tolist() if step.has(3) else list(range(len(starts)))
    strides = step.value(4).ravel().tolist() if step.has(4) else [1] * len(starts)
    where = [slice(None)] * out.ndim
    for axis, start, end, stride in zip(axes, starts, ends, strides, strict=True):
        size: int = out.shape[axis]
        if stride > 0:
            where[axis] = slice(start, end, stride)
        else:
            # ONNX clamps to -1 ("before the first"), which numpy writes as None.
            where[axis] = slice(min(start, size - 1), None if end < -size else end, stride)
    out[tuple(where)] = g
    return [out]


@_rule("Gather", linear="always")
def _gather(step: Step, g: Array) -> Gradients:
    x, indices = step.x, step.value(1).astype(np.int64)
    axis = step.get("axis", 0) % x.ndim
    out = np.zeros(x.shape, g.dtype)
    moved = np.moveaxis(out, axis, 0)
    rows = np.moveaxis(g.reshape(*x.shape[:axis], indices.size, *x.shape[axis + 1 :]), axis, 0)
    np.add.at(moved, indices.ravel() % x.shape[axis], rows)
    return [out]


@_rule("GatherND", linear="always", accepts=lambda step: not step.get("batch_dims", 0) and not any(step.moving[1:]))
def _gather_nd(step: Step, g: Array) -> Gradients:
    indices = step.value(1).astype(np.int64)
    out = np.zeros(step.x.shape, g.dtype)
    np.add.at(out, tuple(np.moveaxis(indices, -1, 0)), g)
    return [out]


@_rule("Where", linear="always", accepts=lambda step: not step.moving[0])
def _where(step: Step, g: Array) -> Gradients:
    condition = step.value(0).astype(bool)
    parts = (None, np.where(condition, g, np.float32(0)), np.where(condition, np.float32(0), g))
    return [
        unbroadcast(part, step.value(i).shape) if part is not None and step.moving[i] else None
        for i, part in enumerate(parts)
    ]


@_rule("Expand", linear="always", operands=())
def _expand(step: Step, g: Array) -> Gradients:
    return [unbroadcast(g, step.x.shape)]


@_rule(
    "Pad",
    linear="always",
    accepts=lambda step: (
        step.get("mode", "constant") == "constant" and step.has(1) and not step.has(3) and not any(step.moving[1:])
    ),
    operands=(1,),
)
def _pad(step: Step, g: Array) -> Gradients:
    rank, pads = g.ndim, step.value(1).ravel().tolist()
    out = np.pad(g, [(max(0, -pads[i]), max(0, -pads[i + rank])) for i in range(rank)])
    return [out[tuple(slice(max(0, pads[i]), out.shape[i] - max(0, pads[i + rank])) for i in range(rank))]]


# --- weights ----------------------------------------------------------------------------------------------------------


def _times(g: Array, matrix: Array) -> Array:
    """g (M, K) @ matrix (K, C). One class alone has a gradient at first: only its row is then read."""
    columns = np.flatnonzero(g.any(axis=0))
    if 4 * len(columns) < g.shape[1]:
        return g[:, columns] @ np.asarray(matrix[columns], np.float32)
    return g @ np.asarray(matrix, np.float32)


@_rule(
    "Gemm",
    linear="product",
    inputs=False,
    operands=(1,),
    accepts=lambda step: step.moving[0] and not any(step.moving[1:]),
)
def _gemm(step: Step, g: Array) -> Gradients:
    weight = step.value(1)
    out = _times(g, weight if step.get("transB", 0) else weight.T)
    alpha = step.get("alpha", 1.0)
    out = out if alpha == 1 else out * np.float32(alpha)
    return [out.T if step.get("transA", 0) else out]


@_rule("MatMul", linear="product", accepts=_any)
def _matmul(step: Step, g: Array) -> Gradients:
    a, b = step.value(0), step.value(1)
    if step.moving == (True, False) and b.ndim == 2 and a.ndim >= 2:
        return [_times(g.reshape(-1, g.shape[-1]), b.T).reshape(a.shape), None]
    if a.ndim == 1 or b.ndim == 1:
        # numpy's and ONNX's rule: a vector is a row on the left, a column on the right, and the axis is dropped after.
        g = g[..., None] if b.ndim == 1 else g
        g = g[..., None, :] if a.ndim == 1 else g
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    to_a = unbroadcast(g @ right.swapaxes(-1, -2), left.shape).reshape(a.shape) if step.moving[0] else None
    to_b = unbroadcast(left.swapaxes(-1, -2) @ g, right.shape).reshape(b.shape) if step.moving[1] else None
    return [to_a, to_b]


@_rule(
    "BatchNormalization",
    linear="always",
    inputs=False,
    operands=(1, 2, 3, 4),
    accepts=lambda step: not step.get("training_mode", 0) and not any(step.moving[1:]),
)
def _batch_norm(step: Step, g: Array) -> Gradients:
    scale, variance = step.value(1).astype(np.float64), step.value(4).astype(np.float64)
    factor = (scale / np.sqrt(variance + step.get("epsilon", 1e-5))).astype(np.float32)
    return [g * factor.reshape(-1, *[1] * (g.ndim - 2))]


@dataclass(frozen=True)
class _Windows:
    """Where a sliding window lies: kernel, stride, dilation and padding per spatial axis, sizes before and after."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    size: tuple[int, ...]
    out: tuple[int, ...]

    @classmethod
    def of(cls, step: Step, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> _Windows:
        rank = len(size)
        stride, dilation = (tuple(step.get(k) or [1] * rank) for k in ("strides", "dilations"))
        reach = [(out[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in range(rank)]
        kind = step.get("auto_pad", "NOTSET")
        if kind.startswith("SAME"):
            total = [max(0, reach[i] - size[i]) for i in range(rank)]
            before = [t // 2 if kind == "SAME_UPPER" else (t + 1) // 2 for t in total]
        else:
            before = [0] * rank if kind == "VALID" else list(step.get("pads") or [0] * 2 * rank)[:rank]
        # With ceil_mode a last window may reach beyond the padding; with floor some of the input may be left over.
        after = [max(0, reach[i] - before[i] - size[i]) for i in range(rank)]
        return cls(tuple(kernel), stride, dilation, tuple(before), tuple(after), tuple(size), tuple(out))

    def offsets(self) -> product[tuple[int, ...]]:
        """Every place in the kernel."""
        return product(*map(range, self.kernel))

    def slices(self, at: tuple[int, ...]) -> tuple[Any, ...]:
        """The elements of the padded input that the kernel's place `at` meets, one for each output."""
        return (
            ...,
            *(
                slice(a * d, a * d + s * (n - 1) + 1, s)
                for a, d, s, n in zip(at, self.dilation, self.stride, self.out, strict=True)
            ),
        )

    def padded(self, lead: tuple[int, ...], dtype: Any, fill: float = 0.0) -> Array:
        """An array of the input's size with its padding, full of `fill`."""
        return np.full(
            (*lead, *(b + n + a for b, n, a in zip(self.before, self.size, self.after, strict=True))), fill, dtype
        )

    def inner(self, array: Array) -> Array:
        """A padded array without its padding."""
        inside: tuple[Any, ...] = tuple(slice(b, b + n) for b, n in zip(self.before, self.size, strict=True))
        return array[(..., *inside)]


@_rule("Conv", linear="product", operands=(1,), accepts=lambda step: step.moving[0] and not any(step.moving[1:]))
def _conv(step: Step, g: Array) -> Gradients:
    weight = step.value(1)
    batch, channels, size, groups = len(g), step.x.shape[1], step.x.shape[2:], step.get("group", 1)
    windows = _Windows.of(step, size, g.shape[2:], weight.shape[2:])
    out = windows.padded((batch, groups, channels // groups), g.dtype)
    split = g.reshape(batch, groups, g.shape[1] // groups, -1)
    chosen = np.flatnonzero(g.any(axis=(0, *range(2, g.ndim))))
    if groups == 1 and 4 * len(chosen) < g.shape[1]:
        weight, split = weight[chosen], split[:, :, chosen]
    per_group = np.asarray(weight, np.float32).reshape(groups, -1, *weight.shape[1:])
    for at in windows.offsets():
        place: tuple[Any, ...] = (..., *at)
        share = per_group[place].swapaxes(-1, -2) @ split  # (N, groups, C / groups, outputs)
        out[windows.slices(at)] += share.reshape(batch, groups, channels // groups, *g.shape[2:])
    return [windows.inner(out.reshape(batch, channels, *out.shape[3:]))]


# --- pooling ----------------------------------------------------------------------------------------------------------


@_rule("GlobalAveragePool", linear="always")
def _global_average(step: Step, g: Array) -> Gradients:
    shape = step.x.shape
    return [np.broadcast_to(g / np.float32(math.prod(shape[2:])), shape)]


def _axes(step: Step, rank: int) -> tuple[int, ...]:
    listed = step.value(1).ravel().tolist() if step.has(1) else step.get("axes")
    if not listed:
        return () if step.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(int(a) % rank for a in listed)


def _reduced(step: Step, g: Array) -> tuple[Array, tuple[int, ...]]:
    """The gradient with the reduced axes kept, and those axes."""
    axes = _axes(step, step.x.ndim)
    return g.reshape([1 if i in axes else size for i, size in enumerate(step.x.shape)]), axes


@_rule("ReduceMean", "ReduceSum", linear="always", operands=(1,))
def _reduce_mean(step: Step, g: Array) -> Gradients:
    kept, axes = _reduced(step, g)
    count = math.prod(step.x.shape[a] for a in axes) if step.node.op_type == "ReduceMean" else 1
    return [np.broadcast_to(kept / np.float32(count), step.x.shape)]


@_rule("ReduceMax", operands=(1,))
def _reduce_max(step: Step, g: Array) -> Gradients:
    kept, axes = _reduced(step, g)
    return [_to_maximum(step.x, kept, axes)]


@_rule("GlobalMaxPool")
def _global_max(step: Step, g: Array) -> Gradients:
    return [_to_maximum(step.x, g, tuple(range(2, step.x.ndim)))]


def _to_maximum(x: Array, kept: Array, axes: tuple[int, ...]) -> Array:
    """The gradient to the elements that attain the maximum, in equal parts (torch.amax)."""
    if not axes:
        return kept
    hit = x == x.max(axis=axes, keepdims=True)
    return np.asarray(kept * hit / hit.sum(axis=axes, keepdims=True), np.float32)


@_rule("AveragePool", linear="always")
def _average_pool(step: Step, g: Array) -> Gradients:
    size = step.x.shape[2:]
    windows = _Windows.of(step, size, g.shape[2:], step.get("kernel_shape"))
    inside = windows.padded((), np.float32)
    windows.inner(inside)[...] = 1
    if step.get("count_include_pad", 0):
        declared = list(step.get("pads") or [0] * 2 * len(size))[len(size) :]
        reach = [b + n + p for b, n, p in zip(windows.before, size, declared, strict=True)]
        # With auto_pad nothing is declared: the padding is what the windows need.
        same = step.get("auto_pad", "NOTSET").startswith("SAME")
        inside[tuple(slice(0, None if same else r) for r in reach)] = 1
    count = sum(inside[windows.slices(at)] for at in windows.offsets())
    share = g / count
    out = windows.padded(g.shape[:2], g.dtype)
    for at in windows.offsets():
        out[windows.slices(at)] += share
    return [windows.inner(out)]


@_rule("MaxPool", accepts=lambda step: len(step.node.output) == 1 or not step.node.output[1])
def _max_pool(step: Step, g: Array) -> Gradients:
    x = step.x
    windows = _Windows.of(step, x.shape[2:], g.shape[2:], step.get("kernel_shape"))
    padded = windows.padded(x.shape[:2], x.dtype, -np.inf)
    windows.inner(padded)[...] = x
    best = np.full(g.shape, -np.inf, x.dtype)
    owner = np.full(g.shape, -1, np.int32)
    places = list(windows.offsets())
    for k, at in enumerate(places):
        seen = padded[windows.slices(at)]
        better = seen > best
        best[better], owner[better] = seen[better], k
    out = windows.padded(g.shape[:2], g.dtype)
    for k, at in enumerate(places):
        out[windows.slices(at)] += np.where(owner == k, g, np.float32(0))
    return [windows.inner(out)]


# --- arithmetic -------------------------------------------------------------------------------------------------------


@_rule("Add", "Sum", linear="always", operands=(), accepts=_any)
def _add(step: Step, g: Array) -> Gradients:
    return [unbroadcast(g, step.value(i).shape) if moves else None for i, moves in enumerate(step.moving)]


@_rule("Sub", linear="always", operands=(), accepts=_any)
def _sub(step: Step, g: Array) -> Gradients:
    return [
        unbroadcast(g if i == 0 else -g, step.value(i).shape) if moves else None for i, moves in enumerate(step.moving)
    ]


@_rule("Mul", linear="product", accepts=_any)
def _mul(step: Step, g: Array) -> Gradients:
    return [
        unbroadcast(g * step.value(1 - i), step.value(i).shape) if moves else None
        for i, moves in enumerate(step.moving)
    ]


@_rule("Div", linear="numerator", accepts=_any)
def _div(step: Step, g: Array) -> Gradients:
    a, b = step.value(0), step.value(1)
    to_a = unbroadcast(g / b, a.shape) if step.moving[0] else None
    to_b = unbroadcast(-g * a / (b * b), b.shape) if step.moving[1] else None
    return [to_a, to_b]


@_rule("Neg", linear="always", inputs=False, operands=())
def _neg(step: Step, g: Array) -> Gradients:
    return [-g]


@_rule("Pow", operands=(1,))
def _pow(step: Step, g: Array) -> Gradients:
    x, power = step.x, step.value(1)
    return [unbroadcast(g * power * np.power(x, power - 1), x.shape)]


@_rule("Sqrt")
def _sqrt(step: Step, g: Array) -> Gradients:
    return [g / (2 * np.sqrt(step.x))]


@_rule("Exp")
def _exp(step: Step, g: Array) -> Gradients:
    return [g * np.exp(step.x)]


@_rule("Log")
def _log(step: Step, g: Array) -> Gradients:
    return [g / step.x]


@_rule("Reciprocal")
def _reciprocal(step: Step, g: Array) -> Gradients:
    return [-g / (step.x * step.x)]


@_rule("Abs")
def _abs(step: Step, g: Array) -> Gradients:
    return [g * np.sign(step.x)]


# --- activations ------------------------------------------------------------------------------------------------------


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


@_rule("Relu")
def _relu(step: Step, g: Array) -> Gradients:
    return [np.where(step.x > 0, g, np.float32(0))]


@_rule("LeakyRelu")
def _leaky_relu(step: Step, g: Array) -> Gradients:
    return [np.where(step.x > 0, g, g * np.float32(step.get("alpha", 0.01)))]


@_rule("PRelu")
def _prelu(step: Step, g: Array) -> Gradients:
    return [np.where(step.x > 0, g, g * step.value(1))]


@_rule("ThresholdedRelu")
def _thresholded_relu(step: Step, g: Array) -> Gradients:
    return [np.where(step.x > step.get("alpha", 1.0), g, np.float32(0))]


@_rule("Elu")
def _elu(step: Step, g: Array) -> Gradients:
    x, alpha = step.x, np.float32(step.get("alpha", 1.0))
    return [np.where(x > 0, g, g * alpha * np.exp(np.minimum(x, 0)))]


@_rule("Clip")
def _clip(step: Step, g: Array) -> Gradients:
    x = step.x
    low = step.value(1) if step.has(1) else step.get("min", -np.inf)
    high = step.value(2) if step.has(2) else step.get("max", np.inf)
    # torch's hardtanh (ReLU6) has no gradient at its bounds, its clamp has; most exported Clips are the former.
    return [np.where((x > low) & (x < high), g, np.float32(0))]


@_rule("Sigmoid")
def _sigmoid(step: Step, g: Array) -> Gradients:
    s = logistic(step.x)
    return [g * s * (1 - s)]


@_rule("Tanh")
def _tanh(step: Step, g: Array) -> Gradients:
    return [g * (1 - np.square(np.tanh(step.x)))]


@_rule("HardSigmoid")
def _hard_sigmoid(step: Step, g: Array) -> Gradients:
    alpha, beta = step.get("alpha", 0.2), step.get("beta", 0.5)
    line = np.float32(alpha) * step.x + np.float32(beta)
    return [np.where((line > 0) & (line < 1), g * np.float32(alpha), np.float32(0))]


@_rule("HardSwish")
def _hard_swish(step: Step, g: Array) -> Gradients:
    x = step.x
    slope = np.where(x <= -3, np.float32(0), np.where(x < 3, x / np.float32(3) + np.float32(0.5), np.float32(1)))
    return [g * slope]


@_rule("Swish", "QuickGelu")
def _swish(step: Step, g: Array) -> Gradients:
    alpha = np.float32(step.get("alpha", 1.702 if step.node.op_type == "QuickGelu" else 1.0))
    x = step.x
    s = logistic(alpha * x)
    return [g * (s + alpha * x * s * (1 - s))]


@_rule("Softplus")
def _softplus(step: Step, g: Array) -> Gradients:
    return [g * logistic(step.x)]


@_rule("Mish")
def _mish(step: Step, g: Array) -> Gradients:
    x = step.x
    t = np.tanh(np.logaddexp(x, np.float32(0)))
    return [g * (t + x * (1 - t * t) * logistic(x))]


@_rule("Erf")
def _erf(step: Step, g: Array) -> Gradients:
    return [g * np.float32(2 / math.sqrt(math.pi)) * np.exp(-np.square(step.x))]


@_rule("Gelu")
def _gelu(step: Step, g: Array) -> Gradients:
    x = step.x.astype(np.float64)
    if step.get("approximate", "none") == "tanh":
        c = math.sqrt(2 / math.pi)
        t = np.tanh(c * (x + 0.044715 * x**3))
        slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)
    else:
        slope = 0.5 * (1 + _erf_of(x / math.sqrt(2))) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return [(g * slope).astype(np.float32)]


_erf_of = np.vectorize(math.erf, otypes=[np.float64])


@_rule("Softmax", accepts=lambda step: step.opset >= 13)
def _softmax(step: Step, g: Array) -> Gradients:
    axis = step.get("axis", -1)
    x = step.x.astype(np.float64)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    return [(p * (g - (g * p).sum(axis=axis, keepdims=True))).astype(np.float32)]


@_rule(
    "LayerNormalization",
    operands=(1,),
    accepts=lambda step: len([o for o in step.node.output if o]) == 1 and not any(step.moving[1:]),
)
def _layer_norm(step: Step, g: Array) -> Gradients:
    x = step.x.astype(np.float64)
    axes = tuple(range(step.get("axis", -1) % x.ndim, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + step.get("epsilon", 1e-5))
    normal = centred * inverse
    scaled = g * step.value(1).astype(np.float64)
    mean = scaled.mean(axis=axes, keepdims=True)
    along = (scaled * normal).mean(axis=axes, keepdims=True)
    return [((scaled - mean - normal * along) * inverse).astype(np.float32)]
