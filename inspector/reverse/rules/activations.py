"""Rules for activations, and for the norms that divide by what they see."""

from __future__ import annotations

import math

import numpy as np

from inspector.reverse.rule import Array, Gradients, HeadNode, gradient_rule


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


@gradient_rule("Relu")
def _relu(step: HeadNode, g: Array) -> Gradients:
    return [np.where(step.x > 0, g, np.float32(0))]


@gradient_rule("LeakyRelu")
def _leaky_relu(step: HeadNode, g: Array) -> Gradients:
    return [np.where(step.x > 0, g, g * np.float32(step.get("alpha", 0.01)))]


@gradient_rule("PRelu")
def _prelu(step: HeadNode, g: Array) -> Gradients:
    return [np.where(step.x > 0, g, g * step.value(1))]


@gradient_rule("ThresholdedRelu")
def _thresholded_relu(step: HeadNode, g: Array) -> Gradients:
    return [np.where(step.x > step.get("alpha", 1.0), g, np.float32(0))]


@gradient_rule("Elu")
def _elu(step: HeadNode, g: Array) -> Gradients:
    x, alpha = step.x, np.float32(step.get("alpha", 1.0))
    return [np.where(x > 0, g, g * alpha * np.exp(np.minimum(x, 0)))]


@gradient_rule("Clip")
def _clip(step: HeadNode, g: Array) -> Gradients:
    x = step.x
    low = step.value(1) if step.has(1) else step.get("min", -np.inf)
    high = step.value(2) if step.has(2) else step.get("max", np.inf)
    # torch's hardtanh (ReLU6) has no gradient at its bounds, its clamp has; most exported Clips are the former.
    return [np.where((x > low) & (x < high), g, np.float32(0))]


@gradient_rule("Sigmoid")
def _sigmoid(step: HeadNode, g: Array) -> Gradients:
    s = logistic(step.x)
    return [g * s * (1 - s)]


@gradient_rule("Tanh")
def _tanh(step: HeadNode, g: Array) -> Gradients:
    return [g * (1 - np.square(np.tanh(step.x)))]


@gradient_rule("HardSigmoid")
def _hard_sigmoid(step: HeadNode, g: Array) -> Gradients:
    alpha, beta = step.get("alpha", 0.2), step.get("beta", 0.5)
    line = np.float32(alpha) * step.x + np.float32(beta)
    return [np.where((line > 0) & (line < 1), g * np.float32(alpha), np.float32(0))]


@gradient_rule("HardSwish")
def _hard_swish(step: HeadNode, g: Array) -> Gradients:
    x = step.x
    slope = np.where(x <= -3, np.float32(0), np.where(x < 3, x / np.float32(3) + np.float32(0.5), np.float32(1)))
    return [g * slope]


@gradient_rule("Swish", "QuickGelu", contributed=True)
def _swish(step: HeadNode, g: Array) -> Gradients:
    alpha = np.float32(step.get("alpha", 1.702 if step.node.op_type == "QuickGelu" else 1.0))
    x = step.x
    s = logistic(alpha * x)
    return [g * (s + alpha * x * s * (1 - s))]


@gradient_rule("Softplus")
def _softplus(step: HeadNode, g: Array) -> Gradients:
    return [g * logistic(step.x)]


@gradient_rule("Mish")
def _mish(step: HeadNode, g: Array) -> Gradients:
    x = step.x
    t = np.tanh(np.logaddexp(x, np.float32(0)))
    return [g * (t + x * (1 - t * t) * logistic(x))]


@gradient_rule("Erf")
def _erf(step: HeadNode, g: Array) -> Gradients:
    return [g * np.float32(2 / math.sqrt(math.pi)) * np.exp(-np.square(step.x))]


@gradient_rule("Gelu", contributed=True)
def _gelu(step: HeadNode, g: Array) -> Gradients:
    x = step.x.astype(np.float64)
    if step.get("approximate", "none") == "tanh":
        c = math.sqrt(2 / math.pi)
        t = np.tanh(c * (x + 0.044715 * x**3))
        slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)
    else:
        slope = 0.5 * (1 + _erf_of(x / math.sqrt(2))) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return [(g * slope).astype(np.float32)]


_erf_of = np.vectorize(math.erf, otypes=[np.float64])


@gradient_rule("Softmax", accepts=lambda step: step.opset >= 13)
def _softmax(step: HeadNode, g: Array) -> Gradients:
    axis = step.get("axis", -1)
    x = step.x.astype(np.float64)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    return [(p * (g - (g * p).sum(axis=axis, keepdims=True))).astype(np.float32)]


@gradient_rule("LogSoftmax", accepts=lambda step: step.opset >= 13)
def _log_softmax(step: HeadNode, g: Array) -> Gradients:
    axis = step.get("axis", -1)
    x = step.x.astype(np.float64)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return [(g - e / e.sum(axis=axis, keepdims=True) * g.sum(axis=axis, keepdims=True)).astype(np.float32)]


@gradient_rule("InstanceNormalization", operands=(1,))
def _instance_norm(step: HeadNode, g: Array) -> Gradients:
    x = step.x.astype(np.float64)
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + step.get("epsilon", 1e-5))
    normal = centred * inverse
    scaled = g * step.value(1).astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))
    mean = scaled.mean(axis=axes, keepdims=True)
    along = (scaled * normal).mean(axis=axes, keepdims=True)
    return [((scaled - mean - normal * along) * inverse).astype(np.float32)]


@gradient_rule(
    "LayerNormalization",
    operands=(1,),
    accepts=lambda step: len([o for o in step.node.output if o]) == 1 and not any(step.moving[1:]),
)
def _layer_norm(step: HeadNode, g: Array) -> Gradients:
    x = step.x.astype(np.float64)
    axes = tuple(range(step.get("axis", -1) % x.ndim, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + step.get("epsilon", 1e-5))
    normal = centred * inverse
    scaled = g * step.value(1).astype(np.float64)
    mean = scaled.mean(axis=axes, keepdims=True)
    along = (scaled * normal).mean(axis=axes, keepdims=True)
    return [((scaled - mean - normal * along) * inverse).astype(np.float32)]
