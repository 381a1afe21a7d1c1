"""Rules for activations, and for the norms that divide by what they see."""

from __future__ import annotations

import math

import numpy as np

from exporters.attaching.rule import BackStep, Names, emit_rule
from exporters.attaching.writer import GraphWriter

_BELOW_3 = float(np.nextafter(np.float32(3), np.float32(0)))
"""Shrink keeps what lies strictly beyond."""


def _one_less(write: GraphWriter, x: str) -> str:
    return write.emit("Sub", write.number(1), x)


@emit_rule("Relu")
def _relu(step: BackStep, g: str) -> Names:
    write = step.write
    return [write.keep_where(write.emit("Greater", step.result, write.number(0)), g)]


@emit_rule("LeakyRelu", accepts=lambda step: step.get("alpha", 0.01) > 0)
def _leaky_relu(step: BackStep, g: str) -> Names:
    write = step.write
    weak = write.emit("Mul", g, write.number(step.get("alpha", 0.01)))
    return [write.emit("Where", write.emit("Greater", step.result, write.number(0)), g, weak)]


@emit_rule("PRelu")
def _prelu(step: BackStep, g: str) -> Names:
    write = step.write
    weak = write.emit("Mul", g, step.value(1))
    return [write.emit("Where", write.emit("Greater", step.value(), write.number(0)), g, weak)]


@emit_rule("Elu")
def _elu(step: BackStep, g: str) -> Names:
    write = step.write
    alpha = write.number(step.get("alpha", 1.0))
    low = write.emit("Exp", write.emit("Min", step.value(), write.number(0)))
    slope = write.emit("Mul", alpha, low)
    passes = write.emit("Greater", step.value(), write.number(0))
    return [write.emit("Where", passes, g, write.emit("Mul", g, slope))]


@emit_rule("Clip")
def _clip(step: BackStep, g: str) -> Names:
    """What lies strictly between the bounds, which the output shows as well as the input."""
    write, y = step.write, step.result
    low = step.value(1) if step.has(1) else None
    high = step.value(2) if step.has(2) else None
    if low is None and "min" in step.settings:
        low = write.number(step.get("min"))
    if high is None and "max" in step.settings:
        high = write.number(step.get("max"))
    passes = [write.emit("Greater", y, low)] if low else []
    passes += [write.emit("Less", y, high)] if high else []
    if not passes:
        return [g]
    return [write.keep_where(passes[0] if len(passes) == 1 else write.emit("And", *passes), g)]


@emit_rule("Sigmoid")
def _sigmoid(step: BackStep, g: str) -> Names:
    write, y = step.write, step.result
    return [write.emit("Mul", g, write.emit("Mul", y, _one_less(write, y)))]


@emit_rule("Tanh")
def _tanh(step: BackStep, g: str) -> Names:
    write, y = step.write, step.result
    return [write.emit("Mul", g, _one_less(write, write.emit("Mul", y, y)))]


@emit_rule("HardSigmoid")
def _hard_sigmoid(step: BackStep, g: str) -> Names:
    write, y = step.write, step.result
    inside = write.emit("And", write.emit("Greater", y, write.number(0)), write.emit("Less", y, write.number(1)))
    return [write.keep_where(inside, write.emit("Mul", g, write.number(step.get("alpha", 0.2))))]


@emit_rule("HardSwish")
def _hard_swish(step: BackStep, g: str) -> Names:
    """HardSigmoid(x), and x / 6 more where -3 < x < 3: without a Where, which takes onnxruntime twice as long."""
    write, x = step.write, step.value()
    gate = write.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    inside = write.emit("Sub", x, write.emit("Shrink", x, lambd=_BELOW_3, bias=0.0))
    slope = write.emit("Add", gate, write.emit("Mul", inside, write.number(1 / 6)))
    return [write.emit("Mul", g, slope)]


@emit_rule("Swish", "QuickGelu")
def _swish(step: BackStep, g: str) -> Names:
    write, x = step.write, step.value()
    alpha = step.get("alpha", 1.702 if step.node.op_type == "QuickGelu" else 1.0)
    scaled = x if alpha == 1 else write.emit("Mul", x, write.number(alpha))
    s = write.emit("Sigmoid", scaled)
    bend = write.emit("Mul", write.emit("Mul", scaled, s), _one_less(write, s))
    return [write.emit("Mul", g, write.emit("Add", s, bend))]


