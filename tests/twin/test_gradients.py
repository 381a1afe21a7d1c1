"""Gradients against finite differences in float64."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import MakeModel, require
from tests.foreign import Net

torch = require("torch")

from inspector.graph import read_graph  # noqa: E402
from inspector.twin import build_twin  # noqa: E402
from tests.twin.compared import Single, convolutions, fused, pools, resizes  # noqa: E402


def _f(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SMOOTH = """Acos Asin Atan Atanh Asinh Abs Cos Cosh Erf Exp Neg Sin Sinh Tan Tanh Sigmoid Softplus Softsign Elu Selu
Celu Gelu Mish Swish HardSwish HardSigmoid LeakyRelu Relu ThresholdedRelu Shrink Softmax LogSoftmax Identity
GlobalAveragePool GlobalMaxPool GlobalLpPool MeanVarianceNormalization LpNormalization""".split()
POSITIVE = ["Sqrt", "Log", "Reciprocal", "ReduceLogSum", "Acosh"]
REDUCTIONS = """ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare""".split()

SINGLES = [
    *(Single(op, {"x": np.clip(_f(2, 3, 3, 2), -0.9, 0.9)}, opset=24) for op in SMOOTH),
    *(Single(op, {"x": np.abs(_f(2, 3)) + 1.5}, opset=18) for op in POSITIVE),
    *(Single(op, {"x": _f(2, 3, 4)}, {"a": np.array([1, 2])}, opset=18) for op in REDUCTIONS),
    *(Single(op, {"a": _f(2, 3, 4), "b": np.abs(_f(3, 1, seed=2)) + 0.5}) for op in ("Add", "Sub", "Mul", "Div")),
    *(Single(op, {"a": _f(2, 3), "b": _f(2, 3, seed=2), "c": _f(3, seed=3)}) for op in ("Max", "Min", "Mean", "Sum")),
    Single("Pow", {"a": np.abs(_f(2, 3)) + 0.5}, {"b": np.array(3.0, np.float32)}),
    Single("Clip", {"x": _f(3, 4)}, {"a": np.array(-0.5, np.float32), "b": np.array(0.5, np.float32)}),
    Single("PRelu", {"x": _f(2, 3, 4), "s": _f(3, 1, seed=2)}),
    Single("Gemm", {"a": _f(3, 4), "b": _f(4, 5, seed=2), "c": _f(5, seed=3)}, attributes={"alpha": 0.5, "beta": 2.0}),
    Single("MatMul", {"a": _f(2, 3, 4), "b": _f(4, 5, seed=2)}),
    Single("Einsum", {"a": _f(2, 3, 4), "b": _f(4, 5, seed=2)}, attributes={"equation": "bij,jk->bik"}),
    Single("LRN", {"x": _f(1, 5, 2, 2)}, attributes={"size": 3, "alpha": 0.3}),
    Single("InstanceNormalization", {"x": _f(2, 3, 4), "s": _f(3, seed=2), "b": _f(3, seed=3)}),
    Single("LayerNormalization", {"x": _f(2, 3, 4), "s": _f(4, seed=2), "b": _f(4, seed=3)}),
    Single("RMSNormalization", {"x": _f(2, 3, 4), "s": _f(4, seed=2)}, opset=23),
    Single(
        "GroupNormalization",
        {"x": _f(2, 4, 3), "s": _f(4, seed=2), "b": _f(4, seed=3)},
        attributes={"num_groups": 2},
        opset=21,
    ),
    Single(
        "BatchNormalization",
        {"x": _f(2, 3, 4), "s": _f(3, seed=2), "b": _f(3, seed=3)},
        {"m": _f(3), "v": np.abs(_f(3)) + 0.5},
    ),
    Single("GridSample", {"x": _f(1, 2, 4, 4), "g": _f(1, 3, 3, 2, seed=2) * 0.4}),
    Single(
        "RoiAlign",
        {"x": _f(1, 2, 6, 6)},
        {"r": np.array([[0, 0, 5, 4]], np.float32), "b": np.array([0])},
        {"output_height": 2, "output_width": 2},
    ),
    Single(
        "DeformConv",
        {"x": _f(1, 2, 5, 5), "w": _f(2, 2, 2, 2, seed=2), "o": _f(1, 8, 4, 4, seed=3) * 0.3},
        opset=19,
    ),
    Single("DepthToSpace", {"x": _f(1, 8, 2, 3)}, attributes={"blocksize": 2}),
    Single("Pad", {"x": _f(1, 2, 4, 4)}, {"p": np.array([0, 0, 1, 2, 0, 0, 2, 1])}, {"mode": "reflect"}),
    Single("Gather", {"x": _f(3, 4)}, {"i": np.array([2, -3, 2])}),
    Single("ScatterND", {"x": _f(4, 3), "u": _f(2, 3, seed=2)}, {"i": np.array([[0], [3]])}, order=("x", "i", "u")),
    Single("Slice", {"x": _f(3, 6)}, {"s": np.array([5]), "e": np.array([0]), "a": np.array([1]), "t": np.array([-2])}),
    Single("TopK", {"x": _f(3, 6)}, {"k": np.array([2])}, outputs=("y", "i"), types=(1, 7)),
    Single("CumSum", {"x": _f(3, 6)}, {"a": np.array(1)}),
    Single("LSTM", {"x": _f(3, 2, 4), "w": _f(1, 12, 4, seed=2), "r": _f(1, 12, 3, seed=3)}, {}, {"hidden_size": 3}),
    Single("GRU", {"x": _f(3, 2, 4), "w": _f(1, 9, 4, seed=2), "r": _f(1, 9, 3, seed=3)}, {}, {"hidden_size": 3}),
    Single("Attention", {"q": _f(1, 2, 3, 4), "k": _f(1, 2, 3, 4, seed=2), "v": _f(1, 2, 3, 4, seed=3)}, opset=23),
    *(s for s in fused() if not s.op.startswith("QLinear")),
    *itertools.islice(convolutions(), 0, None, 3),
    *itertools.islice(pools(), 0, None, 5),
    *itertools.islice(resizes(), 0, None, 7),
]  # fmt: skip


def _check(function: Any, inputs: list[Any]) -> None:
    torch.manual_seed(0)  # fast mode projects onto a random direction
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("operator", sorted({f"{s.domain}:{s.op}".lstrip(":") for s in SINGLES}))
def test_operators(operator: str, tmp_path: Path) -> None:
    for single in (s for s in SINGLES if f"{s.domain}:{s.op}".lstrip(":") == operator):
        twin = build_twin(single.graph(tmp_path), single.outputs[:1], dtype=torch.float64)
        inputs = [torch.from_numpy(v).double().requires_grad_() for v in single.feeds.values()]
        _check(lambda *xs, twin=twin: next(iter(twin(*xs).values())), inputs)


def _residual(net: Net, x: str) -> str:
    y = net("Relu", net.bn(net.conv(x, 3, 4), 4))
    z = net("Clip", net.conv(y, 4, 4, group=2), net.const(0.0), net.const(6.0))
    y = net("Relu", net("Add", net.conv(z, 4, 4), y))
    y = net("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    gate = net("HardSigmoid", net.conv(net("GlobalAveragePool", y), 4, 4, 1))
    y = net("Mul", y, gate)
    y = net("Flatten", net("GlobalAveragePool", y))
    return net("Gemm", y, net.weight((5, 4)), net.const(np.zeros(5)), transB=1)


def _pyramid(net: Net, x: str) -> str:
    fine = net("LeakyRelu", net.conv(x, 3, 4, stride=2), alpha=0.1)
    coarse = net("Mul", (y := net.conv(fine, 4, 4, stride=2)), net("Sigmoid", y))
    up = net("Resize", coarse, "", net.const([1.0, 1.0, 2.0, 2.0]), mode="linear")
    joined = net("Concat", up, fine, axis=1)
    out = net("ConvTranspose", joined, net.weight((8, 2, 2, 2)), strides=[2, 2])
    return net("Sigmoid", net("InstanceNormalization", out, net.const([1.0, 0.5]), net.const([0.0, 0.1])))


@pytest.mark.parametrize("build", [_residual, _pyramid])
def test_small_networks(build: Any, make_model: MakeModel) -> None:
    graph = read_graph(make_model(build, shape=("n", 3, 8, 8)))
    twin = build_twin(graph, graph.outputs, dtype=torch.float64, trainable=True)
    x = torch.from_numpy(_f(2, 3, 8, 8)).double()
    names, values = zip(*twin.named_parameters(), strict=True)
    assert len(names) == len([n for n in graph.initializers if graph.weight(n).dtype == np.float32]) - (
        4 if build is _residual else 1
    )  # all but running statistics, limits and scales

    def function(x: Any, *values: Any) -> Any:
        return next(iter(torch.func.functional_call(twin, dict(zip(names, values, strict=True)), (x,)).values()))

    _check(function, [x.requires_grad_(), *(v.detach().clone().requires_grad_() for v in values)])


def test_quantisation_is_straight_through(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        scale, zero = net.const(0.1), net.const(128, dtype=np.uint8)
        return net("DequantizeLinear", net("QuantizeLinear", x, scale, zero), scale, zero)

    graph = read_graph(make_model(build, shape=(3,)))
    twin = build_twin(graph, graph.outputs)
    x = torch.tensor([0.123, -0.777, 50.0], requires_grad=True)
    y = twin(x)[graph.outputs[0]]
    assert torch.allclose(y, torch.tensor([0.1, -0.8, 12.7]))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(gradient, torch.tensor([1.0, 1.0, 0.0]))  # 1 where it only rounds, 0 where it saturates


def test_fused_forms_have_the_same_gradient(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        six, three = net.const(6.0), net.const(3.0)
        a = net("Mul", x, net("Sigmoid", x))
        b = net("Div", net("Mul", x, net("Clip", net("Add", x, three), net.const(0.0), six)), six)
        erf = net("Erf", net("Div", x, net.const(2**0.5)))
        c = net("Mul", net("Mul", x, net("Add", erf, net.const(1.0))), net.const(0.5))
        d = net("Mul", x, net("Tanh", net("Softplus", x)))
        e = net("Add", net("MatMul", x, net.weight((4, 4))), net.const(np.arange(4.0)))
        mean = net("ReduceMean", x, axes=[-1])
        centred = net("Sub", x, mean)
        var = net("ReduceMean", net("Pow", centred, net.const(2.0)), axes=[-1])
        root = net("Sqrt", net("Add", var, net.const(1e-5)))
        scaled = net("Mul", net("Div", centred, root), net.const(np.arange(4.0) + 1))
        f = net("Add", scaled, net.const(np.arange(4.0)))
        return net("Concat", a, b, c, d, e, f, axis=0)

    graph = read_graph(make_model(build, shape=("n", 4)))
    fused = build_twin(graph, graph.outputs, dtype=torch.float64)
    every = [name for node in graph.nodes for name in node.output]
    plain = build_twin(graph, every, dtype=torch.float64)  # what is asked for cannot be fused away
    assert {s.label.split()[0] for s in fused._steps} == {
        "Silu", "HardSwish", "Gelu", "Mish", "Linear", "LayerNormalization", "Concat",
    }  # fmt: skip
    x = torch.from_numpy(_f(3, 4)).double().requires_grad_()
    ours, theirs = fused(x)[graph.outputs[0]], plain(x)[graph.outputs[0]]
    assert torch.allclose(ours, theirs, atol=1e-7)
    weights = torch.from_numpy(_f(*ours.shape, seed=5)).double()
    (a,) = torch.autograd.grad((ours * weights).sum(), x)
    (b,) = torch.autograd.grad((theirs * weights).sum(), x)
    assert torch.allclose(a, b, atol=1e-7)


def test_a_stride_beyond_the_picture_costs_nothing(make_model: MakeModel) -> None:
    """torch takes memory for each step of it: 26 TB for a stride of a million over 150 x 100 places."""
    made = {}
    for stride in (2**31 - 1, 200):
        graph = read_graph(make_model(
            lambda net, x, side=stride: net("Conv", x, net.const(_f(4, 3, 3, 3)), pads=[1, 1, 1, 1], strides=[1, side]),
            shape=(1, 3, 150, 100), name=f"{stride}.onnx",
        ))  # fmt: skip
        x = torch.from_numpy(_f(1, 3, 150, 100)).requires_grad_()
        y = build_twin(graph, graph.outputs)(x)[graph.outputs[0]]
        made[stride] = (y.detach(), *torch.autograd.grad(y.square().sum(), x))
    assert all(torch.equal(long, short) for long, short in zip(*made.values(), strict=True))
