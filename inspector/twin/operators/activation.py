"""Activations. `dead` marks where a unit is switched off, for the modified backward passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from inspector.twin.table import Kernel, Node, NotSupported, Run, operator


@operator("Relu")
def _relu(node: Node) -> Kernel:
    return Kernel(F.relu, F.relu_, lambda x: x <= 0)


@operator("LeakyRelu")
def _leaky_relu(node: Node) -> Kernel:
    slope = node.get("alpha", 0.01)
    return Kernel(lambda x: F.leaky_relu(x, slope))


@operator("PRelu", weights=(1,))
def _prelu(node: Node) -> Kernel:
    def run(x: Tensor, slope: Tensor) -> Tensor:
        if x.is_floating_point() and x.dim() > 1 and slope.numel() == slope.shape[0] == x.shape[1] > 1:
            if slope.dim() == x.dim() - 1:
                return F.prelu(x, slope.reshape(-1))
            if node.opset < 7:  # one slope per channel, before broadcasting was the rule
                return F.prelu(x, slope)
        return torch.where(x < 0, slope * x, x)

    return Kernel(run)


@operator("ThresholdedRelu")
def _thresholded_relu(node: Node) -> Kernel:
    limit = node.get("alpha", 1.0)
    return Kernel(lambda x: F.threshold(x, limit, 0.0), dead=lambda x: x <= limit)


@operator("Clip", since=1)
def _clip_attributes(node: Node) -> Kernel:
    return _clip(node.get("min"), node.get("max"))


@operator("Clip", since=11, settings=(1, 2))
def _clip_inputs(node: Node) -> Kernel:
    known = [node.constant(i) for i in (1, 2)]
    if any(node.has(i) and value is None for i, value in zip((1, 2), known, strict=True)):
        return Kernel(
            lambda x, low=None, high=None: torch.clamp(
                x, None if low is None else low.to(x), None if high is None else high.to(x)
            )
        )
    low, high = (None if v is None else v.reshape(()).item() for v in known)
    return _clip(low, high)


def _clip(low: float | None, high: float | None) -> Kernel:
    """Clip to numbers known now; relu and hardtanh where they do, since their backward is the cheaper one."""
    low = None if low is not None and low == -math.inf else low
    high = None if high is not None and high == math.inf else high

    def dead(x: Tensor) -> Tensor:
        below = x <= low if low is not None else torch.zeros_like(x, dtype=torch.bool)
        return below | (x >= high) if high is not None else below

    if low is None and high is None:
        return Kernel(lambda x: x, dead=dead)

    def clamp(x: Tensor, *unused: Any) -> Tensor:
        return torch.clamp(x, low, high)

    if low is None or high is None or high < low:
        if low == 0 and high is None:
            return Kernel(lambda x, *unused: F.relu(x), lambda x, *unused: F.relu_(x), dead)
        return Kernel(clamp, dead=dead)

    def run(x: Tensor, *unused: Any) -> Tensor:
        # torch.clamp has another derivative on the very limits (1) than hardtanh and Relu (0): the latter is wanted.
        return F.hardtanh(x, low, high) if x.is_floating_point() else torch.clamp(x, low, high)

    return Kernel(run, lambda x, *unused: F.hardtanh(x, low, high, inplace=True), dead)


@operator("Sigmoid")
def _sigmoid(node: Node) -> Kernel:
    return Kernel(torch.sigmoid)


@operator("HardSigmoid")
def _hard_sigmoid(node: Node) -> Kernel:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return Kernel(F.hardsigmoid, dead=lambda x: (x <= -3) | (x >= 3))

    def dead(x: Tensor) -> Tensor:
        y: Tensor = alpha * x + beta
        return (y <= 0) | (y >= 1)

    return Kernel(lambda x: F.hardtanh(alpha * x + beta, 0.0, 1.0), dead=dead)


@operator("HardSwish", since=14)
@operator("HardSwish", domain="inspector")
def _hard_swish(node: Node) -> Kernel:
    return Kernel(F.hardswish, dead=lambda x: x <= -3)


@operator("Swish", since=24)
def _swish(node: Node) -> Kernel:
    return swish(node.get("alpha", 1.0))


@operator("QuickGelu", domain="com.microsoft")
def _quick_gelu(node: Node) -> Kernel:
    return swish(node.get("alpha", 1.702))


def swish(alpha: float) -> Kernel:
    """x * sigmoid(alpha * x)."""
    return Kernel(F.silu) if alpha == 1 else Kernel(lambda x: x * torch.sigmoid(alpha * x))


@operator("Silu", domain="inspector")
def _silu(node: Node) -> Kernel:
    return swish(1.0)


@operator("Mish", since=18)
@operator("Mish", domain="inspector")
def _mish(node: Node) -> Kernel:
    return Kernel(F.mish)


@operator("Gelu", since=20)
@operator("Gelu", domain="com.microsoft")
@operator("Gelu", domain="inspector")
def _gelu(node: Node) -> Kernel:
    approximate = node.get("approximate", "none")
    return Kernel(lambda x: F.gelu(x, approximate=approximate))


@operator("FastGelu", domain="com.microsoft", weights=(1,))
def _fast_gelu(node: Node) -> Kernel:
    return Kernel(lambda x, bias=None: F.gelu(x if bias is None else x + bias, approximate="tanh"))


@operator("BiasGelu", domain="com.microsoft", weights=(1,))
def _bias_gelu(node: Node) -> Kernel:
    return Kernel(lambda x, bias: F.gelu(x + bias))


@operator("Elu")
def _elu(node: Node) -> Kernel:
    alpha = node.get("alpha", 1.0)
    return Kernel(lambda x: F.elu(x, alpha))


@operator("Celu", since=12)
def _celu(node: Node) -> Kernel:
    alpha = node.get("alpha", 1.0)
    return Kernel(lambda x: F.celu(x, alpha))


@operator("Selu")
def _selu(node: Node) -> Kernel:
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    return Kernel(lambda x: gamma * F.elu(x, alpha))


@operator("Softplus")
def _softplus(node: Node) -> Kernel:
    return Kernel(F.softplus)


@operator("Softsign")
def _softsign(node: Node) -> Kernel:
    return Kernel(F.softsign)


@operator("Shrink", since=9)
def _shrink(node: Node) -> Kernel:
    limit, bias = node.get("lambd", 0.5), node.get("bias", 0.0)

    def run(x: Tensor) -> Tensor:
        zero = torch.zeros_like(x)
        return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero)).to(x.dtype)

    return Kernel(run, dead=lambda x: x.abs() <= limit)


@operator("Tanh")
def _tanh(node: Node) -> Kernel:
    return Kernel(torch.tanh)


@operator("SwiGLU", since=27)
def _swiglu(node: Node) -> Run:
    alpha = node.get("alpha", 1.0)
    return lambda gate, x: gate * torch.sigmoid(alpha * gate) * x


def _softmax_like(node: Node, function: Callable[..., Tensor], axis: int) -> Run:
    return lambda x: function(x, dim=axis)


def _flattening(node: Node, function: Callable[[Tensor], Tensor]) -> Run:
    """Before opset 13 the tensor is seen as a matrix, split before `axis`, and the function goes along its rows."""
    axis = node.get("axis", 1)

    def run(x: Tensor) -> Tensor:
        at = axis if axis >= 0 else axis + x.dim()
        rows = math.prod(x.shape[:at])
        return function(x.reshape(rows, -1)).reshape(x.shape)

    return run


@operator("Softmax")
def _softmax_old(node: Node) -> Run:
    return _flattening(node, lambda x: F.softmax(x, dim=-1))


@operator("Softmax", since=13)
def _softmax(node: Node) -> Run:
    return _softmax_like(node, F.softmax, node.get("axis", -1))


@operator("LogSoftmax")
def _log_softmax_old(node: Node) -> Run:
    return _flattening(node, lambda x: F.log_softmax(x, dim=-1))


@operator("LogSoftmax", since=13)
def _log_softmax(node: Node) -> Run:
    return _softmax_like(node, F.log_softmax, node.get("axis", -1))


def _one_hot_of_max(x: Tensor, dim: int) -> Tensor:
    return torch.zeros_like(x).scatter_(dim, x.argmax(dim, keepdim=True), 1.0)


@operator("Hardmax")
def _hardmax_old(node: Node) -> Run:
    return _flattening(node, lambda x: _one_hot_of_max(x, -1))


@operator("Hardmax", since=13)
def _hardmax(node: Node) -> Run:
    return _softmax_like(node, _one_hot_of_max, node.get("axis", -1))


def fused_activation(name: str | None, numbers: Sequence[float] = ()) -> Callable[[Tensor], Tensor]:
    """The activation that an onnxruntime Fused* node names, applied behind it."""
    if not name:
        return lambda x: x
    plain: dict[str, Callable[[Tensor], Tensor]] = {
        "Relu": F.relu,
        "Sigmoid": torch.sigmoid,
        "Tanh": torch.tanh,
        "HardSwish": F.hardswish,
    }
    if name in plain:
        return plain[name]
    if name == "LeakyRelu":
        return lambda x: F.leaky_relu(x, numbers[0])
    if name == "Clip":
        return lambda x: F.hardtanh(x, numbers[0], numbers[1])
    if name == "HardSigmoid":
        return lambda x: F.hardtanh(numbers[0] * x + numbers[1], 0.0, 1.0)
    raise NotSupported(f"the fused activation {name!r}")