@emit_rule("Softplus")
def _softplus(step: BackStep, g: str) -> Names:
    return [step.write.emit("Mul", g, step.write.emit("Sigmoid", step.value()))]


@emit_rule("Mish")
def _mish(step: BackStep, g: str) -> Names:
    write, x = step.write, step.value()
    t = write.emit("Tanh", write.emit("Softplus", x))
    bend = write.emit("Mul", x, _one_less(write, write.emit("Mul", t, t)))
    slope = write.emit("Add", t, write.emit("Mul", bend, write.emit("Sigmoid", x)))
    return [write.emit("Mul", g, slope)]


@emit_rule("Erf")
def _erf(step: BackStep, g: str) -> Names:
    write, x = step.write, step.value()
    bell = write.emit("Exp", write.emit("Neg", write.emit("Mul", x, x)))
    return [write.emit("Mul", g, write.emit("Mul", bell, write.number(2 / math.sqrt(math.pi))))]


@emit_rule("Gelu")
def _gelu(step: BackStep, g: str) -> Names:
    write, x = step.write, step.value()
    square = write.emit("Mul", x, x)
    if step.get("approximate", "none") == "tanh":
        c = math.sqrt(2 / math.pi)
        inner = write.emit("Add", write.emit("Mul", square, write.number(0.044715 * c)), write.number(c))
        t = write.emit("Tanh", write.emit("Mul", x, inner))
        steep = write.emit("Add", write.emit("Mul", square, write.number(3 * 0.044715 * c)), write.number(c))
        bend = write.emit("Mul", write.emit("Mul", x, steep), _one_less(write, write.emit("Mul", t, t)))
        whole = write.emit("Add", write.emit("Add", t, bend), write.number(1))
        return [write.emit("Mul", g, write.emit("Mul", whole, write.number(0.5)))]
    rise = write.emit("Erf", write.emit("Mul", x, write.number(1 / math.sqrt(2))))
    share = write.emit("Mul", write.emit("Add", rise, write.number(1)), write.number(0.5))
    bell = write.emit("Exp", write.emit("Mul", square, write.number(-0.5)))
    bend = write.emit("Mul", write.emit("Mul", x, bell), write.number(1 / math.sqrt(2 * math.pi)))
    return [write.emit("Mul", g, write.emit("Add", share, bend))]


@emit_rule("Softmax")
def _softmax(step: BackStep, g: str) -> Names:
    write, p = step.write, step.result
    along = write.reduce("ReduceSum", write.emit("Mul", g, p), [step.get("axis", -1)])
    return [write.emit("Mul", p, write.emit("Sub", g, along))]


@emit_rule("LogSoftmax")
def _log_softmax(step: BackStep, g: str) -> Names:
    write = step.write
    total = write.reduce("ReduceSum", g, [step.get("axis", -1)])
    return [write.emit("Sub", g, write.emit("Mul", write.emit("Exp", step.result), total))]


def _norm(step: BackStep, scaled: str, axes: list[int]) -> Names:
    """Through (x - mean) / sqrt(variance + epsilon), both over `axes`; `scaled` is the gradient behind that."""
    write = step.write
    x = step.value()
    centred = write.emit("Sub", x, write.reduce("ReduceMean", x, axes))
    variance = write.reduce("ReduceMean", write.emit("Mul", centred, centred), axes)
    deviation = write.emit("Sqrt", write.emit("Add", variance, write.number(step.get("epsilon", 1e-5))))
    normal = write.emit("Div", centred, deviation)
    along = write.reduce("ReduceMean", write.emit("Mul", scaled, normal), axes)
    level = write.emit("Sub", scaled, write.reduce("ReduceMean", scaled, axes))
    return [write.emit("Div", write.emit("Sub", level, write.emit("Mul", normal, along)), deviation)]


@emit_rule("InstanceNormalization")
def _instance_norm(step: BackStep, g: str) -> Names:
    rank = len(step.shape())
    scale = step.write.reshape(step.value(1), 1, -1, *[1] * (rank - 2))
    return _norm(step, step.write.emit("Mul", g, scale), list(range(2, rank)))


@emit_rule("LayerNormalization")
def _layer_norm(step: BackStep, g: str) -> Names:
    rank = len(step.shape())
    axes = list(np.arange(step.get("axis", -1) % rank, rank).tolist())
    return _norm(step, step.write.emit("Mul", g, step.value(1)), axes)
