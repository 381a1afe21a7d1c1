"""Networks in which a cut is easily wrong: each is cut, and answers as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from exporters.slimming.rewrite import cut_graph
from inspector.graph import read_graph
from inspector.slimming import SlimPlan, find_slim_plan
from tests.conftest import MakeModel
from tests.foreign import Net
from tests.slimming.test_cases import conv, outputs_of

PICTURE = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)


def cut_alike(make_model: MakeModel, build: Any, **options: Any) -> SlimPlan:
    """Cut a network, and see that it answers as before."""
    path = make_model(build, **options)
    plan = find_slim_plan(read_graph(path))
    [before], [after] = outputs_of(onnx.load(path), PICTURE), outputs_of(cut_graph(plan), PICTURE)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-6)
    return plan


@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize(
    ("start", "end", "dead"),
    [(-8, 99, (14, 15)), (0, -8, (14, 15)), (-8, -1, (0, 15)), (2, 10, (14, 15)), (-99, 8, (3, 12))],
)
def test_a_slice_counts_from_either_end(
    make_model: MakeModel, start: int, end: int, dead: tuple[int, ...], opset: int
) -> None:
    def build(net: Net, x: str) -> str:
        x = net("Relu", conv(net, x, (3, 16, 1), "first", dict.fromkeys(dead, 0.0)))
        if opset < 10:
            part = net("Slice", x, axes=[1], starts=[start], ends=[end])
        else:
            part = net("Slice", x, *(net.const(np.array([k], np.int64)) for k in (start, end, 1)))
        count = len(range(16)[start:end])
        return net("Concat", conv(net, part, (count, 2, 1), "part"), conv(net, x, (16, 2, 1), "all"), axis=1)

    assert cut_alike(make_model, build, opset=opset).total == 2


def test_one_constant_for_several_inputs_of_a_node(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        x = net("Relu", conv(net, x, (3, 4, 1), "first", {0: 0.0}))
        one, end = net.const(np.array([1], np.int64)), net.const(np.array([4], np.int64))
        return conv(net, net("Slice", x, one, end, one, one), (3, 2, 1), "second")

    assert cut_alike(make_model, build).total == 1


@pytest.mark.parametrize("axis", [0, -4])
def test_the_axis_of_a_grid_counts_from_either_end(make_model: MakeModel, axis: int) -> None:
    def build(net: Net, x: str) -> str:
        whole = net.rng.integers(-90, 90, (4, 3, 1, 1)).astype(np.int8)
        whole[2] = 0
        grid = net.const(np.array([0.1, 0.2, 0.3, 0.4], np.float32)), net.const(np.zeros(4, np.int8))
        weight = net("DequantizeLinear", net.const(whole), *grid, axis=axis)
        return conv(net, net("Relu", net("Conv", x, weight, out="first")), (4, 2, 1), "second")

    assert cut_alike(make_model, build).total == 1


@pytest.mark.parametrize(("kind", "low"), [(0, 0), (2, 0), (3, -10), (4, 0), (5, -10), (17, -np.inf), (22, -np.inf)])
def test_integers_without_a_zero_point_are_of_the_type_that_is_said(
    make_model: MakeModel, kind: int, low: float
) -> None:
    """Types: none, uint8, int8, uint16, int16, and those of which nothing is proven: float8, int4."""

    def build(net: Net, x: str) -> str:
        x = net("Clip", net("Relu", x), net.const(np.float32(0)), net.const(np.float32(1)))
        x = net("Neg", x)
        said: dict[str, Any] = {"output_dtype": kind} if kind else {}
        return net("DequantizeLinear", net("QuantizeLinear", x, net.const(np.float32(0.1)), out="q", **said),
                   net.const(np.float32(0.1)), out="y")  # fmt: skip

    channels = find_slim_plan(read_graph(make_model(build, opset=21, ir=10))).found.channels
    assert ("q" in channels) == np.isfinite(low)
    if "q" in channels:
        assert channels["q"].low.tolist() == [low] * 3


def test_small_weights_beside_a_large_bias_are_told_apart(make_model: MakeModel) -> None:
    """Channel 3 repeats channel 2 three times as large; channels 0 and 1 differ only below their bias."""

    def build(net: Net, x: str) -> str:
        weight = net.rng.standard_normal((4, 3, 1, 1)).astype(np.float32) * 1e-4
        bias = np.full(4, 1000, np.float32)
        weight[3], bias[3] = 3 * weight[2], 3 * bias[2]
        x = net("Conv", x, net.const(weight), net.const(bias), out="first")
        return net("Conv", net("Sub", x, net.const(bias.reshape(1, 4, 1, 1))), net.weight((2, 4, 1, 1)))

    channels = find_slim_plan(read_graph(make_model(build))).found.channels["first"]
    assert len(set(channels.number[:3])) == 3
    assert channels.number[2] == channels.number[3]
    assert channels.factor[3] / channels.factor[2] == pytest.approx(3)


@pytest.mark.parametrize("filled", [None, 0.0, 2.0, -2.0])
def test_a_resize_fills_what_lies_outside(make_model: MakeModel, filled: float | None) -> None:
    """Channel 1 is constant inside alone; channel 3 repeats channel 2 twice as large, but not what is filled in."""

    def build(net: Net, x: str) -> str:
        weight, bias = net.rng.standard_normal((4, 3, 1, 1)), np.array([0.1, 0.5, 0.2, 0.4])
        weight[1], weight[3] = 0, 2 * weight[2]
        x = net("Conv", x, net.const(weight), net.const(bias), out="first")
        roi = net.const(np.array([0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5], np.float32))
        said: dict[str, Any] = {} if filled is None else {"extrapolation_value": filled}
        x = net("Resize", x, roi, "", net.const(np.array([1, 4, 8, 8], np.int64)), mode="linear",
                coordinate_transformation_mode="tf_crop_and_resize", out="resized", **said)  # fmt: skip
        return net("GlobalAveragePool", net("Conv", x, net.weight((2, 4, 1, 1))))

    resized = cut_alike(make_model, build).found.channels["resized"]
    assert (resized.low[1], resized.high[1]) == (min(0.5, filled or 0), max(0.5, filled or 0))
    assert (resized.number[2] == resized.number[3]) == (not filled)


def test_slice_of_a_weight_that_is_an_output(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((16, 3, 1, 1)).astype(np.float32)
    wide[7] = 0
    numbers = {"start": np.array([5]), "end": np.array([13]), "wide": wide}
    numbers["head"] = rng.standard_normal((4, 8, 1, 1)).astype(np.float32)
    nodes = [("Slice", ["wide", "start", "end"], "w"), ("Conv", ["x", "w"], "c"), ("Conv", ["c", "head"], "y")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, given, [made]) for op, given, made in nodes],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("y", "w")],
        [onnx.numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    plan = find_slim_plan(read_graph(tmp_path / "m.onnx"))
    assert sum(len(cut.channels) for cut in plan.cut) == 1
    picture = {"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)}
    before, after = (ReferenceEvaluator(each).run(None, picture) for each in (proto, cut_graph(plan)))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def repeat_first(net: Net, x: str, bias: float = 0.0) -> str:
    """Six channels: the second repeats the first, the last two are constants."""
    weight, given = net.rng.standard_normal((6, 3, 1, 1)), np.full(6, bias)
    weight[1], weight[4:] = weight[0], 0
    given[4:] = 0.3, 0.7
    return net("Conv", x, net.const(weight), net.const(given))


def times_zero(net: Net, x: str, op: str) -> str:
    """A channel and its copy, of which one is multiplied by 0, in front of what may hide that it is constant."""
    by = np.ones((6, 1, 1))
    by[1] = 0
    y = net("Add", net("Mul", repeat_first(net, x), net.const(by)), net.const(0.3))
    if op == "ReduceSum":
        y = net(op, y, net.const(np.array([2, 3])))
    elif op == "Resize":
        y = net(op, y, "", net.const(np.array([1, 1, 2, 2], np.float32)), mode="cubic")
    else:
        y = net(op, y, net.const(np.ones(6)), net.const(np.ones(6)))
    return net("Conv", y, net.weight((2, 6, 1, 1)))


def without_scale(net: Net, x: str) -> str:
    """A norm whose scale is 0 for the copy of a channel."""
    scale = np.ones(6)
    scale[1] = 0
    more = [net.const(np.full(6, v)) for v in (0.3, 0.0, 1.0)]
    y = net("BatchNormalization", repeat_first(net, x), net.const(scale), *more, epsilon=0.0)
    y = net("Resize", y, "", net.const(np.array([1, 1, 2, 2], np.float32)), mode="cubic")
    return net("Conv", y, net.weight((2, 6, 1, 1)))


def copied_length(net: Net, x: str) -> str:
    """A reshape that copies the number of channels from the axis of the columns, which are as many."""
    weight = net.rng.standard_normal((8, 3, 1, 1))
    weight[5] = 0
    y = net("Reshape", net("Conv", x, net.const(weight)), net.const(np.array([0, 1, 0, 8, 8])))
    return net("Conv", net("Squeeze", y, net.const(np.array([1]))), net.weight((2, 8, 1, 1)))


def whole_numbers(net: Net, x: str) -> str:
    """A sum in int32, of which one part is the same for every picture."""
    fixed = net("Conv", x, net.const(np.zeros((6, 3, 1, 1))), net.const(np.arange(6.0)))
    parts = [net("Cast", part, to=onnx.TensorProto.INT32) for part in (repeat_first(net, x, 2.0), fixed)]
    return net("Conv", net("Cast", net("Add", *parts), to=onnx.TensorProto.FLOAT), net.weight((2, 6, 1, 1)))


def at_a_step(net: Net, x: str) -> str:
    """Constants that are whole numbers in float32, and a hair above them in float64."""
    by = np.ones((6, 1, 1))
    by[4:, 0, 0] = 10, 1 / 0.7
    y = net("Ceil", net("Mul", repeat_first(net, x), net.const(by)))
    return net("Conv", y, net.weight((2, 6, 1, 1)))


def turned_selu(net: Net, x: str) -> str:
    """A function that falls, as one of its numbers is below 0."""
    one, other = (net("Clip", repeat_first(net, x), net.const(0.0), net.const(1.0)) for _ in range(2))
    y = net("Add", net("Selu", one, gamma=-0.5), net("Mul", other, net.const(0.5)))
    return net("Conv", y, net.weight((2, 6, 1, 1)))


@pytest.mark.parametrize(
    "build",
    [
        *(lambda net, x, op=op: times_zero(net, x, op) for op in ("ReduceSum", "Resize", "InstanceNormalization")),
        without_scale, copied_length, whole_numbers, at_a_step, turned_selu,
    ],
)  # fmt: skip
def test_answers_stay(make_model: MakeModel, build: Any) -> None:
    cut_alike(make_model, build)
